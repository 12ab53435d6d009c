"""Softmaxes over keys that each anchor draws from banks, each key met once.

The keys of one anchor are M K D numbers, far too many to be held for a batch. Here those of a few
anchors at a time are gathered, used for the logits of all networks, for the statistics of these,
and at once for what their derivative needs: as banks are constant, the derivative of every
statistic with respect to a query is a mean of keys, weighed by a softmax. So one pass gives both,
and the backward pass meets no key.

As in `chunked`, the network of the keys comes first: ``[b, a, i]``. A pass is written for one
anchor, without its axis; `jax.lax.map` adds it.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses.chunked import KeyStatistics, SoftStatistics, varying_alike
from mcl_jax.losses.rounding import known_bounds


class Keys(NamedTuple):
    """Which rows an anchor meets, and what they are to it: [B, ...], without B for one anchor.

    The first axis of a mask, after B, is 1, or 2: within a network, and across networks.

    Attributes:
        rows: [B, K], int32, of the bank.
        number: [B], int32: only so many of them count, from the first on.
        positives: bool [B, 1 or 2, K].
        candidates: bool [B, 1 or 2, K].
        soft_candidates: bool [B, 1 or 2, K].
    """

    rows: jax.Array
    number: jax.Array
    positives: jax.Array
    candidates: jax.Array
    soft_candidates: jax.Array


class Plan(NamedTuple):
    """What is known before any number is.

    Attributes:
        anchors: that are met side by side.
        keys: of an anchor, that are met at once.
        soft: whether soft statistics are wanted.
    """

    anchors: int
    keys: int
    soft: bool


class Fixed(NamedTuple):
    """Inputs that have no gradient.

    Attributes:
        bank: [M, N, D].
        soft_sharpness: [], one over T.
        keys: Keys.
    """

    bank: jax.Array
    soft_sharpness: jax.Array
    keys: Keys


class _Sum(NamedTuple):
    """A running sum of exponentials of [b, a, k], relative to the largest yet."""

    largest: jax.Array
    total: jax.Array


class _SoftSums(NamedTuple):
    """For the soft terms, each [b, a].

    Attributes:
        student: of logits / T over the soft candidates.
        icl_gap: sum of what `SoftStatistics` has the mean of, under exp(logits[b, a] / T).
        vcl_gap: the same, under exp(logits[b, b] / T).
    """

    student: _Sum
    icl_gap: jax.Array
    vcl_gap: jax.Array


class _Sums(NamedTuple):
    """What the keys met so far give, [b, a] unless said otherwise.

    Attributes:
        number: of positives.
        positive: sum of the positives' logits.
        partition: over the candidates.
        soft: for the soft terms, or None.
        keys: [b, 2 or 5, a, d], or None: sums of the keys of network b with the weights of the
            candidates and of the positives, and with those of student and both teachers.
    """

    number: jax.Array
    positive: jax.Array
    partition: _Sum
    soft: _SoftSums | None
    keys: jax.Array | None


class _Weights(NamedTuple):
    """A way to weigh keys, and what earlier sums of such shrink by; axes may be 1.

    Attributes:
        keys: [b, a, k].
        decay: [b, a].
    """

    keys: jax.Array
    decay: jax.Array


def statistics(plan: Plan, queries: jax.Array, sharpness: jax.Array, fixed: Fixed) -> KeyStatistics:
    """The statistics of each anchor's keys.

    Args:
        plan: static.
        queries: [M, B, D].
        sharpness: [], one over the temperature, in the dtype of sums.
        fixed: Fixed.

    Returns:
        KeyStatistics, positives being added up. First derivatives flow to queries and sharpness;
        from the soft statistics through the students alone.
    """
    return _statistics(plan, *varying_alike((queries, sharpness), fixed), fixed)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _statistics(
    plan: Plan, queries: jax.Array, sharpness: jax.Array, fixed: Fixed
) -> KeyStatistics:
    return _found(_pass(plan, queries, sharpness, fixed, means=False), fixed.soft_sharpness)


def _forward(
    plan: Plan, queries: jax.Array, sharpness: jax.Array, fixed: Fixed
) -> tuple[KeyStatistics, tuple[jax.Array, ...]]:
    sums = _pass(plan, queries, sharpness, fixed, means=True)
    residuals = queries, sharpness, fixed.soft_sharpness, _means(sums)
    return _found(sums, fixed.soft_sharpness), residuals


def _backward(
    plan: Plan, residuals: tuple[jax.Array, ...], cotangent: KeyStatistics
) -> tuple[jax.Array, jax.Array, None]:
    queries, sharpness, soft_sharpness, means = residuals
    partition, positive, *soft = jnp.moveaxis(means, 1, 0)  # each [b, a, i, d]
    pull = _weighed(cotangent.partition, partition) + _weighed(cotangent.positive, positive)
    if cotangent.soft is not None:
        student, icl_teacher, vcl_teacher = soft
        softly = _weighed(cotangent.soft.student, student)
        softly -= _weighed(cotangent.soft.icl_gap, icl_teacher)
        # Of teacher b, student a has the mean of its own keys.
        softly -= _weighed(cotangent.soft.vcl_gap, jnp.swapaxes(vcl_teacher, 0, 1))
        pull += soft_sharpness * softly
    # Logits are sharpness times products of queries and keys.
    to_sharpness = jnp.sum(pull * queries)
    return (sharpness * pull).astype(queries.dtype), to_sharpness, None


_statistics.defvjp(_forward, _backward)


def _weighed(weights: jax.Array, keys: jax.Array) -> jax.Array:
    """Sum over the keys' networks: [b, a, i] and [b, a, i, d] to [a, i, d]."""
    return jnp.sum(weights[..., None] * keys, axis=0)


def _pass(
    plan: Plan, queries: jax.Array, sharpness: jax.Array, fixed: Fixed, *, means: bool
) -> _Sums:
    """The sums over all keys of each anchor, [b, a, i]; with those of keys if ``means``."""
    visits = -(-jnp.max(fixed.keys.number) // plan.keys)

    def one(anchor: tuple[jax.Array, Keys]) -> _Sums:
        own, keys = anchor
        visit = functools.partial(_visit, plan, fixed, sharpness, own, keys)
        start = _nothing(plan, own, sharpness, means=means)
        if plan.keys == keys.rows.shape[-1]:
            return visit(0, start)
        return lax.fori_loop(0, visits, visit, start)

    anchors = jnp.swapaxes(queries, 0, 1), fixed.keys
    batch_size = plan.anchors if plan.anchors > 1 else None
    sums = lax.map(one, anchors, batch_size=batch_size)
    to_last = functools.partial(jax.tree.map, lambda x: jnp.moveaxis(x, 0, -1))
    if sums.keys is None:
        return to_last(sums)
    return to_last(sums._replace(keys=None))._replace(keys=jnp.moveaxis(sums.keys, 0, -2))


def _nothing(plan: Plan, queries: jax.Array, sharpness: jax.Array, *, means: bool) -> _Sums:
    """The sums before any key is met."""
    networks, dim = queries.shape
    zero = jnp.zeros((networks, networks), sharpness.dtype) + 0 * sharpness
    empty = _Sum(zero + jnp.finfo(zero.dtype).min / 2, zero)
    keys = None
    if means:
        keys = jnp.broadcast_to(zero[0, 0], (networks, 5 if plan.soft else 2, networks, dim))
    soft = _SoftSums(empty, zero, zero) if plan.soft else None
    return _Sums(zero, zero, empty, soft, keys)


def _visit(
    plan: Plan,
    fixed: Fixed,
    sharpness: jax.Array,
    queries: jax.Array,
    keys: Keys,
    turn: jax.Array | int,
    sums: _Sums,
) -> _Sums:
    """Adds an anchor's next keys, for its queries [a, d]."""
    rows, *masks = _next(plan, keys, turn)
    positives, candidates, soft_candidates = (_by_pair(mask, len(queries)) for mask in masks)
    chunk = _gathered(fixed.bank, rows).astype(sharpness.dtype)
    # The queries for each network's keys: one product of all would leave [b, a, k] transposed.
    own = jnp.broadcast_to(queries.astype(sharpness.dtype), (len(chunk), *queries.shape))
    logits = sharpness * _einsum("bad,bkd->bak", own, chunk)

    partition, weights = _add(sums.partition, logits, candidates)
    number = sums.number + jnp.sum(positives, axis=-1, dtype=sharpness.dtype)
    positive = sums.positive + jnp.sum(logits, axis=-1, where=positives)
    as_they_are = _Weights(positives.astype(logits.dtype), jnp.ones_like(weights.decay))
    weighing, soft = [weights, as_they_are], sums.soft
    if soft is not None:
        soft, more = _visit_soft(soft, logits, soft_candidates, fixed.soft_sharpness)
        weighing += more
    met = None if sums.keys is None else _add_keys(sums.keys, weighing, chunk)
    return _Sums(number, positive, partition, soft, met)


def _visit_soft(
    soft: _SoftSums, logits: jax.Array, mask: jax.Array, sharpness: jax.Array
) -> tuple[_SoftSums, list[_Weights]]:
    """Adds keys to the sums of the soft terms, with the weights of student and both teachers."""
    student, weights = _add(soft.student, logits, mask, sharpness)
    icl = _Weights(*(jnp.swapaxes(x, 0, 1) for x in weights))
    own, own_weights, own_decay = (_diagonal(x) for x in (logits, *weights))
    icl_gap = _gap(icl.keys, jnp.swapaxes(logits, 0, 1) - logits, mask)
    # The masks of all networks with themselves are one.
    vcl_gap = _gap(own_weights[:, None], own[:, None] - own, mask[0, 0])
    found = _SoftSums(
        student, soft.icl_gap * icl.decay + icl_gap, soft.vcl_gap * own_decay[:, None] + vcl_gap
    )
    # Of network b's keys the teacher's weights are wanted for every teacher, here on axis a.
    return found, [weights, icl, _Weights(own_weights[None], own_decay[None])]


def _next(plan: Plan, keys: Keys, turn: jax.Array | int) -> tuple[jax.Array, ...]:
    """The rows [k] of a turn, and their masks [1 or 2, k]; the last goes back, to be as long."""
    first = turn * plan.keys
    start = jnp.minimum(first, keys.rows.shape[-1] - plan.keys)
    rows, *masks = (
        lax.dynamic_slice_in_dim(x, start, plan.keys, axis=-1)
        for x in (keys.rows, keys.positives, keys.candidates, keys.soft_candidates)
    )
    place = start + jnp.arange(plan.keys, dtype=jnp.int32)
    counted = (place >= first) & (place < keys.number)
    return rows, *(mask & counted for mask in masks)


def _gathered(bank: jax.Array, rows: jax.Array) -> jax.Array:
    """Keys [b, k, d]; of a row that is not there, some other."""
    networks, held, dim = bank.shape
    # Rows of all banks as of one: keys then lie as products want them.
    places = held * jnp.arange(networks)[:, None] + jnp.clip(rows, 0, held - 1)
    # Held, for XLA for CPU would gather them anew for each product.
    return lax.optimization_barrier(bank.reshape(-1, dim).at[places].get(mode="clip"))


def _add(
    running: _Sum, logits: jax.Array, mask: jax.Array, sharpness: jax.Array | float = 1.0
) -> tuple[_Sum, _Weights]:
    """Adds keys to a sum, and tells their weights in it."""
    seen = jnp.where(mask, logits, running.largest[..., None])
    largest = jnp.maximum(running.largest, jnp.max(seen, axis=-1))
    decay = jnp.exp((running.largest - largest) * sharpness)
    below = known_bounds(logits - largest[..., None], -jnp.inf, 0)
    weights = jnp.where(mask, jnp.exp(below * sharpness), 0)
    total = running.total * decay + jnp.sum(weights, axis=-1)
    return _Sum(largest, total), _Weights(weights, decay)


def _add_keys(sums: jax.Array, weighing: list[_Weights], chunk: jax.Array) -> jax.Array:
    """Adds the keys [b, k, d], weighed in each way, to the sums [b, ways, a, d]."""
    networks, ways, _, dim = sums.shape
    shape = networks, networks, chunk.shape[1]
    weights = jnp.concatenate([jnp.broadcast_to(x.keys, shape) for x in weighing], axis=1)
    decay = jnp.stack([jnp.broadcast_to(x.decay, shape[:2]) for x in weighing], axis=1)
    met = _einsum("brk,bkd->brd", weights, chunk).reshape(networks, ways, networks, dim)
    return sums * decay[..., None] + met


def _gap(weights: jax.Array, difference: jax.Array, mask: jax.Array) -> jax.Array:
    """Weighted sum over the keys of the mask; others' logits may be anything."""
    return jnp.sum(weights * difference, axis=-1, where=mask)


def _by_pair(mask: jax.Array, networks: int) -> jax.Array:
    """A mask [1 or 2, k], within and across networks, for each pair [b, a, k]."""
    if len(mask) == 1:
        return jnp.broadcast_to(mask, (networks, networks, mask.shape[-1]))
    return jnp.where(jnp.eye(networks, dtype=bool)[..., None], mask[0], mask[1])


def _diagonal(x: jax.Array) -> jax.Array:
    """Each network with itself, [b, a, ...] to [a, ...], by slices: a gather is not fused."""
    return jnp.stack([x[a, a] for a in range(len(x))])


def _einsum(pattern: str, x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.einsum(pattern, x, y, precision=lax.Precision.HIGHEST)


def _found(sums: _Sums, sharpness: jax.Array) -> KeyStatistics:
    """The statistics, [b, a, i], of the sums over all keys; ``sharpness`` is one over T."""
    soft, logs = sums.soft, _log(sums.partition)
    if soft is None:
        return KeyStatistics(sums.number, logs, sums.positive, None)
    students, icl_total = _log(soft.student, sharpness), jnp.swapaxes(soft.student.total, 0, 1)
    vcl_teachers, vcl_total = (
        jnp.broadcast_to(_diagonal(x)[:, None], x.shape) for x in (students, soft.student.total)
    )
    found = SoftStatistics(
        students,
        jnp.swapaxes(students, 0, 1),
        sharpness * _divided(soft.icl_gap, icl_total),
        vcl_teachers,
        sharpness * _divided(soft.vcl_gap, vcl_total),
    )
    return KeyStatistics(sums.number, logs, sums.positive, found)


def _means(sums: _Sums) -> jax.Array:
    """The sums of keys, [b, 2 or 5, a, i, d], divided by their weights; that of positives as is."""
    assert sums.keys is not None
    totals = [sums.partition.total, jnp.ones_like(sums.number)]
    if sums.soft is not None:
        total = sums.soft.student.total
        own = jnp.broadcast_to(_diagonal(total), total.shape)
        totals += [total, jnp.swapaxes(total, 0, 1), own]
    return _divided(sums.keys, jnp.stack(totals, axis=1)[..., None])


def _log(x: _Sum, sharpness: jax.Array | float = 1.0) -> jax.Array:
    """Log of the whole sum, -inf of an empty one."""
    empty = x.total == 0
    return jnp.where(empty, -jnp.inf, x.largest * sharpness + jnp.log(jnp.where(empty, 1, x.total)))


def _divided(x: jax.Array, total: jax.Array) -> jax.Array:
    return x / jnp.where(total == 0, 1, total)
