"""The four terms of mutual contrastive learning from embeddings."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mcl_jax.losses import checks
from mcl_jax.losses.bounded_terms import bounded_terms
from mcl_jax.losses.bounds import ScoreBounds
from mcl_jax.losses.contrastive import check_numerator, icl, vcl
from mcl_jax.losses.mutual import soft_icl, soft_vcl
from mcl_jax.losses.reduction import MCLTerms
from mcl_jax.losses.similarity import cross_network_logits


def mcl_terms(
    queries: jax.Array,
    keys: jax.Array,
    positives: jax.Array | None = None,
    candidates: jax.Array | None = None,
    *,
    own_keys: jax.Array | None = None,
    soft_candidates: jax.Array | None = None,
    temperature: float | jax.Array,
    soft_temperature: float | jax.Array | None = 3.0,
    numerator: str = "mean_log",
    pair_weights: jax.Array | None = None,
    axis_name: str | None = None,
    chunk_size: int | str | None = None,
    keys_axis_name: str | None = None,
    region: ScoreBounds | None = None,
    soft_region: ScoreBounds | None = None,
) -> MCLTerms:
    """VCL, soft VCL, ICL and soft ICL of a cohort's embeddings.

    Computes ``logits = cross_network_logits(queries, keys, temperature)`` and of them `vcl`,
    `soft_vcl`, `icl` and `soft_icl`; nothing weighs the terms.

    With a ``chunk_size`` the logits are never held: a pass over the keys, a chunk at a time, finds
    the values and a second one the gradients. Memory beyond inputs and gradients then does not
    grow with K (but XLA for CPU holds keys of 16 bits a second time, in 32). Values and gradients
    are the same but for rounding; derivatives in forward mode, and with respect to
    ``soft_temperature``, exist without it alone.

    Args:
        queries: [M, B, D], unit vectors.
        keys: [M, K, D], shared by the batch, or [M, B, K, D], a set for each anchor.
        positives: bool over ``keys``, broadcast to [M, M, B, K]. May be None with ``own_keys``.
        candidates: bool over ``keys``, broadcast to [M, M, B, K]; None means every key.
        own_keys: [M, B, D], each anchor's own key (MoCo's form), put in front of ``keys``; always
            positive and always a candidate, in the soft terms too. The masks describe ``keys``.
        soft_candidates: as ``candidates``, for the soft terms; None means every key.
        temperature: of the logits, above 0.
        soft_temperature: T of the soft terms, above 0; None leaves them out (they are 0 and cost
            nothing).
        numerator: as in `info_nce`.
        pair_weights: [M, M]; entry [a, b] weighs what network a learns from network b.
        axis_name: mapped axis that the anchors are split over, or None. ``queries``, ``own_keys``
            and masks are then the device's own, ``keys`` are gathered from all.
        chunk_size: keys that are met at once; "auto" chooses it so that a chunk has about a
            million logits (at least 128 keys); None takes all keys at once.
        keys_axis_name: mapped axis that the keys are split over, or None. ``keys`` and the columns
            of masks are then the device's own, in the order of the devices; queries, ``own_keys``
            and the rows of masks are the same on all devices of that axis, and so are the terms.
            Where anchors are split over the same axis, gather the queries and leave ``axis_name``
            out. Gradients of parameters are averaged over the axis as ever; those of the split
            keys themselves are each device's own, and under `pmap` and ``check_vma=False`` too
            large by the number of devices.
        region: `regions.score_bounds` of [M, M, B], which narrow the candidates: of them stay the
            positives, and the keys whose score lies within. Give a ``chunk_size`` with it, else
            all keys are met at once.
        soft_region: the same for ``soft_candidates``.

    Returns:
        MCLTerms of scalars; float32 for bfloat16 and float16 inputs.

    Raises:
        TypeError: an input is not floating, or a mask is not boolean.
        ValueError: shapes do not fit together; neither ``positives`` nor ``own_keys`` is given;
            a temperature is not above 0; ``numerator`` or ``keys_axis_name`` is unknown, or the
            latter is ``axis_name``;
            ``chunk_size`` is neither None, "auto" nor a whole number above 0.

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
    if own_keys is not None:
        checks.as_floating(own_keys, "own_keys")
        if jnp.shape(own_keys) != jnp.shape(queries):
            raise ValueError(
                f"own_keys must be [M, B, D] as queries, {jnp.shape(queries)}, got "
                f"{jnp.shape(own_keys)}."
            )
    check_numerator(numerator)
    if chunk_size is None and keys_axis_name is None and region is None and soft_region is None:
        logits, masks = _logits_and_masks(
            queries, keys, positives, candidates, soft_candidates, own_keys, temperature
        )
        return _terms_of_logits(
            logits, *masks, soft_temperature, numerator, pair_weights, axis_name
        )
    return bounded_terms(
        queries,
        keys,
        positives,
        candidates,
        own_keys=own_keys,
        soft_candidates=soft_candidates,
        region=region,
        soft_region=soft_region,
        temperature=temperature,
        soft_temperature=soft_temperature,
        log_sum=numerator == "log_sum",
        pair_weights=pair_weights,
        axis_name=axis_name,
        chunk_size=chunk_size,
        keys_axis_name=keys_axis_name,
    )


def _logits_and_masks(
    queries: jax.Array,
    keys: jax.Array,
    positives: jax.Array | None,
    candidates: jax.Array | None,
    soft_candidates: jax.Array | None,
    own_keys: jax.Array | None,
    temperature: float | jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array | None, jax.Array | None]]:
    """Logits with one's own key in front, and the masks over them."""
    logits = cross_network_logits(queries, keys, temperature)
    if positives is None:
        positives = jnp.zeros((1, 1), bool)
    if own_keys is None:
        return logits, (positives, candidates, soft_candidates)
    # The masks are checked against the keys they describe, before the own column is added.
    positives = _with_own(checks.mask(positives, logits.shape, "positives"))
    candidates, soft_candidates = (
        None if mask is None else _with_own(checks.mask(mask, logits.shape, name))
        for mask, name in ((candidates, "candidates"), (soft_candidates, "soft_candidates"))
    )
    own = cross_network_logits(queries, own_keys[:, :, None, :], temperature)
    logits = jnp.concatenate([own, logits], axis=-1)
    return logits, (positives, candidates, soft_candidates)


def _terms_of_logits(
    logits: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None,
    soft_candidates: jax.Array | None,
    soft_temperature: float | jax.Array | None,
    numerator: str,
    pair_weights: jax.Array | None,
    axis_name: str | None,
) -> MCLTerms:
    """The terms with all logits at hand."""
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
        if soft_temperature is None:
            return jnp.zeros((), logits.dtype)
        return term(
            logits,
            soft_candidates,
            soft_temperature=soft_temperature,
            pair_weights=pair_weights,
            axis_name=axis_name,
        )

    return MCLTerms(hard(vcl), soft(soft_vcl), hard(icl), soft(soft_icl))


def _with_own(mask: jax.Array) -> jax.Array:
    """Puts a true column in front: [..., K] -> [..., 1 + K]."""
    return jnp.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(1, 0)], constant_values=True)
