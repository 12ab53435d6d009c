"""The same training on any number of devices, by either mapper."""

import jax
import numpy as np
import pytest
import tiny

# Statistics that do not depend on how the batch is split: synced, or of eight groups.
SPLITS = {
    "sync": [("shard_map", 2), ("shard_map", 4), ("shard_map", 8), ("pmap", 4)],
    "grouped": [("shard_map", 8), ("pmap", 2)],
}


@pytest.fixture
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def train(norm, dtype, mapper="shard_map", devices=1):
    config = tiny.config(
        model__norm=norm,
        model__norm_groups=8 if norm == "grouped" else 1,
        model__dtype=dtype,
        parallel__mapper=mapper,
        parallel__devices=devices,
        method__weights__logit_distillation=0.5,
        method__weights__deep_mutual=0.5,
        optimizer__clip_norm=1.0,
    )
    _, state, metrics = tiny.run_steps(config, tiny.dataset(), steps=5)
    return jax.device_get((state._replace(key=jax.random.key_data(state.key)), metrics))


def relative(ours, reference):
    scale = np.max(np.abs(reference)) if np.size(reference) else 0.0
    return np.max(np.abs(np.asarray(ours, np.float64) - reference), initial=0.0) / max(
        scale, 1e-300
    )


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize("norm", SPLITS)
def test_float64_training_is_equal_to_1e_9(norm):
    with jax.enable_x64(True):
        reference_state, reference_metrics = train(norm, "float64")
        for mapper, devices in SPLITS[norm]:
            state, metrics = train(norm, "float64", mapper, devices)
            for name in reference_metrics[0]:
                pairs = zip(metrics, reference_metrics, strict=True)
                assert max(relative(a[name], b[name]) for a, b in pairs) < 1e-9, (mapper, devices)
            # The optimiser's trace is the gradients' running sum.
            worst = jax.tree.map(relative, state, reference_state)
            assert max(jax.tree.leaves(worst)) < 1e-9, (mapper, devices)
        moved = jax.tree.map(lambda x: np.ptp(x), reference_state.params)
        assert max(jax.tree.leaves(moved)) > 0


@pytest.mark.usefixtures("_tiny")
def test_float32_loss_is_equal_to_1e_5():
    _, reference = train("sync", "float32")
    _, metrics = train("sync", "float32", devices=8)
    pairs = zip(metrics, reference, strict=True)
    assert max(relative(a["loss"], b["loss"]) for a, b in pairs) < 1e-5


@pytest.mark.usefixtures("_tiny")
def test_local_statistics_do_depend_on_the_devices():
    """Otherwise the equalities above would hold for want of any batch statistics."""
    _, one = train("local", "float32")
    _, eight = train("local", "float32", "shard_map", 8)
    assert relative(eight[0]["loss"], one[0]["loss"]) > 1e-4
