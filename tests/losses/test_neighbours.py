import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import TOLERANCE, assert_close, assert_gradient, run

from mcl_jax import losses

B, K = 4, 9
RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(B, K))
BACKGROUND = RNG.random((B, K)) < 0.7
CLOSE = RNG.random((B, K)) < 0.4
BACKGROUND[:, 2] = CLOSE[:, 2] = True
APART = np.array([False, True, False, False])  # its close keys lie outside the background
CLOSE[APART] &= ~BACKGROUND[APART]


def local_aggregation(logits: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """Minus the logarithm of the close part of the background's probability, plus `floor`."""
    out = np.zeros(B)
    for i in range(B):
        background = sum(np.exp(logits[i, k]) for k in range(K) if BACKGROUND[i, k])
        close = sum(np.exp(logits[i, k]) for k in range(K) if BACKGROUND[i, k] and CLOSE[i, k])
        out[i] = -np.log(close / background + floor) if close or floor else 0
    return out


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_local_aggregation_against_loops(dtype: str) -> None:
    values = run(lambda x: losses.local_aggregation(x, CLOSE, BACKGROUND), LOGITS, dtype=dtype)
    assert values.dtype == dtype
    assert_close(values, local_aggregation(LOGITS), TOLERANCE[dtype])
    np.testing.assert_array_equal(values == 0, APART)


def test_local_aggregation_gradient() -> None:
    f = jax.grad(lambda x: jnp.sum(losses.local_aggregation(x, CLOSE, BACKGROUND)))
    gradient = run(f, LOGITS)
    assert_gradient(gradient, lambda x: local_aggregation(x).sum(), LOGITS)
    np.testing.assert_array_equal(np.any(gradient, axis=1), ~APART)


def test_the_authors_floor_matters_where_nothing_close_is_left_alone() -> None:
    values = run(lambda x: losses.local_aggregation(x, CLOSE, BACKGROUND), LOGITS)
    authors = local_aggregation(LOGITS, floor=1e-7)
    assert_close(values[~APART], authors[~APART], 1e-4)
    assert_close(authors[APART], [7 * np.log(10)], 1e-12)


def test_the_own_row_alone_is_info_nce_over_the_background() -> None:
    own = np.arange(K) == 2
    values = run(lambda x: losses.local_aggregation(x, own, BACKGROUND), LOGITS)
    assert_close(values, run(lambda x: losses.info_nce(x, own, BACKGROUND), LOGITS), 1e-12)


def test_a_close_background_leaves_nothing_to_learn() -> None:
    f = jax.value_and_grad(lambda x: jnp.sum(losses.local_aggregation(x, BACKGROUND, BACKGROUND)))
    value, gradient = run(f, LOGITS)
    assert_close([value, gradient], [0.0, np.zeros((B, K))], 1e-12)


def test_equal_logits_give_the_logarithm_of_the_ratio_of_sizes() -> None:
    values = losses.local_aggregation(jnp.zeros((B, K)), CLOSE, BACKGROUND)
    sizes = BACKGROUND.sum(axis=1), (BACKGROUND & CLOSE).sum(axis=1)
    np.testing.assert_allclose(
        values[~APART], np.log(sizes[0][~APART] / sizes[1][~APART]), rtol=1e-6
    )


@pytest.mark.parametrize("size", [0.1, 100.0])
def test_empty_masks_and_far_logits_are_finite(size: float) -> None:
    logits, empty = np.sign(LOGITS) * size, np.zeros((B, K), bool)
    for close, background in ((CLOSE, BACKGROUND), (empty, BACKGROUND), (CLOSE, empty)):
        f = jax.value_and_grad(
            lambda x, c=close, b=background: jnp.sum(losses.local_aggregation(x, c, b))
        )
        with jax.debug_nans(True):
            value, gradient = run(f, logits, dtype="float32")
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("combine", ["union", "intersection"])
@pytest.mark.parametrize("runs", [1, 3])
def test_close_neighbours_against_loops(runs: int, combine: str) -> None:
    anchors, keys = RNG.integers(0, 3, (runs, B)), RNG.integers(0, 3, (runs, K))
    mask = run(lambda a, k: losses.close_neighbours(a, k, combine), anchors, keys)
    together = any if combine == "union" else all
    expected = [
        [together(anchors[h, i] == keys[h, k] for h in range(runs)) for k in range(K)]
        for i in range(B)
    ]
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_a_clustering_joins_what_any_or_each_of_them_joins() -> None:
    clusters = jnp.asarray(RNG.integers(0, 4, (4, K)))
    for combine, wider in (("union", True), ("intersection", False)):
        some = losses.close_neighbours(clusters[:2], clusters[:2], combine)
        more = losses.close_neighbours(clusters, clusters, combine)
        assert bool(jnp.all(jnp.diagonal(more)))
        smaller, larger = (some, more) if wider else (more, some)
        assert bool(jnp.all(larger | ~smaller))
        assert bool(jnp.any(larger & ~smaller))


TWO = jnp.zeros((2, 3), int)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: losses.local_aggregation(jnp.zeros((3, 4), int), CLOSE, CLOSE),
            TypeError,
            "logits must have a floating dtype, got int32.",
        ),
        (
            lambda: losses.local_aggregation(jnp.zeros((B, K)), CLOSE.astype(int), CLOSE),
            TypeError,
            "close must be boolean, got int32.",
        ),
        (
            lambda: losses.local_aggregation(jnp.zeros((B, K)), CLOSE, CLOSE[:, :2]),
            ValueError,
            "background must broadcast to (4, 9), got shape (4, 2).",
        ),
        (
            lambda: losses.close_neighbours(TWO, TWO, "both"),
            ValueError,
            "combine must be one of ('union', 'intersection'), got 'both'.",
        ),
        (
            lambda: losses.close_neighbours(TWO[0], TWO),
            ValueError,
            "assignments must have axes [H, B], got shape (3,).",
        ),
        (
            lambda: losses.close_neighbours(TWO, TWO[0]),
            ValueError,
            "key_assignments must have axes [H, K], got shape (3,).",
        ),
        (
            lambda: losses.close_neighbours(TWO, TWO[:1]),
            ValueError,
            "must have the same H of 1 or more, got shapes (2, 3) and (1, 3).",
        ),
        (
            lambda: losses.close_neighbours(TWO[:0], TWO[:0]),
            ValueError,
            "must have the same H of 1 or more, got shapes (0, 3) and (0, 3).",
        ),
        (
            lambda: losses.close_neighbours(TWO, TWO.astype(float)),
            TypeError,
            "key_assignments must be integer, got float32.",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
