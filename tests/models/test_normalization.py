"""Normalisation against NumPy, Flax, and itself over groups and devices."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from mcl_jax.models import BatchNorm, GroupNorm

SHAPE = (8, 3, 2, 5)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(1.5, 2.0, size=shape)


def variables(dtype=np.float32):
    rng = np.random.default_rng(7)
    channels = SHAPE[-1]
    return {
        "params": {
            "scale": rng.uniform(0.5, 1.5, channels).astype(dtype),
            "bias": rng.normal(size=channels).astype(dtype),
        },
        "batch_stats": {
            "mean": rng.normal(size=channels).astype(dtype),
            "var": rng.uniform(0.5, 1.5, channels).astype(dtype),
        },
    }


def train(norm, values, x):
    out, updates = norm.apply(values, x, True, mutable=["batch_stats"])
    return out, updates["batch_stats"]


def transcription(values, x, momentum=0.9, epsilon=1e-5):
    """Output and running statistics, from the equations, in float64."""
    axes = tuple(range(x.ndim - 1))
    n = x.size // x.shape[-1]
    mean = x.sum(axes) / n
    var = ((x - mean) ** 2).sum(axes) / n
    params, stats = values["params"], values["batch_stats"]
    out = params["scale"] * (x - mean) / np.sqrt(var + epsilon) + params["bias"]
    return out, {
        "mean": momentum * stats["mean"] + (1 - momentum) * mean,
        "var": momentum * stats["var"] + (1 - momentum) * var * n / (n - 1),
    }


def close(actual, expected, tolerance):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [SHAPE, (6, 5)])
def test_training_is_the_transcription(shape):
    x = draw(0, *shape)
    expected = transcription(variables(np.float64), x)
    close(train(BatchNorm(), variables(), x.astype(np.float32)), expected, 2e-6)
    with jax.enable_x64(True):
        norm = BatchNorm(dtype=jnp.float64, param_dtype=jnp.float64)
        out, stats = train(norm, variables(np.float64), x)
        assert out.dtype == stats["var"].dtype == jnp.float64
        close((out, stats), expected, 1e-12)


def test_training_output_and_gradient_are_those_of_flax():
    x, weight = draw(0, *SHAPE).astype(np.float32), draw(1, *SHAPE).astype(np.float32)
    flax_norm = nn.BatchNorm(use_running_average=False, momentum=0.9)

    def ours(params, x):
        out, _ = train(BatchNorm(), {**variables(), "params": params}, x)
        return (out * weight).sum(), out

    def theirs(params, x):
        values = {**variables(), "params": params}
        out, _ = flax_norm.apply(values, x, mutable=["batch_stats"])
        return (out * weight).sum(), out

    params = variables()["params"]
    actual = jax.grad(ours, (0, 1), has_aux=True)(params, x)
    close(actual, jax.grad(theirs, (0, 1), has_aux=True)(params, x), 2e-5)


def test_evaluation_uses_running_statistics():
    x, values = draw(0, *SHAPE), variables(np.float64)
    params, stats = values["params"], values["batch_stats"]
    expected = params["scale"] * (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) + params["bias"]
    out = BatchNorm(axis_name="absent", groups=3).apply(variables(), x.astype(np.float32), False)
    close(out, expected, 2e-6)


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_are_devices_that_do_not_talk(groups):
    x, values = draw(0, *SHAPE).astype(np.float32), variables()
    out, stats = train(BatchNorm(groups=groups), values, x)
    parts = [train(BatchNorm(), values, part) for part in np.split(x, groups)]
    close(out, np.concatenate([o for o, _ in parts]), 2e-6)
    close(stats, jax.tree.map(lambda *s: np.mean(s, 0), *[s for _, s in parts]), 2e-6)


def over_devices(norm, devices, x, checked):
    """One step on split rows; running statistics are averaged, as in a training step."""

    def step(values, x, weight):
        def loss(params, x):
            out, stats = train(norm, {**values, "params": params}, x)
            return jax.lax.psum((out * weight).sum(), "data"), (out, stats)

        (_, (out, stats)), gradient = jax.value_and_grad(loss, (0, 1), has_aux=True)(
            values["params"], x
        )
        to_params = jax.lax.pmean(gradient[0], "data")
        return out, jax.lax.pmean(stats, "data"), to_params

    rows, whole = PartitionSpec("data"), PartitionSpec()
    mapped = jax.shard_map(
        step,
        mesh=Mesh(np.array(jax.devices()[:devices]), ("data",)),
        in_specs=(whole, rows, rows),
        out_specs=(rows, whole, whole),
        check_vma=checked,
    )
    return jax.jit(mapped)(variables(), x, draw(1, *SHAPE).astype(np.float32))


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("devices", [2, 4])
def test_synced_devices_are_one_device(devices, checked):
    x = draw(0, *SHAPE).astype(np.float32)
    synced = over_devices(BatchNorm(axis_name="data"), devices, x, checked)
    close(synced, over_devices(BatchNorm(), 1, x, checked), 2e-5)


@pytest.mark.parametrize("checked", [True, False])
def test_groups_on_one_device_are_local_devices(checked):
    x = draw(0, *SHAPE).astype(np.float32)
    local = over_devices(BatchNorm(), 4, x, checked)
    close(local, over_devices(BatchNorm(groups=4), 1, x, checked), 2e-5)
    close(local, over_devices(BatchNorm(groups=2), 2, x, checked), 2e-5)


def test_synced_under_vmap_over_networks():
    x = draw(0, 2, *SHAPE).astype(np.float32)
    split = x.reshape(2, 4, 2, *SHAPE[1:])
    norm = BatchNorm(axis_name="data")
    each = jax.vmap(lambda part: train(norm, variables(), part)[0], axis_name="data")
    out = jax.vmap(each)(split).reshape(x.shape)
    close(out, np.stack([train(BatchNorm(), variables(), part)[0] for part in x]), 2e-6)


def test_constant_channel_stays_finite():
    x = np.full(SHAPE, 1e4 / 3, np.float32)

    def loss(x):
        out, stats = train(BatchNorm(), variables(), x)
        return jnp.sin(out).sum(), stats

    gradient, stats = jax.grad(loss, has_aux=True)(x)
    assert np.isfinite(gradient).all()
    assert np.isfinite(stats["var"]).all()
    assert (stats["var"] > 0).all()


def test_bfloat16_keeps_statistics_in_float32():
    x = draw(0, 64, 5).astype(np.float32)
    out, stats = train(BatchNorm(dtype=jnp.bfloat16), variables(), x.astype(jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    assert stats["mean"].dtype == stats["var"].dtype == jnp.float32
    reference, reference_stats = transcription(
        variables(np.float64), np.asarray(x.astype(jnp.bfloat16), np.float64)
    )
    close(stats, reference_stats, 2e-6)
    np.testing.assert_allclose(out.astype(jnp.float32), reference, rtol=0.01, atol=0.01)


def test_initialising_ignores_groups_and_axis():
    norm = BatchNorm(axis_name="absent", groups=3)
    values = norm.init(jax.random.key(0), jnp.ones((1, 2, 2, 4)), True)
    close(values["batch_stats"], {"mean": np.zeros(4), "var": np.ones(4)}, 0)
    close(values["params"], {"scale": np.ones(4), "bias": np.zeros(4)}, 0)


def test_batch_that_does_not_divide():
    with pytest.raises(ValueError, match="a batch of 8 rows does not divide into 3 groups"):
        train(BatchNorm(groups=3), variables(), jnp.ones(SHAPE))


def test_a_single_value():
    with pytest.raises(ValueError, match=re.escape("(1, 1, 1, 5) in 1 group")):
        train(BatchNorm(), variables(), jnp.ones((1, 1, 1, 5)))


def test_group_norm_is_that_of_flax():
    def value(norm, params, x):
        out = norm.apply({"params": params}, x)
        return jnp.sin(out).sum(), out

    gradient = jax.grad(value, (1, 2), has_aux=True)

    @jax.jit
    def both(settings):
        ours, theirs = [], []
        for (params, x), groups in zip(settings, (32, 24, 20, 1), strict=True):
            same = nn.GroupNorm(num_groups=groups, epsilon=1e-5, use_fast_variance=False)
            ours.append(gradient(GroupNorm(), params, x))
            theirs.append(gradient(same, params, x))
        return ours, theirs

    settings = [
        ({"scale": draw(2, c), "bias": draw(3, c)}, draw(0, 3, 2, 4, c)) for c in (64, 48, 20, 37)
    ]
    ours, theirs = both(jax.tree.map(np.float32, settings))
    close(ours, theirs, 2e-5)


def test_group_norm_without_space_is_a_layer_norm():
    x, params = draw(0, 3, 64).astype(np.float32), {"scale": np.ones(64), "bias": np.zeros(64)}
    expected = nn.LayerNorm(1e-5).apply({"params": params}, x)
    close(GroupNorm().apply({"params": params}, x), expected, 2e-6)
    close(GroupNorm().apply({"params": params}, x[:, None, None])[:, 0, 0], expected, 2e-6)


def test_group_norm_knows_no_other_row():
    x, norm = draw(0, 2, *SHAPE).astype(np.float32), GroupNorm(groups=5)
    values = {"params": variables()["params"]}
    out = jax.vmap(lambda x: norm.apply(values, x, True))(x)
    close(out[1], norm.apply(values, x[1]), 2e-6)
    close(out[1, ::-2], norm.apply(values, x[1, ::-2]), 2e-6)


def test_group_norm_keeps_statistics_in_float32():
    x = draw(0, 2, 16, 16, 8) + 100
    out = GroupNorm(groups=2, dtype=jnp.bfloat16).apply(
        {"params": {"scale": np.ones(8, np.float32), "bias": np.zeros(8, np.float32)}},
        x.astype(jnp.bfloat16),
    )
    rows = np.asarray(x.astype(jnp.bfloat16), np.float64).reshape(2, 256, 2, 4)
    expected = (rows - rows.mean((1, 3), keepdims=True)) / rows.std((1, 3), keepdims=True)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        out.astype(np.float32), expected.reshape(x.shape), rtol=0.01, atol=0.01
    )


@pytest.mark.parametrize("norm", [BatchNorm, GroupNorm])
def test_normalisation_without_a_bias(norm):
    x, values = draw(0, *SHAPE).astype(np.float32), variables()
    values["params"]["bias"] = np.zeros(SHAPE[-1], np.float32)
    expected = norm().apply(values, x, False)
    del values["params"]["bias"]
    close(norm(use_bias=False).apply(values, x, False), expected, 0)
    assert set(norm(use_bias=False).init(jax.random.key(0), x, False)["params"]) == {"scale"}
