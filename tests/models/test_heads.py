"""Heads and predictors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import models
from mcl_jax.models import Predictor, ProjectionHead
from mcl_jax.models.blocks import Layers


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_embeddings_are_unit_vectors(dtype):
    head, features = (
        ProjectionHead(dim=16, dtype=dtype),
        jax.random.normal(jax.random.key(1), (5, 8)),
    )
    out = head.apply(head.init(jax.random.key(0), features), features)
    assert out.shape == (5, 16)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(jnp.linalg.norm(out, axis=-1), 1, rtol=1e-6)


def test_structure_is_two_layers_with_a_relu():
    head, features = ProjectionHead(dim=16), jax.random.normal(jax.random.key(1), (5, 8))
    variables = head.init(jax.random.key(0), features)
    first, second = variables["params"]["linear1"], variables["params"]["linear2"]
    hidden = np.maximum(features @ first["kernel"] + first["bias"], 0)
    out = hidden @ second["kernel"] + second["bias"]
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    np.testing.assert_allclose(head.apply(variables, features), out, rtol=1e-5, atol=1e-6)
    assert first["kernel"].shape == (8, 16)
    assert 0.8 * 8**-0.5 < np.abs(first["bias"]).max() <= 8**-0.5
    assert 0.8 * 16**-0.5 < np.abs(second["bias"]).max() <= 16**-0.5


def trace(head, dtype=jnp.float32, width=2048):
    """Shapes of the output and the variables."""
    features = jax.ShapeDtypeStruct((4, width), dtype)
    return jax.eval_shape(lambda x: head.init_with_output(jax.random.key(0), x), features)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


F, D = 2048, 128
PAPERS = {
    "mcl": F * D + D + D * D + D,
    "linear": F * D + D,
    "mocov2": F * F + F + F * D + D,
    "simclr": F * F + 2 * F + F * D + D,
    "byol": F * 4096 + 2 * 4096 + 4096 * D,
    "simsiam": 2 * (F * F + 2 * F) + F * D,
    "fast_moco": 2 * (F * F + 2 * F) + F * D + 2 * D,
}
NORMALISED = {"simclr", "byol", "simsiam", "fast_moco"}


@pytest.mark.parametrize("name", models.head_names())
def test_sizes_of_the_papers(name):
    head = models.create_head(name, D, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    out, variables = trace(head, jnp.bfloat16)
    assert (out.shape, out.dtype) == ((4, D), jnp.float32)
    assert count(variables["params"]) == PAPERS[name]
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.bfloat16.dtype}
    assert ("batch_stats" in variables) == (name in NORMALISED)
    _, variables = trace(models.create_head(name, D, norm="group"))
    assert set(variables) == {"params"}


@pytest.mark.parametrize(
    ("predictor", "parameters"),
    [
        (Predictor(), 2 * 256 * 4096 + 2 * 4096),
        (Predictor(2048, 512, use_bias=True), 2 * 2048 * 512 + 2 * 512 + 2048),
    ],
    ids=["byol", "simsiam"],
)
def test_sizes_of_predictors(predictor, parameters):
    out, variables = trace(predictor, width=predictor.dim)
    assert out.shape == (4, predictor.dim)
    assert count(variables["params"]) == parameters


def normalized(x, stats, train):
    mean, var = (x.mean(0), x.var(0)) if train else (stats["mean"], stats["var"])
    return (x - mean) / np.sqrt(var + 1e-5)


def transcription(name, variables, x, train):
    """What a head says, in float64 NumPy; unknown batch statistics are those of initialisation."""
    params, stats = variables["params"], variables.get("batch_stats", {})
    x = x @ params["linear1"]["kernel"] + params["linear1"].get("bias", 0)
    if "bn1" in params:
        x = normalized(x, stats["bn1"], train) * params["bn1"]["scale"] + params["bn1"]["bias"]
    if name != "linear":
        x = np.maximum(x, 0) @ params["linear2"]["kernel"] + params["linear2"].get("bias", 0)
    if name == "simclr":
        x = normalized(x, stats["bn2"], train) * params["bn2"]["scale"]
    if "linear3" in params:
        x = normalized(x, stats["bn2"], train) * params["bn2"]["scale"] + params["bn2"]["bias"]
        x = normalized(np.maximum(x, 0) @ params["linear3"]["kernel"], stats["bn3"], train)
    if name == "fast_moco":
        x = x * params["bn3"]["scale"] + params["bn3"]["bias"]
    return x if name == "predictor" else x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", [*models.head_names(), "predictor"])
def test_heads_are_numpy(name):
    predictor = Predictor(6, 10, use_bias=True)
    head = predictor if name == "predictor" else models.create_head(name, 6)
    head = models.create_head(name, 6, width=10) if name in models.BEFORE_PREDICTORS else head
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 8))
    template = jax.eval_shape(head.init, jax.random.key(0), x.astype(np.float32))
    variables = jax.tree_util.tree_map_with_path(
        lambda path, a: (
            rng.uniform(0.5, 2, a.shape) * (path[-1].key == "var")
            + rng.normal(size=a.shape) * (path[-1].key != "var")
        ),
        template,
    )
    single = jax.tree.map(np.float32, variables)
    for train in (False, True):
        out, moved = head.apply(single, np.float32(x), train, mutable=["batch_stats"])
        expected = transcription(name, variables, x, train)
        np.testing.assert_allclose(out, expected, rtol=2e-3, atol=2e-4)
        same = jax.tree.map(
            np.array_equal, moved.get("batch_stats", {}), single.get("batch_stats", {})
        )
        assert not any(jax.tree.leaves(same)) if train else all(jax.tree.leaves(same))


@pytest.mark.parametrize("name", models.BEFORE_PREDICTORS)
def test_heads_may_leave_the_length(name):
    features = jax.random.normal(jax.random.key(1), (5, 8))
    head, raw = (models.create_head(name, 4, width=16, unit=unit) for unit in (True, False))
    variables = head.init(jax.random.key(0), features)
    out = raw.apply(variables, features)
    lengths = jnp.linalg.norm(out, axis=-1, keepdims=True)
    assert np.abs(lengths - 1).max() > 0.1
    np.testing.assert_allclose(head.apply(variables, features), out / lengths, rtol=1e-5)


def test_head_in_groups():
    head = models.create_head("byol", 4, norm_groups=2, norm_axis_name="data")
    assert head.layers == Layers(norm_groups=2, norm_axis_name="data")


@pytest.mark.parametrize(
    ("name", "dim", "message"),
    [
        ("moco", 128, r"unknown head 'moco'; did you mean 'mocov2'\? Known: mcl, linear,"),
        ("mcl", 0, "dim must be at least 1; got 0"),
    ],
)
def test_heads_that_there_are_not(name, dim, message):
    with pytest.raises(ValueError, match=message):
        models.create_head(name, dim)


@pytest.mark.parametrize("own", [{"width": 8}, {"unit": False}])
def test_heads_without_a_hidden_width_of_their_own(own):
    message = "width and unit are for byol, simsiam, fast_moco; got .* for linear"
    with pytest.raises(ValueError, match=message):
        models.create_head("linear", 4, **own)


@pytest.mark.parametrize("hidden", [False, True])
def test_the_jigsaw_head_joins_patches_in_their_order(hidden):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 9, 6)).astype(np.float32)
    order = np.stack([rng.permutation(9) for _ in range(3)])
    head = models.JigsawHead(4, hidden)
    out, variables = jax.jit(head.init_with_output)(jax.random.key(0), features, order)
    layers = {
        name: (np.asarray(x["kernel"]), np.asarray(x["bias"]))
        for name, x in variables["params"].items()
    }
    x = features
    if hidden:
        kernel, bias = layers["linear1"]
        assert kernel.shape == (6, 6)
        x = np.maximum(x @ kernel + bias, 0)
    kernel, bias = layers["linear2" if hidden else "linear1"]
    x = x @ kernel + bias
    joined = np.stack([np.concatenate([x[i, p] for p in order[i]]) for i in range(3)])
    kernel, bias = layers["joined"]
    expected = joined @ kernel + bias
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)
