import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import TOLERANCE, assert_close, assert_gradient, run

from mcl_jax import losses

X, Y = np.random.default_rng(0).normal(size=(2, 3, 5, 4))


def regression(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The squared distance of the unit vectors, as BYOL writes it."""
    x, y = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
    return np.square(x - y).sum(axis=-1)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_against_the_squared_distance(dtype: str) -> None:
    values = run(losses.cosine_regression, X, Y, dtype=dtype)
    assert (values.shape, values.dtype) == (X.shape[:-1], dtype)
    assert_close(values, regression(X, Y), TOLERANCE[dtype])


def test_predictions_move_and_targets_stay() -> None:
    f = jax.grad(lambda x, y: jnp.sum(losses.cosine_regression(x, y)), argnums=(0, 1))
    moved, stopped = run(f, X, Y)
    assert_gradient(moved, lambda x: regression(x, Y).sum(), X)
    np.testing.assert_array_equal(stopped, 0)


def test_lengths_do_not_matter() -> None:
    values = run(losses.cosine_regression, X * 1e-20, Y * 1e20)
    assert_close(values, regression(X, Y), 1e-12)


@pytest.mark.parametrize(("sign", "expected"), [(1, 0), (-1, 4)])
def test_ends_of_the_range(sign: int, expected: int) -> None:
    values = run(losses.cosine_regression, X, sign * 3 * X)
    np.testing.assert_allclose(values, expected, atol=1e-12)


@pytest.mark.parametrize("zero", ["predictions", "targets", "both"])
def test_zero_vectors(zero: str) -> None:
    x, y = X.copy(), Y.copy()
    for name, v in (("predictions", x), ("targets", y)):
        if zero in (name, "both"):
            v[0, 0] = 0
    f = jax.value_and_grad(lambda x, y: jnp.sum(losses.cosine_regression(x, y)[0, 0]))
    with jax.debug_nans(True):
        value, gradient = run(f, x, y, dtype="float32")
    assert value == 2
    np.testing.assert_array_equal(gradient, 0)


def test_low_precision_is_returned_in_float32() -> None:
    x, y = jnp.asarray(X, jnp.bfloat16), jnp.asarray(Y, jnp.float16)
    values = losses.cosine_regression(x, y)
    assert values.dtype == jnp.float32
    assert_close(values, regression(np.asarray(x, float), np.asarray(y, float)), 1e-5)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (
            jnp.ones((2, 3)),
            jnp.ones((2, 4)),
            ValueError,
            "predictions and targets must both be [..., D] of one shape, got shapes (2, 3) and "
            "(2, 4).",
        ),
        (1.0, 1.0, ValueError, "got shapes () and ()."),
        (jnp.ones(3, int), jnp.ones(3), TypeError, "predictions must have a floating dtype"),
        (jnp.ones(3), jnp.ones(3, int), TypeError, "targets must have a floating dtype"),
    ],
)
def test_refuses(x: Any, y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        losses.cosine_regression(x, y)
