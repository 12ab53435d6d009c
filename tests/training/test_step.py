"""One step: compiled once, the same in one dispatch or many, any number of updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from mcl_jax.axes import Axes
from mcl_jax.data import Batch
from mcl_jax.methods import Method, Update
from mcl_jax.training import state as states
from mcl_jax.training.gradients import Differentiator
from mcl_jax.training.step import make_step, train_step


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def same(a, b, tolerance=0.0):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(x, y, rtol=tolerance, atol=tolerance) for x, y in pairs)


class CompileCounter:
    """Counts what XLA compiles while it is on."""

    count = 0

    def __call__(self, event, duration, **_):
        self.count += event == "/jax/core/compile/backend_compile_duration"


COMPILED = CompileCounter()
jax.monitoring.register_event_duration_secs_listener(COMPILED)


@pytest.mark.parametrize("mapper", ["shard_map", "pmap"])
@pytest.mark.parametrize("devices", [1, 2])
def test_nothing_is_traced_or_compiled_after_the_first_step(mapper, devices, monkeypatch):
    traces = []

    def counted(*args):
        traces.append(1)
        return train_step(*args)

    monkeypatch.setattr("mcl_jax.training.step.train_step", counted)
    config = tiny.config(parallel__mapper=mapper, parallel__devices=devices)
    before = COMPILED.count
    run, state, _ = tiny.run_steps(config, tiny.dataset(), steps=1)
    after_first = COMPILED.count
    assert after_first > before
    data = next(tiny.batches(run))
    for _ in range(3):
        state, _ = run.step(state, data)
    assert int(state.step) == 4
    assert len(traces) == 1
    assert COMPILED.count == after_first


def test_two_steps_in_one_dispatch_are_two_dispatches_of_one():
    one = tiny.config(training__steps=4)
    two = tiny.config(training__steps=4, training__steps_per_dispatch=2)
    _, state_one, metrics_one = tiny.run_steps(one, tiny.dataset(), steps=4)
    _, state_two, metrics_two = tiny.run_steps(two, tiny.dataset(), steps=2)
    assert int(state_two.step) == 4
    assert same(state_one.params, state_two.params, 1e-5)
    assert same(metrics_one[-1], metrics_two[-1], 1e-4)


class Line:
    """A method of two scalars on images' mean brightness, with a closed form."""

    def init(self, key, batch):
        del key, batch
        return {"a": jnp.array([1.0]), "b": jnp.array([2.0])}, {"seen": jnp.zeros((), jnp.int32)}

    def embed(self, params, extras, batch, key, train):
        del key, train
        return params["a"] * params["b"], {"seen": extras["seen"] + len(batch.labels)}

    def objective(self, outputs, extras, batch, key):
        del batch, key
        value = outputs[0]
        return {"down": value, "up": -3.0 * value}, (extras, {"value": value})


def line(*updates):
    method = Line()
    return Method(method.init, method.embed, method.objective, lambda *_: None, updates)


BATCH = Batch(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int32), np.arange(4), np.arange(4))


def test_two_updates_descend_their_own_losses_on_their_own_parameters():
    method = line(
        Update(optax.sgd(0.1), loss="down", moves=lambda path: path == "a"),
        Update(optax.sgd(0.1), loss="up", moves=lambda path: path == "b"),
    )
    state = states.create(method, jax.random.key(0), BATCH)
    state, metrics = train_step(Differentiator(method, Axes()), state, BATCH)
    np.testing.assert_allclose(state.params["a"], 1.0 - 0.1 * 2.0)  # d(ab)/da = b
    np.testing.assert_allclose(state.params["b"], 2.0 + 0.1 * 3.0 * 1.0, rtol=1e-6)
    assert metrics["value"] == 2.0
    assert state.extras["seen"] == 4


def test_an_update_waits_for_its_turn():
    method = line(
        Update(optax.sgd(0.1), loss="down", moves=lambda path: path == "a"),
        Update(optax.sgd(0.1), loss="up", moves=lambda path: path == "b", every=2),
    )
    state = states.create(method, jax.random.key(0), BATCH)
    moved = []
    for _ in range(4):
        before = float(state.params["b"][0])
        state, _ = train_step(Differentiator(method, Axes()), state, BATCH)
        moved.append(float(state.params["b"][0]) != before)
    assert moved == [True, False, True, False]


@pytest.mark.parametrize("unroll", [True, False])
def test_unrolled_and_scanned_dispatches_agree(unroll):
    method = line(Update(optax.sgd(0.1, momentum=0.9), loss="down"))
    state = states.create(method, jax.random.key(0), BATCH)
    step = make_step(method, Axes(), lambda data, key, step: data, steps=3, unroll=unroll)
    after, metrics = jax.jit(step)(state, BATCH)
    expected = state
    for _ in range(3):
        expected, values = train_step(Differentiator(method, Axes()), expected, BATCH)
    assert same(after.params, expected.params, 1e-6)
    assert same(metrics, values, 1e-6)
    assert int(after.step) == 3


def test_each_step_has_its_own_views_and_rows():
    _, _, metrics = tiny.run_steps(
        tiny.config(optimizer__learning_rate=0.0), tiny.dataset(), steps=3
    )
    assert len({float(values["loss"]) for values in metrics}) == 3


def test_an_update_that_names_no_parameter_moves_none():
    method = line(Update(optax.sgd(0.1), loss="down", moves=lambda path: False))
    state = states.create(method, jax.random.key(0), BATCH)
    after, _ = train_step(Differentiator(method, Axes()), state, BATCH)
    assert same(after.params, state.params)
