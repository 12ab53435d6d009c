"""Per-network convolution equals a Python loop over networks, whatever it is nested in."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jax.test_util import check_grads

from mcl_jax.models import per_network_convolution, select_convolution
from mcl_jax.models.convolution_cpu import hold

LAYOUT = ("NHWC", "HWIO", "NHWC")
M, B = 2, 4

SETTINGS = {
    "same": ((3, 3, 4, 6), {"window_strides": (1, 1), "padding": "SAME"}),
    "strided": ((3, 3, 4, 6), {"window_strides": [2, 2], "padding": [(1, 1), (1, 1)]}),
    "uneven": ((3, 2, 4, 6), {"window_strides": (2, 1), "padding": ((0, 2), (1, 0))}),
    "valid": ((3, 3, 4, 6), {"window_strides": (1, 1), "padding": "VALID"}),
    "pointwise": ((1, 1, 4, 6), {"window_strides": (2, 2), "padding": ((0, 0), (0, 0))}),
    "depthwise": (
        (3, 3, 1, 4),
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 4},
    ),
    "depthwise_uneven": (
        (3, 2, 1, 8),
        {
            "window_strides": (2, 1),
            "padding": ((2, 1), (0, 2)),
            "rhs_dilation": (2, 1),
            "feature_group_count": 4,
        },
    ),
    "grouped": (
        (3, 3, 2, 6),
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
    ),
    "odd_width": ((3, 2, 4, 6), {"window_strides": (1, 1), "padding": ((1, 1), (0, 0))}),
    "wide": ((3, 3, 4, 17), {"window_strides": (1, 1), "padding": "SAME"}),
    "kernel_dilation": (
        (3, 3, 4, 6),
        {"window_strides": (1, 1), "padding": "SAME", "rhs_dilation": (2, 2)},
    ),
    "input_dilation": (
        (3, 3, 4, 6),
        {"window_strides": (1, 1), "padding": ((1, 1), (1, 1)), "lhs_dilation": (2, 2)},
    ),
    "precision": (
        (3, 3, 4, 6),
        {"window_strides": (1, 1), "padding": "SAME", "precision": lax.Precision.HIGHEST},
    ),
}


def draw(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape), jnp.float32)


def close(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(np.abs(b).max()))


def convolve(x, w):
    return per_network_convolution(x, w, (1, 1), "SAME", dimension_numbers=LAYOUT)


def plain(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAYOUT)


def loss(x, w, function=convolve):
    return jnp.sin(function(x, w)).sum()


def looped(x, w):
    """Value and both gradients, network by network."""
    each = jax.value_and_grad(lambda x, w: loss(x, w, plain), (0, 1))
    return jax.tree.map(lambda *a: jnp.stack(a), *[each(x[i], w[i]) for i in range(len(x))])


@pytest.mark.parametrize("setting", SETTINGS)
def test_vmap_is_a_loop_over_networks(setting):
    kernel, settings = SETTINGS[setting]
    x, w = draw(M, B, 6, 6, 4), draw(M, *kernel)

    def run(function):
        def scalar(x, w):
            out = function(x, w, dimension_numbers=LAYOUT, **settings)
            return jnp.sin(out).sum(), out

        return jax.value_and_grad(scalar, (0, 1), has_aux=True)

    one = run(lax.conv_general_dilated)
    expected = [one(x[i], w[i]) for i in range(M)]
    actual = jax.vmap(run(per_network_convolution))(x, w)
    close(actual, jax.tree.map(lambda *a: jnp.stack(a), *expected))


@pytest.mark.parametrize("groups", [1, 4])
def test_kernel_gradient_in_parts_of_the_batch(groups):
    x, w = draw(40, 3, 3, 4), draw(3, 3, 4 // groups, 4)

    def run(function):
        settings = {"dimension_numbers": LAYOUT, "feature_group_count": groups}
        return jax.grad(lambda w: jnp.sin(function(x, w, (1, 1), "SAME", **settings)).sum())(w)

    close(jax.jit(run, static_argnums=0)(per_network_convolution), run(lax.conv_general_dilated))


@pytest.mark.parametrize("entry", [1.0, np.nan])
def test_hold_changes_nothing(entry):
    x = draw(3, 4).at[0, 0].set(entry)
    np.testing.assert_array_equal(jax.jit(hold)(x), x)


def test_residual_chain_is_computed_once():
    def total(x, kernels):
        for kernel in kernels:
            x = jnp.maximum(convolve(x, kernel) + x, 0)
        return x.sum()

    shapes = jnp.ones((32, 4, 4, 32)), [jnp.ones((3, 3, 32, 32))] * 4
    hlo = jax.jit(jax.grad(total, 1)).lower(*shapes).compile().as_text()
    fused = re.findall(r"^%?fused\S* .*?^}", hlo, re.MULTILINE | re.DOTALL)
    moved = [text for text in fused if " transpose(" in text or " copy(" in text]
    assert moved
    assert not [text for text in moved if " maximum(" in text]


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, lambda f: f])
def test_gradient_of_vmap(wrap):
    x, w = draw(M, B, 6, 6, 4), draw(M, 3, 3, 4, 6)
    total = wrap(lambda x, w: jax.vmap(loss)(x, w).sum())
    close(jax.grad(total, (0, 1))(x, w), looped(x, w)[1])


@pytest.mark.parametrize(
    ("inner", "outer"), [((0, None), (0, 0)), ((0, 0), (0, None)), ((None, 0), (0, 0))]
)
def test_double_vmap(inner, outer):
    sizes = {True: (3,), False: ()}
    axes = [(sizes[o == 0] + sizes[i == 0]) for o, i in zip(outer, inner, strict=True)]
    x, w = draw(*axes[0], B, 6, 6, 4), draw(*axes[1], 3, 3, 4, 6)

    def run(function):
        each = jax.value_and_grad(lambda x, w: loss(x, w, function), (0, 1))
        return jax.vmap(jax.vmap(each, inner), outer)(x, w)

    close(run(convolve), run(plain))


@pytest.mark.parametrize("mapped", [(0, None), (None, 0)])
def test_one_argument_mapped(mapped):
    x = draw(M, B, 6, 6, 4) if mapped[0] == 0 else draw(B, 6, 6, 4)
    w = draw(M, 3, 3, 4, 6) if mapped[1] == 0 else draw(3, 3, 4, 6)

    def run(function):
        each = jax.value_and_grad(lambda x, w: loss(x, w, function), (0, 1))
        return jax.vmap(each, mapped)(x, w)

    close(run(convolve), run(plain))


def test_views_of_one_network_join_the_batch():
    x, w = draw(3, 5, B, 6, 6, 4), draw(3, 3, 3, 4, 6)
    views = jax.vmap(jax.vmap(convolve, (0, None)))
    hlo = jax.jit(views).lower(x, w).as_text()
    assert len(re.findall(r"stablehlo\.convolution\(", hlo)) == 3  # one a network, none a view
    close(views(x, w), jax.vmap(jax.vmap(plain, (0, None)))(x, w))


def test_layout_of_channels_first():
    x, w = draw(M, B, 4, 6, 6), draw(M, 6, 4, 3, 3)

    def run(function):
        return jax.vmap(lambda x, w: function(x, w, (2, 2), "SAME"), (0, None))(x, w[0])

    close(run(per_network_convolution), run(lax.conv_general_dilated))


def group_counts(function):
    x, w = draw(M, B, 6, 6, 4), draw(M, 3, 3, 4, 6)
    step = jax.jit(
        jax.grad(lambda x, w: jax.vmap(lambda x, w: loss(x, w, function))(x, w).sum(), (0, 1))
    )
    text = step.lower(x, w).as_text()
    counts = re.findall(r"(?:feature|batch)_group_count = (\d+)", text)
    assert counts
    return {int(count) for count in counts}


def test_no_grouped_convolution_is_lowered():
    assert group_counts(convolve) == {1}
    assert M in group_counts(plain)


@pytest.mark.parametrize("convolution", ["per_network", "plain"])
def test_flax_conv_under_vmap(convolution):
    layer = nn.Conv(
        6,
        (3, 3),
        strides=2,
        padding=[1, (1, 0)],
        conv_general_dilated=select_convolution(convolution),
    )
    x, keys = draw(M, B, 6, 6, 4), jax.random.split(jax.random.key(0), M)
    variables = jax.vmap(layer.init)(keys, x)
    out = jax.vmap(layer.apply)(variables, x)
    reference = nn.Conv(6, (3, 3), strides=2, padding=[1, (1, 0)])
    for i in range(M):
        single = reference.init(keys[i], x[i])
        close(jax.tree.map(lambda a, i=i: a[i], variables), single)
        close(out[i], reference.apply(single, x[i]))


@pytest.mark.parametrize("checked", [True, False])
def test_shard_map(checked):
    devices, axis = jax.devices()[:2], PartitionSpec(None, "data")
    x, w = draw(M, B, 6, 6, 4), draw(M, 3, 3, 4, 6)

    def step(x, w):
        gradients = jax.grad(lambda x, w: jax.vmap(loss)(x, w).sum(), (0, 1))(x, w)
        # Under check_vma the gradient of what is replicated arrives summed.
        return gradients if checked else (gradients[0], lax.psum(gradients[1], "data"))

    mapped = jax.shard_map(
        step,
        mesh=Mesh(np.array(devices), ("data",)),
        in_specs=(axis, PartitionSpec()),
        out_specs=(axis, PartitionSpec()),
        check_vma=checked,
    )
    close(jax.jit(mapped)(x, w), looped(x, w)[1])


def test_pmap():
    x, w = draw(M, B, 6, 6, 4), draw(M, 3, 3, 4, 6)

    def step(x, w):
        gradients = jax.grad(lambda x, w: jax.vmap(loss)(x, w).sum(), (0, 1))(x, w)
        return gradients[0], lax.psum(gradients[1], "data")

    split = x.reshape(M, 2, B // 2, *x.shape[2:]).swapaxes(0, 1)
    to_x, to_w = jax.pmap(step, "data", in_axes=(0, None), devices=jax.devices()[:2])(split, w)
    close((to_x.swapaxes(0, 1).reshape(x.shape), to_w[0]), looped(x, w)[1])


def test_bfloat16_stays_bfloat16():
    x, w = draw(M, B, 6, 6, 4).astype(jnp.bfloat16), draw(M, 3, 3, 4, 6).astype(jnp.bfloat16)
    out = jax.vmap(convolve)(x, w)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        out.astype(jnp.float32),
        jax.vmap(plain)(x.astype(jnp.float32), w.astype(jnp.float32)),
        rtol=0.05,
        atol=0.05,
    )


def test_gradients_against_differences():
    x, w = draw(1, 3, 3, 2), draw(3, 3, 2, 2)
    with jax.enable_x64(True):
        x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
        check_grads(loss, (x, w), order=1, modes=["rev"])


def test_second_derivatives_need_the_plain_convolution():
    x, w = draw(1, 3, 3, 2), draw(3, 3, 2, 2)
    second = jax.grad(lambda w: jax.grad(lambda w: loss(x, w, plain))(w).sum())(w)
    assert float(jnp.abs(second).max()) > 0
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda w: loss(x, w), (w,), (w,))


def test_unknown_convolution():
    with pytest.raises(ValueError, match=r"one of per_network, plain; got 'grouped'"):
        select_convolution("grouped")
