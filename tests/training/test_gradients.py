"""Micro-batches: the gradient of the whole batch, in the memory of a part."""

import functools

import jax
import pytest
import tiny
from test_equality import relative

from mcl_jax.models import registry
from mcl_jax.models.small_resnet import SmallResNet
from mcl_jax.training.feed import resident_feed
from mcl_jax.training.step import make_step


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def trained(**changes):
    config = tiny.config(
        model__dtype="float64", method__weights__deep_mutual=0.5, parallel__devices=2, **changes
    )
    _, state, metrics = tiny.run_steps(config, tiny.dataset(), steps=3)
    return jax.device_get((state._replace(key=jax.random.key_data(state.key)), metrics))


@pytest.mark.parametrize(
    ("norm", "statistics"),
    [
        # Statistics of a part are those of a group of the batch.
        ("local", {"model__norm": "grouped", "model__norm_groups": 4}),
        ("group", {"model__norm": "group"}),
    ],
)
def test_parts_train_as_the_whole_batch_does(norm, statistics):
    with jax.enable_x64(True):
        whole = trained(**statistics)
        parts = trained(model__norm=norm, training__micro_batches=2)
    worst = jax.tree.map(relative, parts, whole)
    assert max(jax.tree.leaves(worst)) < 1e-9


def test_scanned_parts_are_unrolled_parts():
    """Accelerators scan them, and so must the step be compiled for those."""
    config = tiny.config(training__micro_batches=2, parallel__devices=2)

    def stepped(unroll):
        run, state, _ = tiny.run_steps(config, tiny.dataset(), steps=0)
        axes = run.mapper.axes
        step = make_step(run.method, axes, resident_feed(axes, 2), 1, unroll, micro_batches=2)
        mapped = run.mapper.map(step, run.layout, data_is_split=False)
        state, metrics = mapped(state, next(tiny.batches(run)))
        return state.params, state.extras, metrics

    worst = jax.tree.map(relative, stepped(unroll=False), stepped(unroll=True))
    assert max(jax.tree.leaves(worst)) < 1e-4


def test_less_memory_is_less_memory(monkeypatch):
    encoder = functools.partial(SmallResNet, widths=(16, 16))
    monkeypatch.setitem(registry._ENCODERS, "deep", encoder)

    def temporary(**changes):
        sizes = {"model__name": "deep", "method__networks": 1, "data__batch_size": 256}
        config = tiny.config(**sizes, method__chunk_size=64, **changes)
        run, state, _ = tiny.run_steps(config, tiny.dataset(rows=256), steps=0)
        compiled = run.step.lower(state, next(tiny.batches(run))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = temporary()
    assert temporary(training__micro_batches=4) < 0.6 * whole
    assert temporary(model__remat=True) < 0.9 * whole
