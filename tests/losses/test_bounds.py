import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference as ref

from mcl_jax.losses import ScoreBounds
from mcl_jax.losses.bounds import within

# Scores of few values, so that ties abound, on the borders too.
RNG = np.random.default_rng(0)
SCORES = RNG.integers(-2, 3, size=(2, 2, 5, 7)).astype(np.float64)
BOUNDS = ScoreBounds(
    RNG.integers(0, 3, size=(2, 2, 5)).astype(np.float64),
    RNG.integers(0, 7, size=(2, 2, 5)).astype(np.int32),
    RNG.integers(-2, 2, size=(2, 2, 5)).astype(np.float64),
    RNG.integers(0, 7, size=(2, 2, 5)).astype(np.int32),
)


def inside(scores: Any, bounds: ScoreBounds, index: Any) -> np.ndarray:
    """Pairs of a score and the place in front of which it stands, compared as tuples."""
    out = np.zeros(scores.shape, bool)
    for at in np.ndindex(scores.shape):
        upper, upper_index, lower, lower_index = (x[at[:-1]] for x in bounds)
        pair = (scores[at], -index[at[-1]])
        out[at] = (lower, -lower_index) <= pair <= (upper, -upper_index)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_within_compares_scores_and_then_places(dtype: str) -> None:
    expected = inside(SCORES, BOUNDS, np.arange(7))
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(ref.run(within, SCORES, BOUNDS, dtype=dtype), expected)
    np.testing.assert_array_equal(within(SCORES, BOUNDS), expected)  # without jit


def test_parts_of_the_keys_join_to_the_whole() -> None:
    whole = within(SCORES, BOUNDS)
    for places in (np.arange(4), np.arange(4, 7), np.array([6, 0, 3])):
        part = within(SCORES[..., places], BOUNDS, places)
        np.testing.assert_array_equal(part, whole[..., places])


def test_bounds_that_take_in_all_and_none() -> None:
    inf, zero, last = np.full(1, np.inf), np.zeros(1, np.int32), np.full(1, 6, np.int32)
    scores = np.array([[0.0, -1.0, np.inf, -np.inf, np.nan, -0.0, 3.0]])
    everything = within(scores, ScoreBounds(inf, zero, -inf, last))
    np.testing.assert_array_equal(everything, ~np.isnan(scores))
    assert not within(scores, ScoreBounds(-inf, zero, inf, last)).any()


def test_zeros_of_both_signs_tie() -> None:
    bounds = ScoreBounds(np.zeros(1), np.ones(1, np.int32), -np.zeros(1), np.full(1, 2, np.int32))
    scores = np.array([[0.0, -0.0, 0.0, -0.0]])
    assert within(scores, bounds).tolist() == [[False, True, True, False]]


def test_bounds_broadcast_and_vmap() -> None:
    one = ScoreBounds(*(x[0, 0] for x in BOUNDS))
    expected = np.stack([within(x, one) for x in SCORES.reshape(4, 5, 7)]).reshape(SCORES.shape)
    np.testing.assert_array_equal(within(SCORES, one), expected)
    over = jax.vmap(within, in_axes=(0, None))
    np.testing.assert_array_equal(over(SCORES.reshape(4, 5, 7), one), expected.reshape(4, 5, 7))


@pytest.mark.parametrize(
    ("scores", "bounds", "index", "error", "message"),
    [
        (
            SCORES.astype(int),
            BOUNDS,
            None,
            TypeError,
            "scores must have a floating dtype, got int32.",
        ),
        (SCORES[0, 0, 0], BOUNDS, None, ValueError, "scores must have axes [..., B, K], got shape"),
        (SCORES, BOUNDS, jnp.zeros(7), TypeError, "index must be integer, got float32."),
        (SCORES, BOUNDS, jnp.arange(6), ValueError, "index must be [K] with K = 7, got shape (6,)"),
        (
            SCORES[0],
            BOUNDS,
            None,
            ValueError,
            "bounds must broadcast to (2, 5), got shape (2, 2, 5).",
        ),
    ],
)
def test_refuses(scores: Any, bounds: Any, index: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        within(scores, bounds, index)
