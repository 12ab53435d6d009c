"""Vision transformers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import models
from mcl_jax.models import ViT
from mcl_jax.models.blocks import Layers
from mcl_jax.models.vit import Attention

TINY = ViT(num_classes=3, width=8, heads=2, depth=1)
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 12, 3)).astype(np.float32)


def shapes(net, size, dtype=jnp.float32):
    images = jax.ShapeDtypeStruct((2, size, size, 3), dtype)
    return jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x), images)


@pytest.mark.parametrize(
    ("name", "parameters", "width"), [("vit_tiny", 5_717_416, 192), ("vit_small", 22_050_664, 384)]
)
def test_parameters_are_those_of_timm(name, parameters, width):
    (logits, features), variables = shapes(models.create(name, num_classes=1000), 224)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == parameters
    assert (logits.shape, features.shape) == ((2, 1000), (2, width))
    assert set(variables) == {"params"}


@pytest.mark.parametrize(
    ("size", "patch", "taken"), [(32, None, 4), (64, None, 16), (60, None, 4), (64, 8, 8)]
)
def test_size_of_patches(size, patch, taken):
    _, variables = shapes(TINY.clone(patch=patch), size)
    params = variables["params"]
    assert params["patch_embed"]["proj"]["kernel"].shape == (taken, taken, 3, 8)
    assert params["pos_embed"].shape == (1, (size // taken) ** 2 + 1, 8)


def test_bfloat16_ends_in_float32():
    net = TINY.clone(layers=Layers(dtype=jnp.bfloat16, param_dtype=jnp.bfloat16))
    outputs, variables = shapes(net, 8)
    assert {x.dtype for x in outputs} == {jnp.float32.dtype}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.bfloat16.dtype}


@pytest.fixture(scope="module")
def variables():
    """Of the tiny transformer, every leaf drawn at a scale at which it matters."""
    shape = jax.eval_shape(TINY.init, jax.random.key(0), IMAGES)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: rng.normal(0, 0.5, a.shape).astype(np.float32), shape)


apply = jax.jit(TINY.apply)


def test_patches_without_positions_are_a_set(variables):
    moved = np.roll(IMAGES, 4, axis=2)  # by one patch
    without = {"params": {**variables["params"], "pos_embed": np.zeros((1, 7, 8), np.float32)}}
    for a, b in zip(apply(without, moved), apply(without, IMAGES), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.abs(apply(variables, moved)[1] - apply(variables, IMAGES)[1]).max() > 0.01


def test_rematerialised_and_vmapped_as_it_stands(variables):
    again = TINY.clone(layers=Layers(remat=True))
    two = jax.tree.map(lambda a: np.stack([a, a[..., ::-1]]), variables)

    def loss(net, variables):
        logits, features = net.apply(variables, IMAGES, True)
        return jnp.sin(logits).sum() + jnp.sin(features).sum()

    plain = jax.jit(jax.value_and_grad(lambda v: loss(TINY, v)))
    stacked = jax.jit(jax.vmap(jax.value_and_grad(lambda v: loss(again, v))))(two)
    for i in range(2):
        alone = plain(jax.tree.map(lambda a, i=i: a[i], two))
        mine = jax.tree.map(lambda a, i=i: a[i], stacked)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


def test_attention_is_numpy():
    rng = np.random.default_rng(0)
    x, params = rng.normal(size=(2, 5, 8)).astype(np.float32), {}
    for name, width in (("qkv", 24), ("proj", 8)):
        params[name] = {"kernel": rng.normal(size=(8, width)), "bias": rng.normal(size=width)}
    qkv = x @ params["qkv"]["kernel"] + params["qkv"]["bias"]
    q, k, v = (qkv[..., 8 * i : 8 * i + 8].reshape(2, 5, 2, 4) for i in range(3))
    scores = np.exp(np.einsum("bihd,bjhd->bhij", q, k) / 2)
    scores /= scores.sum(-1, keepdims=True)
    expected = np.einsum("bhij,bjhd->bihd", scores, v).reshape(2, 5, 8)
    expected = expected @ params["proj"]["kernel"] + params["proj"]["bias"]
    out = Attention(heads=2).apply({"params": params}, x)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_patches_that_do_not_divide():
    with pytest.raises(ValueError, match="patches of 4x4 do not divide images of 30x30 pixels"):
        shapes(TINY, 30)


def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="heads must divide the width 8; got 3"):
        shapes(TINY.clone(heads=3), 8)
