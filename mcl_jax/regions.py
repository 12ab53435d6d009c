"""Regions of keys by the rank of their score: restricted sets of negatives, as boolean masks.

On Mutual Information in Contrastive Learning, arXiv 2005.13149, and Conditional Negative Sampling,
arXiv 2010.02037. Of the n keys in an anchor's pool, by descending score, ties to the earlier key,

    ball   ranks [0, count),         count = max(1, floor(outer n))
    ring   ranks [dropped, count),   dropped = floor(inner count), at least one rank stays
    cave   ranks [0, count) without the anchor's neighbours

floor(x) being floor(x + 1e-6); of a traced fraction, a float32, what lies one step of float32
below an integer counts as that integer too. Annealed fractions compile nothing anew. A key outside
the pool, or whose score is NaN, is never in a region. Nothing is sorted: the key of a rank is found
bit by bit, by counting.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from mcl_jax.axes import positions
from mcl_jax.losses import ScoreBounds, checks, cross_network_logits

_TILE = 2**21  # numbers in a tile of scores, few enough to stay in a cache


def ball(
    scores: jax.Array, outer: float | jax.Array, *, pool: jax.Array | None = None
) -> jax.Array:
    """Marks the keys that are most like the anchor.

    Computes ``rank < max(1, floor(outer n))``, n the size of the anchor's pool.

    Args:
        scores: [..., K], floating, similarities; never differentiated.
        outer: fraction of the pool that is kept, in (0, 1].
        pool: bool, broadcast to ``scores``: the keys that can be in; None means every key.

    Returns:
        [..., K], bool; where the pool is empty (and traced) no key is in.

    Raises:
        TypeError: ``scores`` is not floating, or ``pool`` is not boolean.
        ValueError: ``outer`` is not a scalar in (0, 1]; there are no keys; ``pool`` does not
            broadcast, or leaves an anchor none.

    Example:
        >>> import jax.numpy as jnp
        >>> ball(jnp.array([0.1, 0.9, 0.5, 0.7]), 0.5).tolist()
        [False, True, False, True]

    The authors' bank code takes the fraction of the batch size where it means the bank size.
    """
    _check_fraction(outer, "outer", whole=True)
    ranking = _rank_keys(scores, pool)
    _check_pool(pool)
    return _up_to(ranking, _key_of_rank(ranking, _count(ranking, outer)))


def ring(
    scores: jax.Array,
    outer: float | jax.Array,
    inner: float | jax.Array,
    *,
    pool: jax.Array | None = None,
) -> jax.Array:
    """Marks the keys that are like the anchor, but for those that are most like it.

    Computes ``dropped <= rank < count``, with ``count = max(1, floor(outer n))`` of a pool of n
    and ``dropped = min(floor(inner count), count - 1)``.

    Args:
        scores: [..., K], floating, similarities; never differentiated.
        outer: fraction of the pool that bounds the ring from outside, in (0, 1].
        inner: fraction of the ball of ``outer`` that is dropped, in [0, 1).
        pool: bool, broadcast to ``scores``: the keys that can be in; None means every key.

    Returns:
        [..., K], bool; where the pool is empty (and traced) no key is in.

    Raises:
        TypeError: as `ball`.
        ValueError: as `ball`; ``inner`` is not a scalar in [0, 1).

    Example:
        >>> import jax.numpy as jnp
        >>> ring(jnp.array([0.1, 0.9, 0.5, 0.7]), 0.75, 0.34).tolist()
        [False, False, True, True]

    The authors' default of 0.1 and 0.1 keeps the ranks from 1 to 10 per cent.
    """
    _check_fraction(outer, "outer", whole=True)
    _check_fraction(inner, "inner", whole=False)
    ranking = _rank_keys(scores, pool)
    _check_pool(pool)
    last, dropped = _run_of_ranks(ranking, outer, inner)
    return _up_to(ranking, last) & ~_up_to(ranking, dropped)


def cave(
    scores: jax.Array,
    outer: float | jax.Array,
    neighbours: jax.Array,
    *,
    pool: jax.Array | None = None,
) -> jax.Array:
    """Marks the keys that are most like the anchor and none of its neighbours.

    Computes ``ball(scores, outer) & ~neighbours``.

    Args:
        scores: [..., K], floating, similarities; never differentiated.
        outer: fraction of the pool that the ball keeps, in (0, 1].
        neighbours: bool, broadcast to ``scores``, such as the keys of the anchor's cluster.
        pool: bool, broadcast to ``scores``: the keys that can be in; None means every key.

    Returns:
        [..., K], bool; where neighbours cover the ball (and are traced) no key is in.

    Raises:
        TypeError: as `ball`, of ``neighbours`` too.
        ValueError: as `ball`; ``neighbours`` does not broadcast, or covers an anchor's ball.

    Example:
        >>> import jax.numpy as jnp
        >>> neighbours = jnp.array([False, True, False, False])
        >>> cave(jnp.array([0.1, 0.9, 0.5, 0.7]), 0.5, neighbours).tolist()
        [False, False, False, True]
    """
    around = ball(scores, outer, pool=pool)
    left = around & ~checks.mask(neighbours, around.shape, "neighbours")
    if not isinstance(left, jax.core.Tracer):
        covered = np.any(around, axis=-1) & ~np.any(left, axis=-1)
        _refuse_rows(covered, "neighbours must leave a key of the ball in every row")
    return left


def neighbour_views(
    scores: jax.Array,
    own: jax.Array,
    inner: float | jax.Array,
    *,
    pool: jax.Array | None = None,
) -> jax.Array:
    """Marks the positives of an anchor that counts its nearest keys as views of itself.

    Computes ``own | ball(scores, inner)``. With the numerator ``"log_sum"`` of `losses.info_nce`
    this is Local Aggregation's form without k-means; no bound on mutual information.

    Args:
        scores: [..., K], floating, similarities; never differentiated.
        own: bool, broadcast to ``scores``: the anchor's own key, in the pool or not.
        inner: fraction of the pool that is near, in (0, 1]. What a ring of ``outer`` and
            ``inner`` drops is here a fraction of ``outer * inner``.
        pool: bool, broadcast to ``scores``: the keys that can be near; None means every key.

    Returns:
        [..., K], bool.

    Raises:
        TypeError: as `ball`, of ``own`` too.
        ValueError: as `ball`, of ``inner``; ``own`` does not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> own = jnp.array([True, False, False, False])
        >>> neighbour_views(jnp.array([0.1, 0.9, 0.5, 0.7]), own, 0.25).tolist()
        [True, True, False, False]
    """
    _check_fraction(inner, "inner", whole=True)
    near = ball(scores, inner, pool=pool)
    return near | checks.mask(own, near.shape, "own")


def score_bounds(
    queries: jax.Array,
    keys: jax.Array,
    outer: float | jax.Array,
    inner: float | jax.Array = 0.0,
    *,
    pool: jax.Array | None = None,
    chunk_size: int | Literal["auto"] = "auto",
    keys_axis_name: str | None = None,
) -> ScoreBounds:
    """Bounds of the scores in a ring, of all pairs of networks, in little memory.

    Computes the run of ranks of ``ring(cross_network_logits(queries, keys, 1.0), outer, inner)``,
    a few anchors at a time over all keys. With the same ``pool``, ``ring(...)`` is
    ``losses.bounds.within(scores, bounds) & pool``. An ``inner`` of 0 makes it the ball.

    Args:
        queries: [M, B, D], floating; never differentiated.
        keys: [M, K, D], shared by the batch, or [M, B, K, D], a set for each anchor.
        outer: fraction of the pool that bounds the ring from outside, in (0, 1].
        inner: fraction of the ball of ``outer`` that is dropped, in [0, 1).
        pool: bool, broadcast to [M, M, B, K]: the keys that can be in; None means every key.
        chunk_size: anchors at a time; "auto" takes as many as have two million scores together.
        keys_axis_name: mapped axis that the keys (and the columns of ``pool``) are split over, in
            the order of its devices, or None. ``queries`` are then the same on all of them.

    Returns:
        ScoreBounds of [M, M, B], indexes counting the keys of all devices.

    Raises:
        TypeError, ValueError: as `ring` and `losses.cross_network_logits`; ``chunk_size`` is
            neither "auto" nor an integer of 1 or more.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mcl_jax.losses import cross_network_logits, l2_normalize
        >>> from mcl_jax.losses.bounds import within
        >>> z = l2_normalize(jax.random.normal(jax.random.key(0), (2, 8, 16)))
        >>> inside = within(cross_network_logits(z, z, 1.0), score_bounds(z, z, 0.5, 0.25))
        >>> inside.sum(axis=-1)[0, 1].tolist()
        [3, 3, 3, 3, 3, 3, 3, 3]
    """
    _check_fraction(outer, "outer", whole=True)
    _check_fraction(inner, "inner", whole=False)
    if keys_axis_name is not None:
        checks.mapped_axis(keys_axis_name, "keys_axis_name")
    queries, keys = lax.stop_gradient((queries, keys))
    shape = jax.eval_shape(lambda q, k: cross_network_logits(q, k, 1.0), queries, keys).shape
    if pool is not None:
        checks.mask(pool, shape, "pool")
        if keys_axis_name is None:
            _check_pool(pool)
        pool = jnp.reshape(pool, (1,) * (4 - jnp.ndim(pool)) + jnp.shape(pool))
    # What each anchor has of its own is mapped over; what all share is not copied.
    own_keys = jnp.moveaxis(keys, 1, 0) if keys.ndim == 4 else None
    own_pool = None if pool is None or pool.shape[2] == 1 else jnp.moveaxis(pool, 2, 0)
    shared_pool = pool[:, :, 0] if pool is not None and own_pool is None else None

    def anchor_bounds(own: tuple[jax.Array, jax.Array | None, jax.Array | None]) -> ScoreBounds:
        query, anchor_keys, anchor_pool = own
        scores = cross_network_logits(
            query[:, None], keys if anchor_keys is None else anchor_keys, 1.0
        )[:, :, 0]
        ranking = _rank_keys(
            scores, shared_pool if anchor_pool is None else anchor_pool, keys_axis_name
        )
        return _bounds_of_run(ranking, outer, inner, scores.dtype)

    bounds = lax.map(
        anchor_bounds,
        (jnp.moveaxis(queries, 1, 0), own_keys, own_pool),
        batch_size=_anchors_at_a_time(chunk_size, shape),
    )
    return ScoreBounds(*(jnp.moveaxis(x, 0, -1) for x in bounds))


@dataclasses.dataclass(frozen=True)
class _Ranking:
    """The keys of every anchor in the order of their scores: all of them, or a device's part."""

    value: jax.Array  # [..., K], unsigned: in the order of the scores; 0 outside the pool
    index: jax.Array  # [K], positions among the keys of all devices
    number: int  # of keys of all devices
    axis_name: str | None

    def count(self, mask: jax.Array) -> jax.Array:
        """Counts the keys of a mask [..., K] on all devices: [...]."""
        return self.joined(lax.psum, jnp.sum(mask, axis=-1, dtype=jnp.int32))

    def joined(self, collective: Callable[..., jax.Array], x: jax.Array) -> jax.Array:
        """Joins what the devices found in their parts."""
        return x if self.axis_name is None else collective(x, self.axis_name)


class _Key(NamedTuple):
    """A place in the order of every anchor's keys: [...] each."""

    value: jax.Array
    place: jax.Array


def _rank_keys(scores: jax.Array, pool: jax.Array | None, axis_name: str | None = None) -> _Ranking:
    scores = lax.stop_gradient(checks.as_floating(scores, "scores"))
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(f"scores must be [..., K] of 1 key or more, got shape {scores.shape}.")
    keys = scores.shape[-1]
    number = keys if axis_name is None else keys * lax.axis_size(axis_name)
    there = ~jnp.isnan(scores)
    if pool is not None:
        there &= checks.mask(pool, scores.shape, "pool")
    value = jnp.where(there, _ordered_bits(scores), 0)
    return _Ranking(value, positions(keys, axis_name), number, axis_name)


def _ordered_bits(scores: jax.Array) -> jax.Array:
    """Unsigned integers above 0 in the order of the scores: a float's own bits, but for signs."""
    bits = jnp.finfo(scores.dtype).bits
    unsigned = jnp.where(scores == 0, 0, scores).view(f"uint{bits}")  # -0 and 0 tie
    negative = unsigned >> (bits - 1) == 1
    return jnp.where(negative, ~unsigned, unsigned | _top_bit(unsigned.dtype))


def _score(value: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Inverse of `_ordered_bits`."""
    top = _top_bit(value.dtype)
    return jnp.where(value >= top, value ^ top, ~value).view(dtype)


def _top_bit(dtype: jnp.dtype) -> jax.Array:
    return jnp.left_shift(jnp.ones((), dtype), jnp.iinfo(dtype).bits - 1)


def _count(ranking: _Ranking, outer: float | jax.Array) -> jax.Array:
    """Number of keys in the ball."""
    size = ranking.count(ranking.value > 0)
    return jnp.minimum(size, jnp.maximum(1, _floor(outer, size, ranking.number)))


def _floor(fraction: float | jax.Array, whole: jax.Array, largest: int) -> jax.Array:
    """Floor of the product, ``whole`` being at most ``largest``."""
    if isinstance(fraction, int | float):
        return jnp.asarray(np.floor(fraction * np.arange(largest + 1) + 1e-6), jnp.int32)[whole]
    # Of float32 fractions a whole product can come out one step below the integer.
    fraction = lax.stop_gradient(checks.as_floating(fraction, "fraction"))
    part = fraction * whole.astype(fraction.dtype)
    return jnp.floor(jnp.maximum(part + 1e-6, jnp.nextafter(part, jnp.inf))).astype(jnp.int32)


def _run_of_ranks(
    ranking: _Ranking, outer: float | jax.Array, inner: float | jax.Array
) -> tuple[_Key, _Key]:
    """The last key of the ring, and the last that is dropped before it."""
    count = _count(ranking, outer)
    dropped = _floor(inner, count, ranking.number)
    dropped = jnp.clip(dropped, 0, jnp.maximum(count - 1, 0))
    return _key_of_rank(ranking, count), _key_of_rank(ranking, dropped)


def _key_of_rank(ranking: _Ranking, count: jax.Array) -> _Key:
    """The last of the first ``count`` [...] keys; for 0 a place that comes before every key."""
    value = _largest(
        lambda x: ranking.count(ranking.value >= x[..., None]) >= count, ranking.value.dtype
    )
    tied = ranking.value == value[..., None]
    wanted = count - ranking.count(ranking.value > value[..., None])
    place = _largest(
        lambda x: ranking.count(tied & (ranking.index < x[..., None])) < wanted,
        jnp.int32,
        ranking.number.bit_length(),
    )
    return _Key(value, place)


def _largest(
    holds: Callable[[jax.Array], jax.Array], dtype: DTypeLike, bits: int | None = None
) -> jax.Array:
    """The largest integer of some bits of which ``holds`` is true, as it is of all below; or 0."""
    dtype = jnp.dtype(dtype)
    number = jnp.iinfo(dtype).bits if bits is None else bits

    def step(i: int | jax.Array, found: jax.Array) -> jax.Array:
        bit = jnp.left_shift(jnp.ones((), dtype), jnp.asarray(number - 1 - i, dtype))
        return jnp.where(holds(found | bit), found | bit, found)

    # Of the first step's result the loop learns over which mapped axes it varies.
    return lax.fori_loop(1, number, step, step(0, jnp.zeros((), dtype)))


def _up_to(ranking: _Ranking, last: _Key) -> jax.Array:
    """Marks the keys that do not come after ``last``: [..., K]."""
    value, place = last.value[..., None], last.place[..., None]
    return (ranking.value > value) | ((ranking.value == value) & (ranking.index <= place))


def _following(ranking: _Ranking, key: _Key) -> _Key:
    """The key that comes next; its value is 0 where there is none."""
    rest = jnp.where(_up_to(ranking, key), 0, ranking.value)
    value = ranking.joined(lax.pmax, jnp.max(rest, axis=-1))
    places = jnp.where(rest == value[..., None], ranking.index, ranking.number)
    return _Key(value, ranking.joined(lax.pmin, jnp.min(places, axis=-1)))


def _bounds_of_run(
    ranking: _Ranking, outer: float | jax.Array, inner: float | jax.Array, dtype: jnp.dtype
) -> ScoreBounds:
    last, dropped = _run_of_ranks(ranking, outer, inner)
    first, beyond = _following(ranking, dropped), _following(ranking, last)

    def border(inside: _Key, outside: _Key, without: float) -> jax.Array:
        """Halfway to the key outside; ``without`` one, or its opposite if no key is inside."""
        x, y = _score(inside.value, dtype), _score(outside.value, dtype)
        half = x / 2 + y / 2
        between = ((x < half) & (half < y)) | ((y < half) & (half < x))
        # The value is 0 after the last key, and has every bit set before the first.
        is_key = (outside.value > 0) & (~outside.value > 0)
        no_key = jnp.where(first.value > 0, without, -without)
        return jnp.where(is_key, jnp.where(between, half, x), no_key)

    return ScoreBounds(
        upper=border(first, dropped, jnp.inf),
        upper_index=first.place,
        lower=border(last, beyond, -jnp.inf),
        lower_index=last.place,
    )


def _anchors_at_a_time(chunk_size: int | str, shape: tuple[int, ...]) -> int:
    networks, _, _, keys = shape
    if chunk_size == "auto":
        return max(1, _TILE // (networks**2 * max(1, keys)))
    if not isinstance(chunk_size, int) or isinstance(chunk_size, bool) or chunk_size < 1:
        raise ValueError(f'chunk_size must be "auto" or 1 or more, got {chunk_size!r}.')
    return chunk_size


def _check_fraction(fraction: float | jax.Array, name: str, *, whole: bool) -> None:
    """Raises ValueError unless in (0, 1] where it may be the whole, else in [0, 1)."""
    if not checks.number(fraction, name):
        return
    if not (0 < fraction <= 1 if whole else 0 <= fraction < 1):
        interval = "(0, 1]" if whole else "[0, 1)"
        raise ValueError(f"{name} must be in {interval}, got {fraction}.")


def _check_pool(pool: jax.Array | None) -> None:
    if pool is not None and not isinstance(pool, jax.core.Tracer):
        empty = ~np.any(np.atleast_1d(pool), axis=-1)
        _refuse_rows(empty, "pool must leave a key in every row")


def _refuse_rows(refused: np.ndarray, message: str) -> None:
    """Raises ValueError that names the first row refused, where one is."""
    rows = np.argwhere(refused).tolist()
    if rows:
        row = "" if not rows[0] else f" in row {rows[0][0] if len(rows[0]) == 1 else rows[0]}"
        raise ValueError(f"{message}, got none{row}.")
