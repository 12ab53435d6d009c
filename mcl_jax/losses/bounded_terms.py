"""The four terms of mutual contrastive learning from statistics of the keys, in bounded memory."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mcl_jax.losses import checks, chunked
from mcl_jax.losses.bounds import ScoreBounds
from mcl_jax.losses.chunked import KeyMasks, KeyStatistics, SoftStatistics
from mcl_jax.losses.reduction import MCLTerms, anchor_mean, distinct_pairs, network_diagonal
from mcl_jax.losses.similarity import check_embeddings, cross_network_logits

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
    soft_temperature = 1.0 if soft_temperature is None else soft_temperature
    checks.positive_number(soft_temperature, "soft_temperature")
    T = constant(jnp.asarray(soft_temperature, dtype))
    sharpness = 1 / jnp.asarray(temperature, dtype)
    shape = (*queries.shape[:1], *queries.shape[:-1], keys.shape[-2])
    masks = KeyMasks(
        _key_first(positives, shape, "positives"),
        _key_first(candidates, shape, "candidates"),
        _key_first(soft_candidates, shape, "soft_candidates"),
        _bounds_key_first(region, shape[:-1], "region"),
        _bounds_key_first(soft_region, shape[:-1], "soft_region"),
    )
    plan = chunked.Plan(_keys_at_once(chunk_size, shape, keys), log_sum, soft)
    fixed = chunked.Fixed(1 / T, masks, _first_key(shape[-1], axis_name, keys_axis_name))
    found = chunked.statistics(plan, queries, keys, sharpness, fixed)
    found = joined_over_devices(found, log_sum, keys_axis_name)
    if own_keys is not None:
        own = _own_statistics(queries, own_keys, temperature, 1 / T, found)
        found = _join(jax.tree.map(lambda *x: jnp.stack(x), own, found), log_sum)
    return terms_of_statistics(found, T, log_sum, pair_weights, axis_name, keys_axis_name)


def terms_of_statistics(
    found: KeyStatistics,
    T: jax.Array,
    log_sum: bool,
    pair_weights: jax.Array | None,
    axis_name: str | None,
    keys_axis_name: str | None,
) -> MCLTerms:
    """The four scalars, from the statistics of all keys; T is the soft temperature."""
    weights = checks.pair_weights(pair_weights, len(found.partition), found.partition.dtype)
    terms = _weighed(_terms(found, T, log_sum, axis_name), weights)
    if keys_axis_name is not None:
        # All devices have the same numbers; this says so to `shard_map`.
        terms = jax.tree.map(lambda x: lax.pmean(x, keys_axis_name), terms)
    return terms


def joined_over_devices(
    found: KeyStatistics, log_sum: bool, keys_axis_name: str | None
) -> KeyStatistics:
    """The statistics of all devices' keys, from those of each device's own."""
    if keys_axis_name is None:
        return found
    return _join(jax.tree.map(lambda x: lax.all_gather(x, keys_axis_name), found), log_sum)


def _first_key(number: int, axis_name: str | None, keys_axis_name: str | None) -> jax.Array:
    """Position of the device's first key among the keys of all devices.

    Raises:
        ValueError: keys are split over no mapped axis, or over that of the anchors.
    """
    if keys_axis_name is None:
        return jnp.zeros((), jnp.int32)
    check_axes(axis_name, keys_axis_name, "keys_axis_name")
    return lax.axis_index(keys_axis_name) * number


def check_axes(axis_name: str | None, keys_axis_name: str, argument: str) -> None:
    """Checks the axis that keys are split over, which the caller knows as ``argument``.

    Raises:
        ValueError: it is no mapped axis, or that of the anchors.
    """
    axes = [{x} if isinstance(x, str) else set(x or ()) for x in (axis_name, keys_axis_name)]
    if axes[0] & axes[1]:
        raise ValueError(
            f"axis_name and {argument} must differ, got {axis_name!r} and {keys_axis_name!r}: "
            "where anchors and keys are split over one axis, gather the queries over it and leave "
            "axis_name out."
        )
    checks.mapped_axis(keys_axis_name, argument)


def _keys_at_once(chunk_size: int | str | None, shape: tuple[int, ...], keys: jax.Array) -> int:
    """The size of a chunk of ``keys``, of logits of a shape.

    Raises:
        ValueError: ``chunk_size`` is neither None, nor ``"auto"``, nor a whole number above 0.
    """
    number = max(1, shape[-1])
    if chunk_size is None:
        return number
    if isinstance(chunk_size, str) and chunk_size == "auto":
        numbers = max(1, math.prod(shape[:-1]), keys.size // number if keys.ndim == 4 else 1)
        chunk_size = max(_AUTO_LEAST if keys.ndim == 3 else 1, _AUTO_NUMBERS // numbers)
    is_number = isinstance(chunk_size, int | np.integer) and not isinstance(chunk_size, bool)
    if not is_number or int(chunk_size) < 1:
        raise ValueError(
            f'chunk_size must be None, "auto" or a whole number above 0, got {chunk_size!r}.'
        )
    return min(int(chunk_size), number)


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
def constant(soft_temperature: jax.Array) -> jax.Array:
    """The soft temperature, of which the derivative rule of the statistics knows no derivative."""
    return soft_temperature


@constant.defjvp
def _refuse(primals: tuple, tangents: tuple) -> tuple:
    raise ValueError(
        "soft_temperature must not be differentiated where chunk_size, keys_axis_name or a region "
        "is given, or keys are drawn from a bank; leave them out, or stop its gradient."
    )


def _own_statistics(
    queries: jax.Array,
    own_keys: jax.Array,
    temperature: float | jax.Array,
    soft_sharpness: jax.Array,
    others: KeyStatistics,
) -> KeyStatistics:
    """Those of each anchor's own key: positive, and a candidate everywhere; as of the others."""
    logits = cross_network_logits(queries, own_keys[:, :, None], temperature)[..., 0]
    logits = jnp.swapaxes(logits, 0, 1)
    count = jnp.ones_like(others.positives)
    if others.soft is None:
        return KeyStatistics(count, logits, logits, None)
    x = logits * soft_sharpness
    mine = network_diagonal(x)
    icl_teacher = lax.stop_gradient(jnp.swapaxes(x, 0, 1))
    vcl_teacher = lax.stop_gradient(jnp.broadcast_to(mine[:, None], x.shape))
    return KeyStatistics(
        count,
        logits,
        logits,
        SoftStatistics(x, icl_teacher, icl_teacher - x, vcl_teacher, vcl_teacher - mine),
    )


def _join(parts: KeyStatistics, log_sum: bool) -> KeyStatistics:
    """Statistics of the union of disjoint sets of keys, which lie along a first axis."""
    positive = _log_sum_exp(parts.positive) if log_sum else jnp.sum(parts.positive, axis=0)
    count, partition = jnp.sum(parts.positives, axis=0), _log_sum_exp(parts.partition)
    soft = parts.soft
    if soft is None:
        return KeyStatistics(count, partition, positive, None)
    icl_teacher, vcl_teacher = (
        _log_sum_exp(lax.stop_gradient(x)) for x in (soft.icl_teacher, soft.vcl_teacher)
    )
    return KeyStatistics(
        count,
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


def _terms(found: KeyStatistics, T: jax.Array, log_sum: bool, axis_name: str | None) -> MCLTerms:
    """Means over the anchors, each [b, a]; the hard terms' in both places."""
    counted = (found.positives > 0) & (found.partition != -jnp.inf)  # NaN counts, to be seen
    positive = found.positive if log_sum else found.positive / jnp.maximum(found.positives, 1)
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
