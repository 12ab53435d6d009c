"""Softmaxes of every network's queries over every network's keys, a part of the keys at a time.

What the four terms need to know of ``logits[a, b, i, k]`` are a few numbers for each pair of
networks and anchor: `KeyStatistics`. One pass over the keys finds them, and a second finds their
derivatives; neither holds the logits of more than ``chunk_size`` keys. Statistics of disjoint sets
of keys (one's own key, the keys of other devices) can be joined.

Inside the passes the network of the keys comes first, ``[b, a, i, k]``: this is how a matrix
product for each network's keys leaves them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses.bounds import ScoreBounds, within
from mcl_jax.losses.reduction import network_diagonal
from mcl_jax.losses.rounding import known_bounds


class KeyMasks(NamedTuple):
    """Which keys count, in the order [b, a, i, k]; an axis may be 1, and None is every key.

    A region keeps of the candidates the positives, and the keys whose score lies within.
    """

    positives: jax.Array | None
    candidates: jax.Array | None
    soft_candidates: jax.Array | None
    region: ScoreBounds | None
    soft_region: ScoreBounds | None


class SoftStatistics(NamedTuple):
    """What the soft terms need, each [b, a, i] for student a and teacher b.

    With ``p(x)`` the softmax of ``x / T`` over the student's soft candidates:

    Attributes:
        student: log of the sum of exp(logits[a, b] / T).
        icl_teacher: the same of logits[b, a].
        icl_gap: mean of (logits[b, a] - logits[a, b]) / T under p(logits[b, a]).
        vcl_teacher: log of the sum of exp(logits[b, b] / T) over the candidates of [a, a].
        vcl_gap: mean of (logits[b, b] - logits[a, a]) / T under p(logits[b, b]).
    """

    student: jax.Array
    icl_teacher: jax.Array
    icl_gap: jax.Array
    vcl_teacher: jax.Array
    vcl_gap: jax.Array


class KeyStatistics(NamedTuple):
    """What a set of keys says of each anchor, each [b, a, i]; empty sums have a log of -inf.

    Attributes:
        positives: their number, in the dtype of sums; its axes may be 1.
        partition: log of the sum of exp(logits) over the candidates.
        positive: sum of the positives' logits, or the log of the sum of their exponentials.
        soft: for the soft terms, or None.
    """

    positives: jax.Array
    partition: jax.Array
    positive: jax.Array
    soft: SoftStatistics | None


class Plan(NamedTuple):
    """What is known before any number is.

    Attributes:
        chunk_size: keys that are met at once.
        log_sum: whether `KeyStatistics.positive` is a log of a sum of exponentials.
        soft: whether soft statistics are wanted.
    """

    chunk_size: int
    log_sum: bool
    soft: bool


class Fixed(NamedTuple):
    """Inputs that have no gradient.

    Attributes:
        soft_sharpness: [], one over T.
        masks: KeyMasks.
        first: [], int32, position of the first key among all keys, for regions.
    """

    soft_sharpness: jax.Array
    masks: KeyMasks
    first: jax.Array


class _Inputs(NamedTuple):
    """All that the passes read, as `statistics` has it."""

    queries: jax.Array
    keys: jax.Array
    sharpness: jax.Array
    soft_sharpness: jax.Array
    masks: KeyMasks
    first: jax.Array


class _Sum(NamedTuple):
    """A running sum of exponentials, relative to the largest yet: each [..., i]."""

    largest: jax.Array
    total: jax.Array

    def log(self, sharpness: jax.Array | float = 1.0) -> jax.Array:
        empty = self.total == 0
        return jnp.where(
            empty, -jnp.inf, self.largest * sharpness + jnp.log(jnp.where(empty, 1, self.total))
        )


class _Part(NamedTuple):
    """Logits of a chunk, [b, a, i, k], and the masks of its keys."""

    logits: jax.Array
    positives: jax.Array | None
    candidates: jax.Array | None
    soft_candidates: jax.Array | None


def statistics(
    plan: Plan, queries: jax.Array, keys: jax.Array, sharpness: jax.Array, fixed: Fixed
) -> KeyStatistics:
    """The statistics of the keys, with a derivative rule that holds no logits either.

    Args:
        plan: static.
        queries: [M, B, D].
        keys: [M, K, D] or [M, B, K, D].
        sharpness: [], one over the temperature, in the dtype of sums.
        fixed: Fixed.

    Returns:
        KeyStatistics. Gradients flow to queries, keys and sharpness; from the soft statistics
        through the students alone.
    """
    return _statistics(plan, *varying_alike((queries, keys, sharpness), fixed), fixed)


def varying_alike(moved: tuple[jax.Array, ...], fixed: Any) -> tuple[jax.Array, ...]:
    """The arrays ``moved``, which vary over the mapped axes that any of them or of ``fixed`` does.

    Under `shard_map` all of a loop's values must vary over the same axes. A selection that all
    inputs have a part in makes them; its transpose sums the gradients of whole inputs.
    """
    never = functools.reduce(jnp.logical_or, [_never(x) for x in jax.tree.leaves((moved, fixed))])
    return tuple(jnp.where(never, jnp.zeros_like(x), x) for x in moved)


def _never(x: jax.Array) -> jax.Array:
    """False, over the mapped axes that ``x`` varies over."""
    first = jnp.ravel(x)[0] if x.size else jnp.zeros((), x.dtype)
    return jnp.logical_and(False, lax.stop_gradient(first) != 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _statistics(
    plan: Plan, queries: jax.Array, keys: jax.Array, sharpness: jax.Array, fixed: Fixed
) -> KeyStatistics:
    return _first_pass(plan, _Inputs(queries, keys, sharpness, *fixed))


def _forward(
    plan: Plan, queries: jax.Array, keys: jax.Array, sharpness: jax.Array, fixed: Fixed
) -> tuple[KeyStatistics, tuple[_Inputs, KeyStatistics]]:
    inputs = _Inputs(queries, keys, sharpness, *fixed)
    found = _first_pass(plan, inputs)
    return found, (inputs, found)


def _backward(
    plan: Plan, residuals: tuple[_Inputs, KeyStatistics], cotangent: KeyStatistics
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    inputs, found = residuals
    queries, keys = _second_pass(plan, inputs, found, cotangent)
    # Logits are sharpness times products of queries and keys.
    sharpness = jnp.sum(queries * inputs.queries) / inputs.sharpness
    return queries.astype(inputs.queries.dtype), keys.astype(inputs.keys.dtype), sharpness, None


_statistics.defvjp(_forward, _backward)


def _first_pass(plan: Plan, inputs: _Inputs) -> KeyStatistics:
    networks, anchors, _ = inputs.queries.shape
    zero = jnp.zeros((networks, networks, anchors), inputs.sharpness.dtype) + 0 * inputs.sharpness
    floor = zero + jnp.finfo(zero.dtype).min / 2
    nothing = _Sum(floor, zero)
    separate = plan.soft and _differs_by_pair(inputs.masks)

    def visit(found: tuple, start: jax.Array | int, size: int) -> tuple:
        count, partition, positive, soft = found
        part = _part(inputs, start, size)
        partition = _add(partition, part.logits, part.candidates)[0]
        if part.positives is not None:
            each = jnp.broadcast_to(part.positives, (*part.positives.shape[:-1], size))
            count += jnp.sum(each, axis=-1, dtype=count.dtype)
        if part.positives is not None and plan.log_sum:
            positive = _add(positive, part.logits, part.positives)[0]
        elif part.positives is not None:
            positive += jnp.sum(part.logits, axis=-1, where=part.positives)
        if soft is not None:
            soft = _visit_soft(soft, part, inputs.soft_sharpness, separate)
        return count, partition, positive, soft

    mask = inputs.masks.positives
    count = jnp.zeros((1, 1, 1) if mask is None else mask.shape[:-1], zero.dtype)
    soft = None
    if plan.soft:
        teachers = (nothing, nothing) if separate else (None, None)
        soft = (nothing, *teachers, zero, zero)
    start = (count + 0 * inputs.sharpness, nothing, nothing if plan.log_sum else zero, soft)
    count, partition, positive, soft = _over_keys(
        visit, start, inputs.keys.shape[-2], plan.chunk_size
    )
    return KeyStatistics(
        count,
        partition.log(),
        positive.log() if plan.log_sum else positive,
        None if soft is None else _soft_statistics(soft, inputs.soft_sharpness),
    )


def _visit_soft(soft: tuple, part: _Part, sharpness: jax.Array, separate: bool) -> tuple:
    """Adds a chunk to the sums of the soft statistics.

    Unless masks differ by pair (``separate``), a teacher's sums are those of a student.
    """
    student, icl_teacher, vcl_teacher, icl_gap, vcl_gap = soft
    logits, mask = part.logits, part.soft_candidates
    opposite, own = jnp.swapaxes(logits, 0, 1), _diagonal(logits)
    student, decay = _add(student, logits, mask, sharpness)
    if separate:
        mine = None if mask is None else _own_masks(mask)
        teachers = jnp.broadcast_to(own[:, None], logits.shape)
        icl_teacher, icl_decay = _add(icl_teacher, opposite, mask, sharpness)
        vcl_teacher, vcl_decay = _add(vcl_teacher, teachers, mine, sharpness)
        icl_largest, vcl_largest = icl_teacher.largest, vcl_teacher.largest
    else:
        mine, teachers = mask, own[:, None]
        icl_largest, icl_decay = (jnp.swapaxes(x, 0, 1) for x in (student.largest, decay))
        vcl_largest, vcl_decay = (_diagonal(x)[:, None] for x in (student.largest, decay))
    weights = _weights(opposite, icl_largest, mask, sharpness)
    icl_gap = icl_gap * icl_decay + _gap(weights, opposite - logits, mask, icl_largest)
    weights = _held(_weights(teachers, vcl_largest, mine, sharpness))
    vcl_gap = vcl_gap * vcl_decay + _gap(weights, own[:, None] - own, mine, vcl_largest)
    return student, icl_teacher, vcl_teacher, icl_gap, vcl_gap


def _gap(
    weights: jax.Array, difference: jax.Array, mask: jax.Array | None, rows: jax.Array
) -> jax.Array:
    """Weighted sum over the keys of the mask; others' logits may be anything."""
    x = weights * difference
    return jnp.sum(_settled(x, rows) if mask is None else jnp.where(mask, x, 0), axis=-1)


def _soft_statistics(soft: tuple, sharpness: jax.Array) -> SoftStatistics:
    """The statistics of the sums at the end of the pass."""
    student, icl_teacher, vcl_teacher, icl_gap, vcl_gap = soft
    if icl_teacher is None:
        icl_teacher = _Sum(*(jnp.swapaxes(x, 0, 1) for x in student))
        own = (network_diagonal(x)[:, None] for x in student)
        vcl_teacher = _Sum(*(jnp.broadcast_to(x, icl_gap.shape) for x in own))
    return SoftStatistics(
        student.log(sharpness),
        icl_teacher.log(sharpness),
        sharpness * _mean(icl_gap, icl_teacher),
        vcl_teacher.log(sharpness),
        sharpness * _mean(vcl_gap, vcl_teacher),
    )


def _mean(weighted: jax.Array, weights: _Sum) -> jax.Array:
    return weighted / jnp.where(weights.total == 0, 1, weights.total)


def _second_pass(
    plan: Plan, inputs: _Inputs, found: KeyStatistics, cotangent: KeyStatistics
) -> tuple[jax.Array, jax.Array]:
    """Cotangents of queries [M, B, D] and keys, in the dtype of sums."""
    dtype = inputs.sharpness.dtype
    separate = plan.soft and _differs_by_pair(inputs.masks)
    per_anchor = inputs.keys.ndim == 4
    zero = 0 * inputs.sharpness
    flipped = jnp.transpose(inputs.queries.astype(dtype), (2, 0, 1))

    def visit(sums: tuple, start: jax.Array | int, size: int) -> tuple:
        queries, keys = sums
        part = _part(inputs, start, size)
        pull = cotangent.partition[..., None] * _weights(
            part.logits, found.partition, part.candidates
        )
        if part.positives is not None and plan.log_sum:
            share = _weights(part.logits, found.positive, part.positives)
            pull += cotangent.positive[..., None] * share
        elif part.positives is not None:
            pull += jnp.where(part.positives, cotangent.positive[..., None], 0)
        pull *= inputs.sharpness
        if found.soft is not None and cotangent.soft is not None:
            both, own = _soft_pull(
                part, inputs.soft_sharpness, found.soft, cotangent.soft, separate
            )
            scale = inputs.sharpness * inputs.soft_sharpness
            pull += scale * both
            same = jnp.eye(len(pull), dtype=bool)[:, :, None, None]
            pull -= scale * jnp.where(same, own, 0)
        pull = _settled(pull, found.partition)
        chunk = _slice(inputs.keys, start, size, -2).astype(dtype)
        pattern = "baic,bicd->baid" if per_anchor else "baic,bcd->baid"
        queries += _einsum(pattern, pull, chunk)
        pattern = "dai,aic->idc" if per_anchor else "dai,aic->dc"
        moved = jnp.stack([_einsum(pattern, flipped, pull[b]) for b in range(len(pull))])
        moved = jnp.swapaxes(moved, -1, -2)
        return queries, lax.dynamic_update_slice_in_dim(keys, moved, start, keys.ndim - 2)

    shapes = (found.partition.shape + inputs.queries.shape[-1:], inputs.keys.shape)
    start = tuple(jnp.zeros(shape, dtype) + zero for shape in shapes)
    queries, keys = _over_keys(visit, start, inputs.keys.shape[-2], plan.chunk_size)
    return jnp.sum(queries, axis=0), keys


def _soft_pull(
    part: _Part,
    sharpness: jax.Array,
    found: SoftStatistics,
    cotangent: SoftStatistics,
    separate: bool,
) -> tuple[jax.Array, jax.Array]:
    """Derivative of the soft statistics to ``logits / T`` of the students."""
    logits, mask = part.logits * sharpness, part.soft_candidates
    mine = mask if mask is None or not separate else _own_masks(mask)
    # Teachers are stopped in derivatives of derivatives too.
    teachers, icl_teacher, vcl_teacher = lax.stop_gradient(
        (logits, found.icl_teacher, found.vcl_teacher)
    )
    # `vcl_teacher` is the same for all students unless masks differ.
    vcl_teacher = vcl_teacher if separate else vcl_teacher[:, :1]
    vcl_weights = _held(_weights(_diagonal(teachers)[:, None], vcl_teacher, mine))
    own = sum(x[..., None] * y for x, y in zip(cotangent.vcl_gap, vcl_weights, strict=True))
    pull = cotangent.student[..., None] * _weights(logits, found.student, mask)
    opposite = jnp.swapaxes(teachers, 0, 1)
    pull -= cotangent.icl_gap[..., None] * _weights(opposite, icl_teacher, mask)
    return pull, own


def _settled(x: jax.Array, rows: jax.Array) -> jax.Array:
    """Keeps XLA from taking what [b, a, i, k] is made of into the sums that read it.

    The selection changes nothing unless a row is infinite. Without it XLA for CPU computes the
    exponentials and transposes within each sum and each product, several times slower.
    """
    return jnp.where((rows != jnp.inf)[..., None], x, jnp.nan)


def _held(x: jax.Array) -> jax.Array:
    """Keeps XLA from computing exponentials anew in each place that reads them."""
    return lax.optimization_barrier(x)


def _diagonal(x: jax.Array) -> jax.Array:
    """As `network_diagonal`, by slices: a gather would not be fused."""
    return jnp.stack([x[a, a] for a in range(len(x))])


def _weights(
    logits: jax.Array,
    log_sum: jax.Array,
    mask: jax.Array | None,
    sharpness: jax.Array | float = 1.0,
) -> jax.Array:
    """exp(sharpness (logits - log_sum)) where the mask is true, elsewhere 0."""
    below = known_bounds(logits - log_sum[..., None], -jnp.inf, 0)
    weights = jnp.exp(below * sharpness)
    return weights if mask is None else jnp.where(mask, weights, 0)


def _add(
    running: _Sum, logits: jax.Array, mask: jax.Array | None, sharpness: jax.Array | float = 1.0
) -> tuple[_Sum, jax.Array]:
    """Adds a chunk: the sum, and what earlier sums that are relative to it shrink by."""
    seen = logits if mask is None else jnp.where(mask, logits, running.largest[..., None])
    largest = jnp.maximum(running.largest, jnp.max(seen, axis=-1))
    decay = jnp.exp((running.largest - largest) * sharpness)
    weights = _weights(logits, largest, mask, sharpness)
    total = running.total * decay + jnp.sum(_settled(weights, largest), axis=-1)
    # The largest weighs 1, so that the total does, unless there is none yet.
    some = largest > jnp.finfo(largest.dtype).min / 2
    return _Sum(largest, jnp.where(some, known_bounds(total, 1, jnp.inf), total)), decay


def _part(inputs: _Inputs, start: jax.Array | int, size: int) -> _Part:
    """Logits and masks of the keys ``start ... start + size``."""
    chunk = _slice(inputs.keys, start, size, -2)
    dtype = inputs.sharpness.dtype
    pattern = "baid,bcd->baic" if chunk.ndim == 3 else "baid,bicd->baic"
    scores = _einsum(pattern, _for_each_network(inputs.queries), chunk, dtype)
    masks = inputs.masks
    positives, candidates, soft_candidates = (
        None if mask is None else _slice(mask, start, size, -1)
        for mask in (masks.positives, masks.candidates, masks.soft_candidates)
    )
    index = inputs.first + start + jnp.arange(size, dtype=jnp.int32)

    def narrowed(mask: jax.Array | None, region: ScoreBounds | None) -> jax.Array | None:
        if region is None:
            return mask
        kept = within(scores, region, index)
        kept = kept if positives is None else kept | positives
        return kept if mask is None else kept & mask

    return _Part(
        scores * inputs.sharpness,
        positives,
        narrowed(candidates, masks.region),
        narrowed(soft_candidates, masks.soft_region),
    )


def _slice(x: jax.Array, start: jax.Array | int, size: int, axis: int) -> jax.Array:
    """A chunk of an axis, or the whole of one that has length 1."""
    if x.shape[axis] == 1 or x.shape[axis] == size:
        return x
    return lax.dynamic_slice_in_dim(x, start, size, axis)


def _einsum(pattern: str, x: jax.Array, y: jax.Array, dtype: jnp.dtype | None = None) -> jax.Array:
    return jnp.einsum(pattern, x, y, precision=lax.Precision.HIGHEST, preferred_element_type=dtype)


def _for_each_network(queries: jax.Array) -> jax.Array:
    """The queries [M, B, D] once for each network's keys, [b, a, i, d].

    A product of matrices for each b leaves [b, a, i, k] in this order; one product of all queries
    with all keys leaves it transposed, which is several times slower to go through.
    """
    return jnp.broadcast_to(queries[None], (queries.shape[0], *queries.shape))


def _own_masks(mask: jax.Array) -> jax.Array:
    """Each student's mask over its own keys, for teachers on the first axis: [1, a, i, k]."""
    if mask.shape[0] == 1 and mask.shape[1] == 1:
        return mask
    networks = max(mask.shape[:2])
    return network_diagonal(jnp.broadcast_to(mask, (networks, networks, *mask.shape[2:])))[None]


def _differs_by_pair(masks: KeyMasks) -> bool:
    """Whether the soft terms of two pairs of networks may run over different keys."""
    mask = masks.soft_candidates
    return masks.soft_region is not None or (mask is not None and mask.shape[:2] != (1, 1))


def _over_keys(visit: Callable, sums: tuple, keys: int, chunk_size: int) -> tuple:
    """Calls ``visit(sums, start, size)`` chunk after chunk; the last may be smaller."""
    whole = keys // chunk_size
    if whole == 1:
        sums = visit(sums, 0, chunk_size)
    elif whole > 1:
        sums = lax.fori_loop(
            0, whole, lambda n, sums: visit(sums, n * chunk_size, chunk_size), sums
        )
    rest = keys % chunk_size
    return visit(sums, whole * chunk_size, rest) if rest else sums
