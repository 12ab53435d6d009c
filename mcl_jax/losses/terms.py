"""The four terms of mutual contrastive learning from embeddings."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mcl_jax.losses import checks
from mcl_jax.losses.contrastive import icl, vcl
from mcl_jax.losses.mutual import soft_icl, soft_vcl
from mcl_jax.losses.similarity import cross_network_logits


class MCLTerms(NamedTuple):
    """The four scalars; the authors' weights for them are alpha, gamma, beta and lambda."""

    vcl: jax.Array
    soft_vcl: jax.Array
    icl: jax.Array
    soft_icl: jax.Array


def mcl_terms(
    queries: jax.Array,
    keys: jax.Array,
    positives: jax.Array | None = None,
    candidates: jax.Array | None = None,
    *,
    own_keys: jax.Array | None = None,
    soft_candidates: jax.Array | None = None,
    temperature: float | jax.Array,
    soft_temperature: float | jax.Array = 3.0,
    numerator: str = "mean_log",
    pair_weights: jax.Array | None = None,
    axis_name: str | None = None,
) -> MCLTerms:
    """VCL, soft VCL, ICL and soft ICL of a cohort's embeddings.

    Computes ``logits = cross_network_logits(queries, keys, temperature)`` and of them `vcl`,
    `soft_vcl`, `icl` and `soft_icl`; nothing weighs the terms.

    Args:
        queries: [M, B, D], unit vectors.
        keys: [M, K, D], shared by the batch, or [M, B, K, D], a set for each anchor.
        positives: bool over ``keys``, broadcast to [M, M, B, K]. May be None with ``own_keys``.
        candidates: bool over ``keys``, broadcast to [M, M, B, K]; None means every key.
        own_keys: [M, B, D], each anchor's own key (MoCo's form), put in front of ``keys``; always
            positive and always a candidate, in the soft terms too. The masks describe ``keys``.
        soft_candidates: as ``candidates``, for the soft terms; None means every key.
        temperature: of the logits, above 0.
        soft_temperature: T of the soft terms, above 0.
        numerator: as in `info_nce`.
        pair_weights: [M, M]; entry [a, b] weighs what network a learns from network b.
        axis_name: mapped axis that the anchors are split over, or None. ``queries``, ``own_keys``
            and masks are then the device's own, ``keys`` are gathered from all.

    Returns:
        MCLTerms of scalars; float32 for bfloat16 and float16 inputs.

    Raises:
        TypeError: an input is not floating, or a mask is not boolean.
        ValueError: shapes do not fit together; neither ``positives`` nor ``own_keys`` is given;
            a temperature is not above 0; ``numerator`` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mcl_jax.losses import l2_normalize, not_self, same_class
        >>> z = l2_normalize(jax.random.normal(jax.random.key(0), (2, 8, 16)))
        >>> other = not_self(jnp.arange(8))
        >>> positives = same_class(jnp.arange(8) // 2) & other
        >>> terms = mcl_terms(z, z, positives, other, temperature=0.1)
        >>> sorted(terms._asdict())
        ['icl', 'soft_icl', 'soft_vcl', 'vcl']

    Mutual Contrastive Learning, arXiv 2104.12565.
    """
    if positives is None and own_keys is None:
        raise ValueError("positives must be given where own_keys is not, got None for both.")
    logits = cross_network_logits(queries, keys, temperature)
    if positives is None:
        positives = jnp.zeros((1, 1), bool)
    if own_keys is not None:
        # The masks are checked against the keys they describe, before the own column is added.
        shape = logits.shape
        positives = _with_own(checks.mask(positives, shape, "positives"))
        candidates, soft_candidates = (
            None if mask is None else _with_own(checks.mask(mask, shape, name))
            for mask, name in ((candidates, "candidates"), (soft_candidates, "soft_candidates"))
        )
        logits = jnp.concatenate([_own_logits(queries, own_keys, temperature), logits], axis=-1)
    soft_candidates = checks.optional_mask(soft_candidates, logits.shape, "soft_candidates")

    def hard(term: Callable[..., jax.Array]) -> jax.Array:
        return term(
            logits,
            positives,
            candidates,
            numerator=numerator,
            pair_weights=pair_weights,
            axis_name=axis_name,
        )

    def soft(term: Callable[..., jax.Array]) -> jax.Array:
        return term(
            logits,
            soft_candidates,
            soft_temperature=soft_temperature,
            pair_weights=pair_weights,
            axis_name=axis_name,
        )

    return MCLTerms(hard(vcl), soft(soft_vcl), hard(icl), soft(soft_icl))


def _own_logits(
    queries: jax.Array, own_keys: jax.Array, temperature: float | jax.Array
) -> jax.Array:
    """Each anchor against its own key in every network: [M, M, B, 1]."""
    if jnp.shape(own_keys) != queries.shape:
        raise ValueError(
            f"own_keys must be [M, B, D] as queries, {queries.shape}, got {jnp.shape(own_keys)}."
        )
    return cross_network_logits(queries, own_keys[:, :, None, :], temperature)


def _with_own(mask: jax.Array) -> jax.Array:
    """Puts a true column in front: [..., K] -> [..., 1 + K]."""
    return jnp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(1, 0)], constant_values=True)
