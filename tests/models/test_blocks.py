"""What encoders are built of: convolutions, stages, and blocks that are computed twice."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mcl_jax.models.blocks import BasicBlock, Layers, residual_stages, stage_of

KEY = jax.random.key(0)


def draw(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_depthwise_dilated_convolution_with_bias():
    layer = Layers().conv(4, 3, name="conv", groups=4, use_bias=True, dilation=2)
    x, kernel, bias = draw(2, 5, 6, 4), draw(3, 3, 1, 4), draw(4)
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    taps = [(i, j) for i in range(3) for j in range(3)]
    expected = bias + sum(
        padded[:, 2 * i : 2 * i + 5, 2 * j : 2 * j + 6] * kernel[i, j, 0] for i, j in taps
    )
    out = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    params = layer.init(KEY, x)["params"]
    assert params["kernel"].shape == kernel.shape
    assert not params["bias"].any()


def test_groups_are_convolved_apart():
    layer, x, kernel = (
        Layers().conv(6, 3, 2, name="conv", groups=2),
        draw(2, 6, 6, 4),
        draw(3, 3, 2, 6),
    )
    halves = [
        lax.conv_general_dilated(
            x[..., 2 * half : 2 * half + 2],
            kernel[..., 3 * half : 3 * half + 3],
            (2, 2),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for half in range(2)
    ]
    out = layer.apply({"params": {"kernel": kernel}}, x)
    np.testing.assert_allclose(out, np.concatenate(halves, -1), rtol=1e-5, atol=1e-5)


class Tower(nn.Module):
    """Three blocks of one stage."""

    layers: Layers

    @nn.compact
    def __call__(self, x, train):
        sizes = {"widths": (8,), "depths": (3,), "strides": (1,)}
        return residual_stages(x, train, block=BasicBlock, layers=self.layers, **sizes)


def gradient_of_two(remat, x):
    """The compiled loss and gradient of two stacked networks, and their variables."""
    net = Tower(Layers(remat=remat))
    variables = jax.vmap(lambda key: net.init(key, x, False))(jax.random.split(KEY, 2))

    def loss(params, stats):
        variables = {"params": params, "batch_stats": stats}
        out, moved = jax.vmap(lambda v: net.apply(v, x, True, mutable=["batch_stats"]))(variables)
        return jnp.sin(out).sum(), moved

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    # XLA on CPU would expand the barriers that keep the second computation late.
    options = {"xla_disable_hlo_passes": "cse_barrier_expander"}
    arguments = variables["params"], variables["batch_stats"]
    return step.lower(*arguments).compile(options), arguments


def test_rematerialised_blocks_store_less_and_say_the_same():
    x = draw(8, 16, 16, 8)
    (stored, variables), (again, same_variables) = (gradient_of_two(r, x) for r in (False, True))
    jax.tree.map(np.testing.assert_array_equal, variables, same_variables)
    memory = [step.memory_analysis().temp_size_in_bytes for step in (stored, again)]
    assert memory[1] < 0.7 * memory[0], memory
    expected, actual = stored(*variables), again(*variables)
    assert jax.tree.structure(expected) == jax.tree.structure(actual)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("name", ["layer0_1", "layer3_0", "layer1", "conv", "xlayer1_0"])
def test_names_of_no_stage(name):
    with pytest.raises(ValueError, match=f"a top-level submodule of the encoder; got '{name}'"):
        stage_of(name, 2, stem=["conv1"], end=["fc"])
