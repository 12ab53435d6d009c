import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import TOLERANCE, assert_close, assert_gradient, cross_network_logits, run, unit

from mcl_jax import losses

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30])
def test_l2_normalize_scales_vectors_of_any_length(dtype: str, scale: float) -> None:
    x = RNG.normal(size=(2, 3, 4))
    y = run(losses.l2_normalize, x * scale, dtype=dtype)
    assert y.dtype == dtype
    assert_close(y, x / np.linalg.norm(x, axis=-1, keepdims=True), TOLERANCE[dtype])


def test_l2_normalize_has_the_gradient_of_the_quotient() -> None:
    x, cotangent = RNG.normal(size=(2, 3, 4))
    gradient = run(jax.grad(lambda x: jnp.sum(losses.l2_normalize(x) * cotangent)), x)

    def quotient(x: np.ndarray) -> float:
        return np.sum(x / np.linalg.norm(x, axis=-1, keepdims=True) * cotangent)

    assert_gradient(gradient, quotient, x)


def test_l2_normalize_keeps_zero_with_zero_gradient() -> None:
    x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    value, vjp = jax.vjp(losses.l2_normalize, x)
    np.testing.assert_array_equal(value[0], 0)
    (gradient,) = vjp(jnp.ones_like(x))
    np.testing.assert_array_equal(gradient[0], 0)
    assert np.all(np.isfinite(gradient))


def test_l2_normalize_keeps_nan() -> None:
    assert np.all(np.isnan(losses.l2_normalize(jnp.array([jnp.nan, 1.0]))))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(dtype: str) -> None:
    x = jnp.asarray(RNG.normal(size=(2, 3, 64)), dtype)
    wide = x.astype(jnp.float32)
    for narrow, expected in (
        (losses.l2_normalize(x), losses.l2_normalize(wide)),
        (losses.cross_network_logits(x, x, 0.1), losses.cross_network_logits(wide, wide, 0.1)),
    ):
        assert narrow.dtype == jnp.float32
        assert_close(narrow, expected, 1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("networks", [1, 2, 3])
@pytest.mark.parametrize("key_axes", [(5,), (4, 5)], ids=["shared", "per_anchor"])
def test_cross_network_logits(networks: int, key_axes: tuple[int, ...], dtype: str) -> None:
    queries, keys = unit(1, networks, 4, 3), unit(2, networks, *key_axes, 3)
    logits = run(losses.cross_network_logits, queries, keys, np.array(0.1), dtype=dtype)
    assert logits.dtype == dtype
    assert_close(logits, cross_network_logits(queries, keys, 0.1), TOLERANCE[dtype])


Q = jnp.ones((2, 4, 3))
INTEGER = jnp.ones((2, 4, 3), jnp.int32)
FIT = "keys must be [M, K, D] or [M, B, K, D] for queries [M, B, D] of shape (2, 4, 3), got "


@pytest.mark.parametrize(
    ("queries", "keys", "temperature", "error", "message"),
    [
        (Q[0], Q, 1.0, ValueError, "queries must have axes [M, B, D], got shape (4, 3)."),
        (
            Q,
            Q[0],
            1.0,
            ValueError,
            "keys must have axes [M, K, D] or [M, B, K, D], got shape (4, 3).",
        ),
        (Q, Q[:1], 1.0, ValueError, FIT + "(1, 4, 3)."),
        (Q, Q[..., :2], 1.0, ValueError, FIT + "(2, 4, 2)."),
        (Q, Q[:, :3, None], 1.0, ValueError, FIT + "(2, 3, 1, 3)."),
        (INTEGER, Q, 1.0, TypeError, "queries must have a floating dtype, got int32."),
        (Q, INTEGER, 1.0, TypeError, "keys must have a floating dtype, got int32."),
        (Q, Q, 0, ValueError, "temperature must be above 0, got 0."),
        (Q, Q, float("nan"), ValueError, "temperature must be above 0, got nan."),
        (Q, Q, jnp.ones(4), ValueError, "temperature must be a scalar, got shape (4,)."),
    ],
)
def test_cross_network_logits_refuses(
    queries: jax.Array,
    keys: jax.Array,
    temperature: float | jax.Array,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        losses.cross_network_logits(queries, keys, temperature)


def test_l2_normalize_refuses_integers() -> None:
    with pytest.raises(TypeError, match=re.escape("x must have a floating dtype, got int32.")):
        losses.l2_normalize(INTEGER)


def test_mean_cosine_is_the_mean_over_pairs_of_different_rows():
    x = np.random.default_rng(0).normal(size=(3, 7, 5))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    expected = [np.mean([u[i] @ u[j] for i in range(7) for j in range(7) if i != j]) for u in x]
    assert np.allclose(losses.mean_cosine(jnp.asarray(x)), expected, atol=1e-6)
    collapsed = jnp.broadcast_to(jnp.asarray(x[:, :1]), x.shape)
    assert np.allclose(losses.mean_cosine(collapsed), 1, atol=1e-6)


def test_mean_cosine_wants_two_rows_and_numbers():
    with pytest.raises(ValueError, match=r"x must be \[..., B, D\] of two rows or more"):
        losses.mean_cosine(jnp.ones((2, 1, 3)))
    with pytest.raises(ValueError, match="two rows or more"):
        losses.mean_cosine(jnp.ones(3))
    with pytest.raises(TypeError, match="x must have a floating dtype"):
        losses.mean_cosine(jnp.ones((2, 2), jnp.int32))
