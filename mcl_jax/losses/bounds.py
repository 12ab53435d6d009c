"""A run of ranks told by its first and its last score, for scores that are met a part at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mcl_jax.losses import checks


class ScoreBounds(NamedTuple):
    """A run of ranks of each anchor's keys, by descending score, ties to the earlier key.

    ``upper`` and ``lower`` lie halfway between the outermost score of the run and its neighbour
    outside, so that rounding moves no key over the border; where the two are equal (or no number
    lies between them) they are the score of the run itself, and the index decides. They are +inf
    and -inf where no key lies outside. ``upper = -inf`` and ``lower = inf`` hold no key at all.
    Scores are inner products, not divided by a temperature. `mcl_jax.regions.score_bounds` finds
    the bounds, `within` applies them.

    Attributes:
        upper: [..., B], floating, what no score of the run exceeds.
        upper_index: [..., B], int32, first key of the run among those that tie with ``upper``.
        lower: [..., B], floating, what no score of the run falls below.
        lower_index: [..., B], int32, last key of the run among those that tie with ``lower``.

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.ones(1, jnp.int32)
        >>> bounds = ScoreBounds(jnp.array([0.5]), 0 * one, jnp.array([0.1]), 2 * one)
        >>> within(jnp.array([[0.9, 0.5, 0.1, 0.1]]), bounds).tolist()
        [[False, True, True, False]]
    """

    upper: jax.Array
    upper_index: jax.Array
    lower: jax.Array
    lower_index: jax.Array


def within(scores: jax.Array, bounds: ScoreBounds, index: jax.Array | None = None) -> jax.Array:
    """Marks the keys whose score lies in a run of ranks.

    Computes ``(score, -index) <= (upper, -upper_index)`` and ``>= (lower, -lower_index)``, pairs
    being compared score first.

    Args:
        scores: [..., B, K], floating, of all keys or of a part of them.
        bounds: ScoreBounds of [..., B].
        index: [K], integer, the positions of the keys of ``scores`` among all keys; None means
            that these are all.

    Returns:
        [..., B, K], bool. A score of NaN lies nowhere.

    Raises:
        TypeError: ``scores`` is not floating, or ``index`` is not integer.
        ValueError: ``bounds`` does not broadcast to ``scores``, or ``index`` is not [K].

    Example:
        >>> import jax.numpy as jnp
        >>> half = jnp.full(1, 0.5), jnp.zeros(1, jnp.int32)
        >>> above = ScoreBounds(jnp.full(1, jnp.inf), half[1], *half)
        >>> within(jnp.array([[0.9, 0.5, 0.5, 0.2]]), above).tolist()
        [[True, False, False, False]]
        >>> within(jnp.array([[0.9, 0.5, 0.5, 0.2]]), above, jnp.array([7, 0, 3, 1])).tolist()
        [[True, True, False, False]]
    """
    scores = checks.as_floating(scores, "scores")
    if scores.ndim < 2:
        raise ValueError(f"scores must have axes [..., B, K], got shape {scores.shape}.")
    index = jnp.arange(scores.shape[-1], dtype=jnp.int32) if index is None else jnp.asarray(index)
    checks.integer(index, "index")
    if index.shape != scores.shape[-1:]:
        raise ValueError(f"index must be [K] with K = {scores.shape[-1]}, got shape {index.shape}.")
    upper, upper_index, lower, lower_index = (_per_key(x, scores.shape) for x in bounds)
    below = (scores < upper) | ((scores == upper) & (index >= upper_index))
    above = (scores > lower) | ((scores == lower) & (index <= lower_index))
    return below & above


def _per_key(bound: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Broadcasts a bound of each anchor to one of each key."""
    if not checks.broadcasts(jnp.shape(bound), shape[:-1]):
        raise ValueError(f"bounds must broadcast to {shape[:-1]}, got shape {jnp.shape(bound)}.")
    return jnp.broadcast_to(bound, shape[:-1])[..., None]
