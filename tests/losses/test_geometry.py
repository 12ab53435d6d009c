"""How embeddings lie: against loops in float64, and by what must not change a reading."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from reference import TOLERANCE, assert_close, assert_gradient, run, unit

from mcl_jax import losses

M, B, D = 2, 6, 4
Array = np.ndarray
RNG = np.random.default_rng(0)
ROTATION = np.linalg.qr(RNG.normal(size=(D, D)))[0]


def alignment(x: Array, y: Array, alpha: float = 2.0) -> float:
    return np.mean([np.sqrt(np.sum((a - b) ** 2)) ** alpha for a, b in zip(x, y, strict=True)])


def uniformity(x: Array, t: float = 2.0) -> float:
    kernels = [np.exp(-t * np.sum((x[i] - x[j]) ** 2)) for i in range(len(x)) for j in range(i)]
    return np.log(np.mean(kernels))


def effective_rank(x: Array) -> float:
    eigenvalues = np.linalg.eigvalsh(x.T @ x if len(x) > x.shape[1] else x @ x.T)
    p = np.sqrt(eigenvalues) / np.sum(np.sqrt(eigenvalues))
    return np.exp(-np.sum(p * np.log(p)))


def hsic(x: Array, y: Array) -> float:
    centring = np.eye(len(x)) - 1 / len(x)
    return np.trace(x @ x.T @ centring @ y @ y.T @ centring)


def linear_cka(x: Array, y: Array) -> float:
    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


PAIRS = {
    "alignment": (losses.alignment, alignment),
    "alignment_1": (lambda x, y: losses.alignment(x, y, 1.0), lambda x, y: alignment(x, y, 1)),
    "alignment_3.5": (lambda x, y: losses.alignment(x, y, 3.5), lambda x, y: alignment(x, y, 3.5)),
    "cka": (losses.linear_cka, linear_cka),
}
SINGLES = {
    "uniformity": (losses.uniformity, uniformity),
    "uniformity_0.5": (lambda x: losses.uniformity(x, 0.5), lambda x: uniformity(x, 0.5)),
    "rank": (losses.effective_rank, effective_rank),
    "cka_with_another": (lambda x: losses.linear_cka(x, RNG_Y), lambda x: linear_cka(x, RNG_Y)),
}
RNG_Y = unit(9, B, 3)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", PAIRS)
def test_readings_of_two_between_all_networks(name: str, dtype: str) -> None:
    f, loop = PAIRS[name]
    x, y = unit(1, M, B, D), unit(2, 3, B, D)
    found = run(lambda x, y: f(x[:, None], y), x, y, dtype=dtype)
    assert found.dtype == dtype
    assert_close(found, np.array([[loop(a, b) for b in y] for a in x]), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", SINGLES)
def test_readings_of_one_with_any_leading_axes(name: str, dtype: str) -> None:
    f, loop = SINGLES[name]
    x = unit(3, 2, M, B, D)
    found = run(f, x, dtype=dtype)
    expected = np.array([[loop(z) for z in row] for row in x])
    assert_close(found, expected, 10 * TOLERANCE[dtype])


@pytest.mark.parametrize("name", SINGLES)
def test_gradients_are_those_of_the_equations(name: str) -> None:
    f, loop = SINGLES[name]
    x = unit(4, B, D)
    assert_gradient(run(jax.grad(f), x), loop, x)


@pytest.mark.parametrize("name", ["alignment", "alignment_1", "cka"])
def test_gradients_of_two_are_those_of_the_equations(name: str) -> None:
    f, loop = PAIRS[name]
    x, y = unit(5, 2, B, D)
    assert_gradient(run(jax.grad(f), x, y), lambda x: loop(x, y), x)


@pytest.mark.parametrize("widths", [(3, 4), (9, 4), (30, 20)], ids=str)
def test_wide_features_take_another_way_to_the_same_alignment(widths: tuple[int, int]) -> None:
    x, y = (RNG.normal(loc=3, size=(B, width)) for width in widths)
    assert_close(run(losses.linear_cka, x, y), linear_cka(x, y), 1e-9)


def test_a_rotation_changes_nothing() -> None:
    x, y = unit(6, 2, B, D)
    for f in (losses.uniformity, losses.effective_rank):
        assert_close(run(f, x @ ROTATION), run(f, x), 1e-9)
    assert_close(
        run(losses.alignment, x @ ROTATION, y @ ROTATION), run(losses.alignment, x, y), 1e-9
    )
    moved = 7 * x @ ROTATION + 100
    assert_close(run(losses.linear_cka, moved, y), run(losses.linear_cka, x, y), 1e-9)
    assert_close(run(losses.linear_cka, moved, x), 1.0, 1e-9)


def test_rows_may_stand_in_any_order() -> None:
    x, y = unit(7, 2, B, D)
    order = np.array([3, 1, 5, 0, 2, 4])
    for f, _ in PAIRS.values():
        assert_close(run(f, x[order], y[order]), run(f, x, y), 1e-9)
    for f in (losses.uniformity, losses.effective_rank):
        assert_close(run(f, x[order]), run(f, x), 1e-9)


def test_the_ends_of_the_scales() -> None:
    ring = np.stack([np.cos(angles := np.arange(1000) * 2 * np.pi / 1000), np.sin(angles)], axis=1)
    point = np.broadcast_to(ring[:1], ring.shape)
    assert_close(run(losses.alignment, ring, -ring), 4.0, 1e-9)
    assert_close(run(losses.uniformity, point), 0.0, 1e-9)
    evenly = np.log(np.i0(4)) - 4  # the mean of exp(-2 (2 - 2 cos)) over the circle
    assert_close(run(losses.uniformity, ring), evenly, 0.005)
    assert_close(run(losses.effective_rank, ring), 2.0, 1e-9)
    assert_close(run(losses.effective_rank, point), 1.0, 1e-6)
    assert_close(run(losses.effective_rank, np.eye(D)[[0, 0, 0]]), 1.0, 1e-9)


def test_a_shared_mean_is_a_direction_until_it_is_subtracted() -> None:
    x = np.eye(D)[RNG.permutation(np.arange(12) % 3)] * [1, 1, 1, 0] + [0, 0, 0, 1000]
    assert run(losses.effective_rank, x) < 1.1
    assert run(losses.effective_rank, x - x.mean(axis=0)) == pytest.approx(2, abs=1e-6)


def test_unrelated_features_need_rows_to_look_unrelated() -> None:
    x, y = RNG.normal(size=(2, 2000, 8))
    assert run(losses.linear_cka, x, y) < 0.02
    assert run(losses.linear_cka, x[:6], y[:6]) > 0.4


def test_transformations_of_functions() -> None:
    x, y = jnp.asarray(unit(8, 2, 3, B, D), jnp.float32)
    for f in (losses.alignment, losses.linear_cka):
        together = f(x, y)
        np.testing.assert_allclose(jax.jit(jax.vmap(f))(x, y), together, rtol=1e-5)
        one_by_one = [f(a, b) for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(one_by_one, together, rtol=1e-5)
    for f in (losses.uniformity, losses.effective_rank):
        np.testing.assert_allclose(jax.jit(jax.vmap(f))(x), f(x), rtol=1e-5)
    by_exponent = jax.jit(losses.alignment)(x, y, jnp.asarray(1.5))
    np.testing.assert_allclose(by_exponent, losses.alignment(x, y, 1.5), rtol=1e-5)


DEGENERATE = {
    "zero": np.zeros((B, D)),
    "equal": np.full((B, D), 0.1),
    "twins": np.repeat(unit(9, 3, D), 2, axis=0),
    "line": np.linspace(-1, 1, B)[:, None] * np.ones(D),
    "identity": np.eye(B, D),
    "long": 1e15 * unit(10, B, D),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_values_and_gradients_are_finite(name: str) -> None:
    x = DEGENERATE[name].astype("float32")
    other = unit(11, B, D).astype("float32")

    def readings(x: jax.Array) -> jax.Array:
        return jnp.stack(
            [
                losses.effective_rank(x),
                losses.linear_cka(x, other),
                losses.linear_cka(x, x),
                losses.alignment(x, lax.stop_gradient(x)),
                losses.alignment(x, jnp.roll(x, 1, axis=0), 1.0),
                losses.uniformity(x, 0.01),
                losses.uniformity(x),
                losses.uniformity(x, 100.0),
            ]
        )

    for values in run(lambda x: (readings(x), jax.jacrev(readings)(x)), x, dtype="float32"):
        assert np.all(np.isfinite(values))


def test_what_collapsed_is_zero() -> None:
    for x in (np.full((B, D), 0.1), np.zeros((B, D))):  # 0.1 has a mean that rounds
        assert run(losses.linear_cka, x, unit(1, B, D), dtype="float32") == 0
    assert run(losses.effective_rank, np.zeros((B, D)), dtype="float32") == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32(dtype: str) -> None:
    x = jnp.asarray(unit(12, B, D), dtype)
    wide = x.astype(jnp.float32)
    for f in (losses.alignment, losses.linear_cka):
        assert f(x, x[::-1]).dtype == jnp.float32
        assert_close(f(x, x[::-1]), f(wide, wide[::-1]), 1e-6)
    for f in (losses.uniformity, losses.effective_rank):
        assert f(x).dtype == jnp.float32
        assert_close(f(x), f(wide), 1e-6)


X = jnp.ones((2, 4, 3))
SAME_ROWS = (
    "x and y must be [..., B, D] and [..., B, E] of the same rows and not empty, got shapes "
)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.alignment(X, X[:, :3]), ValueError, SAME_ROWS + "(2, 4, 3) and (2, 3, 3)."),
        (lambda: losses.linear_cka(X[0, 0], X), ValueError, SAME_ROWS + "(3,) and (2, 4, 3)."),
        (lambda: losses.linear_cka(X[:, :0], X[:, :0]), ValueError, SAME_ROWS),
        (
            lambda: losses.alignment(X, X[..., :2]),
            ValueError,
            "x and y must have one D, got shapes (2, 4, 3) and (2, 4, 2).",
        ),
        (
            lambda: losses.linear_cka(X, jnp.ones((3, 4, 3))),
            ValueError,
            "the leading axes of x and y must broadcast, got shapes (2, 4, 3) and (3, 4, 3).",
        ),
        (lambda: losses.alignment(X, X, 0), ValueError, "alpha must be above 0, got 0."),
        (lambda: losses.uniformity(X, -1.0), ValueError, "t must be above 0, got -1.0."),
        (
            lambda: losses.uniformity(X[:, :1]),
            ValueError,
            "x must be [..., B, D] of two rows or more, got shape (2, 1, 3).",
        ),
        (
            lambda: losses.effective_rank(X[0, 0]),
            ValueError,
            "x must be [..., B, D] and not empty, got shape (3,).",
        ),
        (
            lambda: losses.effective_rank(X[..., :0]),
            ValueError,
            "x must be [..., B, D] and not empty, got shape (2, 4, 0).",
        ),
        (
            lambda: losses.effective_rank(jnp.ones((2, 2), int)),
            TypeError,
            "x must have a floating dtype, got int32.",
        ),
        (
            lambda: losses.alignment(X, jnp.ones((2, 4, 3), int)),
            TypeError,
            "y must have a floating dtype, got int32.",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
