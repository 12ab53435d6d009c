"""The four terms of mutual contrastive learning from statistics of the keys, in bounded memory."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses import checks, chunked
from mcl_jax.losses.bounds import ScoreBounds
from mcl_jax.losses.chunked import KeyMasks, KeyStatistics, SoftStatistics
from mcl_jax.losses.reduction import MCLTerms, anchor_mean, distinct_pairs, network_diagonal
from mcl_jax.losses.similarity import check_embeddings

_AUTO_NUMBERS = 2**20  # what "auto" aims at: logits of a chunk, of all pairs together
_AUTO_LEAST = 128  # keys; narrower matrix products are slow


def bounded_terms(
    queries: jax.Array,
    keys: jax.Array,
    positives: jax.Array | None,
    candidates: jax.Array | None,
    *,
    own_keys: jax.Array | None,
    soft_candidates: jax.Array | None,
    region: ScoreBounds | None,
    soft_region: ScoreBounds | None,
    temperature: float | jax.Array,
    soft_temperature: float | jax.Array | None,
    log_sum: bool,
    pair_weights: jax.Array | None,
    axis_name: str | None,
    chunk_size: int | str | None,
    keys_axis_name: str | None,
) -> MCLTerms:
    """The four scalars; arguments, values and gradients are those of `mcl_terms`.

    Raises:
        TypeError, ValueError: as `mcl_terms`.
    """
    dtype = check_embeddings(queries, keys, temperature)
    soft = soft_temperature is not None and queries.shape[0] > 1
    networks, anchors, _ = queries.shape
    number = keys.shape[-2]
    shape = (networks, networks, anchors, number)
    positives, candidates, soft_candidates = (
        _key_first(mask, shape, name)
        for mask, name in (
            (positives, "positives"),
            (candidates, "candidates"),
            (soft_candidates, "soft_candidates"),
        )
    )
    regions = (
        _bounds_key_first(bounds, shape[:-1], name)
        for bounds, name in ((region, "region"), (soft_region, "soft_region"))
    )
    soft_temperature = 1.0 if soft_temperature is None else soft_temperature
    checks.positive_number(soft_temperature, "soft_temperature")
    T = _constant(jnp.asarray(soft_temperature, dtype))
    sharpness = 1 / jnp.asarray(temperature, dtype)
    first = jnp.zeros((), jnp.int32)
    if keys_axis_name is not None:
        first = lax.axis_index(checks.mapped_axis(keys_axis_name, "keys_axis_name")) * number
    masks = KeyMasks(positives, candidates, soft_candidates, *regions)
    plan = chunked.Plan(_keys_at_once(chunk_size, shape), log_sum, soft)
    fixed = chunked.Fixed(1 / T, masks, first)
    found = chunked.statistics(plan, queries, keys, sharpness, fixed)
    count = jnp.zeros((1, 1, 1), dtype)
    if positives is not None:
        each_key = jnp.broadcast_to(positives, (*positives.shape[:-1], number))
        count = jnp.sum(each_key, axis=-1, dtype=dtype)
    if keys_axis_name is not None:
        found = _join(jax.tree.map(lambda x: lax.all_gather(x, keys_axis_name), found), log_sum)
        count = lax.psum(count, keys_axis_name)
    if own_keys is not None:
        own = _own_statistics(queries, own_keys, sharpness, 1 / T, soft)
        found = _join(jax.tree.map(lambda *x: jnp.stack(x), own, found), log_sum)
        count += 1
    weights = checks.pair_weights(pair_weights, networks, dtype)
    terms = _weighed(_terms(found, count, T, log_sum, axis_name), weights)
    if keys_axis_name is not None:
        # All devices have the same numbers; this says so to `shard_map`.
        terms = jax.tree.map(lambda x: lax.pmean(x, keys_axis_name), terms)
    return terms


def _keys_at_once(chunk_size: int | str | None, shape: tuple[int, ...]) -> int:
    """The size of a chunk of keys of logits of a shape.

    Raises:
        ValueError: ``chunk_size`` is neither None, nor ``"auto"``, nor a whole number above 0.
    """
    number = shape[-1]
    if chunk_size is None:
        return number
    if chunk_size == "auto":
        chunk_size = max(_AUTO_LEAST, _AUTO_NUMBERS // math.prod(shape[:-1]))
    if not isinstance(chunk_size, int) or isinstance(chunk_size, bool) or chunk_size < 1:
        raise ValueError(
            f'chunk_size must be None, "auto" or a whole number above 0, got {chunk_size!r}.'
        )
    return min(chunk_size, number)


def _key_first(mask: jax.Array | None, shape: tuple[int, ...], name: str) -> jax.Array | None:
    """A mask that broadcasts to [a, b, i, k] as [b, a, i, k], its axes of length 1 kept."""
    if mask is None:
        return None
    checks.mask_fits(mask, shape, name)
    padded = jnp.reshape(mask, (1,) * (4 - jnp.ndim(mask)) + jnp.shape(mask))
    return jnp.swapaxes(padded, 0, 1)


def _bounds_key_first(
    bounds: ScoreBounds | None, shape: tuple[int, ...], name: str
) -> ScoreBounds | None:
    """Bounds that broadcast to [a, b, i] as [b, a, i]."""
    if bounds is None:
        return None
    if not isinstance(bounds, ScoreBounds):
        raise TypeError(f"{name} must be ScoreBounds, got {type(bounds).__name__}.")
    for x in bounds:
        if not checks.broadcasts(jnp.shape(x), shape):
            raise ValueError(f"{name} must broadcast to {shape}, got shape {jnp.shape(x)}.")
    return ScoreBounds(*(jnp.swapaxes(jnp.broadcast_to(x, shape), 0, 1) for x in bounds))


@jax.custom_jvp
def _constant(soft_temperature: jax.Array) -> jax.Array:
    """The soft temperature, of which the derivative rule of the statistics knows no derivative."""
    return soft_temperature


@_constant.defjvp
def _refuse(primals: tuple, tangents: tuple) -> tuple:
    raise ValueError(
        "soft_temperature must not be differentiated where chunk_size, keys_axis_name or a region "
        "is given; leave them out, or stop its gradient."
    )


def _own_statistics(
    queries: jax.Array,
    own_keys: jax.Array,
    sharpness: jax.Array,
    soft_sharpness: jax.Array,
    soft: bool,
) -> KeyStatistics:
    """Those of each anchor's own key: positive, and a candidate everywhere."""
    logits = sharpness * jnp.einsum(
        "aid,bid->bai",
        queries,
        own_keys,
        precision=lax.Precision.HIGHEST,
        preferred_element_type=sharpness.dtype,
    )
    if not soft:
        return KeyStatistics(logits, logits, None)
    x = logits * soft_sharpness
    mine = network_diagonal(x)
    icl_teacher = lax.stop_gradient(jnp.swapaxes(x, 0, 1))
    vcl_teacher = lax.stop_gradient(jnp.broadcast_to(mine[:, None], x.shape))
    return KeyStatistics(
        logits,
        logits,
        SoftStatistics(x, icl_teacher, icl_teacher - x, vcl_teacher, vcl_teacher - mine),
    )


def _join(parts: KeyStatistics, log_sum: bool) -> KeyStatistics:
    """Statistics of the union of disjoint sets of keys, which lie along a first axis."""
    positive = _log_sum_exp(parts.positive) if log_sum else jnp.sum(parts.positive, axis=0)
    partition, soft = _log_sum_exp(parts.partition), parts.soft
    if soft is None:
        return KeyStatistics(partition, positive, None)
    icl_teacher, vcl_teacher = (
        _log_sum_exp(lax.stop_gradient(x)) for x in (soft.icl_teacher, soft.vcl_teacher)
    )
    return KeyStatistics(
        partition,
        positive,
        SoftStatistics(
            _log_sum_exp(soft.student),
            icl_teacher,
            jnp.sum(_shares(soft.icl_teacher, icl_teacher) * soft.icl_gap, axis=0),
            vcl_teacher,
            jnp.sum(_shares(soft.vcl_teacher, vcl_teacher) * soft.vcl_gap, axis=0),
        ),
    )


def _log_sum_exp(x: jax.Array) -> jax.Array:
    """Log-sum-exp over the first axis; of -inf alone it is -inf, with a derivative of 0."""
    largest = lax.stop_gradient(jnp.max(x, axis=0))
    largest = jnp.where(largest == -jnp.inf, 0, largest)
    total = jnp.sum(jnp.exp(x - largest), axis=0)
    return jnp.where(total == 0, -jnp.inf, largest + jnp.log(jnp.where(total == 0, 1, total)))


def _shares(parts: jax.Array, joined: jax.Array) -> jax.Array:
    """What share of a sum each part has, stopped; 0 where the sum is empty."""
    return lax.stop_gradient(jnp.exp(parts - jnp.where(joined == -jnp.inf, 0, joined)))


def _terms(
    found: KeyStatistics, count: jax.Array, T: jax.Array, log_sum: bool, axis_name: str | None
) -> MCLTerms:
    """Means over the anchors, each [b, a]; the hard terms' in both places."""
    counted = (count > 0) & (found.partition > -jnp.inf)
    positive = found.positive if log_sum else found.positive / jnp.maximum(count, 1)
    values = jnp.where(counted, found.partition - positive, 0)
    hard = anchor_mean(values, counted, axis_name)
    soft = found.soft
    if soft is None:
        return MCLTerms(hard, jnp.zeros_like(hard), hard, jnp.zeros_like(hard))
    mine = jnp.broadcast_to(network_diagonal(soft.student)[None], soft.student.shape)
    soft_vcl = _divergence(soft.vcl_gap, soft.vcl_teacher, mine)
    soft_icl = _divergence(soft.icl_gap, soft.icl_teacher, soft.student)
    everyone = jnp.ones(values.shape, bool)
    soft_vcl, soft_icl = (
        T**2 * anchor_mean(values, everyone, axis_name) for values in (soft_vcl, soft_icl)
    )
    return MCLTerms(hard, soft_vcl, hard, soft_icl)


def _divergence(gap: jax.Array, teacher: jax.Array, student: jax.Array) -> jax.Array:
    """KL(teacher || student), 0 where there is no candidate."""
    empty = student == -jnp.inf
    teacher, student = (jnp.where(empty, 0, x) for x in (lax.stop_gradient(teacher), student))
    return gap - teacher + student


def _weighed(terms: MCLTerms, weights: jax.Array) -> MCLTerms:
    """Sums over networks (VCL) and over ordered pairs (the others)."""
    soft_vcl, icl, soft_icl = (
        distinct_pairs(x.T, weights) for x in (terms.soft_vcl, terms.icl, terms.soft_icl)
    )
    vcl = jnp.sum(jnp.diagonal(terms.vcl) * jnp.diagonal(weights))
    return MCLTerms(vcl, soft_vcl, icl, soft_icl)
