"""Updates made one after the other on one batch: what a loop written by hand does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcl_jax.axes import Axes, pmean
from mcl_jax.data import Batch
from mcl_jax.methods import Method, Update
from mcl_jax.training import parallel
from mcl_jax.training import state as states
from mcl_jax.training.gradients import Differentiator
from mcl_jax.training.guard import describe, make_inspection
from mcl_jax.training.step import make_step, train_step

ROWS = 8
BATCH = Batch(
    np.arange(ROWS * 4, dtype=np.uint8).reshape(ROWS, 2, 2, 1),
    np.zeros(ROWS, np.int32),
    np.arange(ROWS, dtype=np.int32),
    np.arange(ROWS, dtype=np.int32),
)
ADAM = {"b1": 0.5, "b2": 0.999}


def value(params, brightness):
    """What one player makes large and the other small, of each row."""
    return params["up"] * params["down"] * brightness - params["up"] ** 2 + params["down"] ** 2


def game(axis=None, *, broken=False):
    """Two players on the rows' brightness; extras count steps and sum what begin saw."""

    def init(key, batch):
        del key, batch
        extras = {"steps": jnp.zeros((), jnp.int32), "begun": jnp.zeros(()), "seen": jnp.zeros(())}
        return {"up": jnp.array(0.5), "down": jnp.array(2.0)}, extras

    def begin(params, extras, batch):
        return {**extras, "begun": extras["begun"] + params["up"]}, batch

    def embed(params, extras, batch, key, train):
        del key, train
        brightness = batch.images.astype(jnp.float32).mean((1, 2, 3)) / 10
        extras = {**extras, "steps": extras["steps"] + 1}
        return value(params, brightness)[None], extras

    def objective(outputs, extras, batch, key):
        del batch, key
        found = pmean(outputs.mean(), axis)
        generators = jnp.sqrt(found - found - 1) if broken else found
        losses = {"networks": -found, "generators": generators}
        return losses, ({**extras, "seen": extras["seen"] + found}, {"value": found})

    return Method(
        init,
        embed,
        objective,
        lambda *_: None,
        (
            Update(optax.adam(0.1, **ADAM), loss="networks", moves=lambda path: path == "up"),
            Update(optax.adam(0.5, **ADAM), loss="generators", moves=lambda path: path == "down"),
        ),
        begin=begin,
        alternating=True,
    )


def by_hand(steps):
    """The same, one player after the other."""
    brightness = BATCH.images.astype(np.float32).mean((1, 2, 3)) / 10
    params = {"up": jnp.array(0.5), "down": jnp.array(2.0)}
    players = {"up": (optax.adam(0.1, **ADAM), -1), "down": (optax.adam(0.5, **ADAM), 1)}
    moments = {name: rule.init(params[name]) for name, (rule, _) in players.items()}
    begun = seen = 0.0
    for _ in range(steps):
        begun += params["up"]
        for name, (rule, sign) in players.items():
            found, gradient = jax.value_and_grad(
                lambda x, name=name: value({**params, name: x}, brightness).mean()
            )(params[name])
            change, moments[name] = rule.update(sign * gradient, moments[name])
            params[name] = params[name] + change
        seen += found
    return params, {"steps": jnp.int32(steps), "begun": begun, "seen": seen}


def trained(devices, steps, mapper="shard_map", micro_batches=1):
    spread = parallel.create(mapper, devices)
    method = game(spread.axes.data)
    state = states.create(method, jax.random.key(0), BATCH)
    layout = states.layout(state, method.specs)
    step = make_step(
        method,
        spread.axes,
        lambda data, key, step: data,
        1,
        unroll=True,
        micro_batches=micro_batches,
    )
    mapped = spread.map(step, layout, data_is_split=True)
    state, data = spread.place(state, layout), spread.split(BATCH)
    for _ in range(steps):
        state, metrics = mapped(state, data)
    return jax.device_get((state.params, state.extras)), jax.device_get(metrics)


@pytest.mark.parametrize(
    ("mapper", "devices", "micro_batches"),
    [("shard_map", 1, 1), ("shard_map", 4, 1), ("pmap", 2, 1), ("shard_map", 2, 2)],
)
def test_players_move_in_turn_as_by_hand_on_any_devices(mapper, devices, micro_batches):
    found, metrics = trained(devices, 4, mapper, micro_batches)
    expected = by_hand(4)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)
    brightness = BATCH.images.astype(np.float32).mean((1, 2, 3)) / 10
    before, (after, _) = by_hand(3)[0], by_hand(4)
    halfway = {"up": after["up"], "down": before["down"]}  # metrics are of the last update's turn
    np.testing.assert_allclose(metrics["value"], value(halfway, brightness).mean(), rtol=2e-5)


def test_players_at_once_are_another_game():
    both = [game(), dataclasses.replace(game(), alternating=False)]
    found = []
    for method in both:
        state = states.create(method, jax.random.key(0), BATCH)
        state, _ = train_step(Differentiator(method, Axes()), state, BATCH)
        found.append(state)
    assert found[0].params["up"] == found[1].params["up"]
    moments = [jax.tree.leaves(state.optimizer[1]) for state in found]
    assert any(bool(a != b) for a, b in zip(*moments, strict=True))


def test_a_turn_that_is_not_finite_changes_nothing_and_is_named():
    method = game(broken=True)
    state = states.create(method, jax.random.key(0), BATCH)
    gradients_of = Differentiator(method, Axes())
    after, _ = train_step(gradients_of, state, BATCH)
    assert not after.finite
    same = jax.tree.map(lambda a, b: bool((a == b).all()), after.params, state.params)
    assert jax.tree.all(same)
    assert int(after.step) == int(after.extras["steps"]) == 0
    inspect = make_inspection(gradients_of, lambda data, key, step: data)
    told = describe(jax.device_get(inspect(state, BATCH)[1]))
    assert told == "generators and the gradient (down)"
