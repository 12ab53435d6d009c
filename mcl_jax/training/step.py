"""One training step of any method, as a program for each device.

The gradient recipe is exact on one device, under `shard_map` with and without ``check_vma``, and
under `pmap`: the loss is a mean over all devices' anchors (`Method`), and gradients are averaged
over the data axis afterwards. That average is an identity where `shard_map` has summed already,
and the missing reduction where it has not.

A step whose losses or gradients are not all finite changes nothing but ``state.finite``, and no
step after it changes anything: the state before it is there when the host next looks.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mcl_jax.axes import Axes, pmean
from mcl_jax.data import Batch
from mcl_jax.methods import Method, Update
from mcl_jax.training.state import Stream, TrainState, stream, transformation

Feed = Callable[[Any, jax.Array, jax.Array], Batch]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def make_step(method: Method, axes: Axes, feed: Feed, steps: int, unroll: bool) -> Step:
    """Builds the program that a mapper spreads over devices.

    Args:
        method: what is trained.
        axes: names of the mapped axes the program runs under.
        feed: (data, key, step) to this device's Batch.
        steps: training steps in one call.
        unroll: lays the steps out one after the other instead of scanning. On a CPU, XLA runs a
            convolution inside a loop some 45 times slower.

    Returns:
        A function (state, data) to (state, metrics of the last step).
    """

    def one(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        return train_step(method, axes, state, feed(data, state.key, state.step))

    def unrolled(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        for _ in range(steps - 1):
            state, _ = one(state, data)
        return one(state, data)

    def scanned(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        state, metrics = jax.lax.scan(lambda state, _: one(state, data), state, length=steps)
        return state, jax.tree.map(lambda x: x[-1], metrics)

    return unrolled if unroll or steps == 1 else scanned


def train_step(
    method: Method, axes: Axes, state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Moves the state by one batch.

    Args:
        method: what is trained.
        axes: names of the mapped axes this runs under.
        state: the run, the same on every device.
        batch: this device's part of the batch.

    Returns:
        The next state and the step's metrics, the same on every device.
    """
    values, gradients, extras, metrics = differentiate(method, axes, state, batch)
    finite = state.finite & jnp.all(jnp.array([all_finite(values), all_finite(gradients)]))
    params, optimizer = state.params, []
    for update, gradient, old in zip(method.updates, gradients, state.optimizer, strict=True):
        params, new = _move(update, state.step, gradient, old, params)
        optimizer.append(new)
    moved = TrainState(state.step + 1, params, extras, tuple(optimizer), state.key, finite)
    kept = state._replace(finite=finite)
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, kept), metrics


def differentiate(
    method: Method, axes: Axes, state: TrainState, batch: Batch
) -> tuple[dict[str, jax.Array], tuple[Any, ...], Any, Metrics]:
    """The losses of a step and what each update is to descend.

    Args:
        method: what is trained.
        axes: names of the mapped axes this runs under.
        state: the run, the same on every device.
        batch: this device's part of the batch.

    Returns:
        Losses by name, a gradient for each update of the method, new extras, and metrics; all the
        same on every device.
    """
    key = jax.random.fold_in(stream(state.key, Stream.STEP), state.step)
    embed_key, objective_key = jax.random.split(key)

    def losses(params: Any) -> tuple[dict[str, jax.Array], tuple[Any, Metrics]]:
        outputs, extras = method.embed(params, state.extras, batch, embed_key, True)
        loss, aux = method.objective(outputs, extras, batch, objective_key)
        return loss if isinstance(loss, dict) else {"loss": loss}, aux

    values, pullback, (extras, metrics) = jax.vjp(losses, state.params, has_aux=True)
    gradients = []
    for update in method.updates:
        cotangents = {
            name: jnp.full_like(value, name == update.loss) for name, value in values.items()
        }
        gradients.append(pmean(pullback(cotangents)[0], axes.data))
    return values, tuple(gradients), extras, metrics


def all_finite(tree: Any) -> jax.Array:
    """Whether every number of every leaf is finite: [], bool."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def _move(
    update: Update, step: jax.Array, gradient: Any, old: optax.OptState, params: Any
) -> tuple[Any, optax.OptState]:
    """Applies one update if its turn has come."""
    deltas, new = transformation(update).update(gradient, old, params)
    moved = optax.apply_updates(params, deltas)
    if update.every == 1:
        return moved, new
    due = step % update.every == 0
    return jax.tree.map(lambda x, y: jnp.where(due, x, y), (moved, new), (params, old))
