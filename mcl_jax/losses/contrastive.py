"""InfoNCE, within a network (VCL) and across networks (ICL).

Mutual Contrastive Learning, arXiv 2104.12565. With ``P(i)`` the positives of anchor i and ``C(i)``
its candidates,

    L_i = -1/|P(i)| sum_{p in P(i)} log( exp(logits[i, p]) / sum_{k in C(i)} exp(logits[i, k]) ).

VCL takes the logits of network a's queries with its own keys, ICL those with network b's.
"""

import jax
import jax.numpy as jnp
from jax.nn import logsumexp

from mcl_jax.losses import checks
from mcl_jax.losses.reduction import anchor_mean, distinct_pairs, network_diagonal

_NUMERATORS = ("mean_log", "log_sum")


def info_nce(
    logits: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None = None,
    *,
    numerator: str = "mean_log",
) -> jax.Array:
    """Cross-entropy of picking the positives out of the candidates, for each anchor.

    Computes, with ``Z = sum over candidates of exp(logits)``,

    * ``"mean_log"``: ``mean over positives of (log Z - logits)`` (SupCon's L_out),
    * ``"log_sum"``: ``log Z - log sum over positives of exp(logits)`` (SupCon's L_in).

    Args:
        logits: [..., B, K], floating.
        positives: bool, broadcast to ``logits``. They need not be candidates.
        candidates: bool, broadcast to ``logits``; None means every key.
        numerator: ``"mean_log"`` or ``"log_sum"``.

    Returns:
        [..., B]; 0 for an anchor without a positive (or without a candidate), with zero gradient.

    Raises:
        TypeError: ``logits`` is not floating or a mask is not boolean.
        ValueError: a mask does not broadcast, or ``numerator`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = info_nce(jnp.zeros((1, 4)), jnp.array([[True, False, False, False]]))
        >>> round(float(loss[0]), 4)  # log 4
        1.3863

    SupCon is arXiv 2004.11362. The authors of MCL sum exponentials unshifted and divide by zero
    where an anchor has no positive.
    """
    check_numerator(numerator)
    logits = checks.as_floating(logits, "logits")
    if logits.ndim < 2:
        raise ValueError(f"logits must have axes [..., B, K], got shape {logits.shape}.")
    positives = checks.mask(positives, logits.shape, "positives")
    candidates = checks.optional_mask(candidates, logits.shape, "candidates")
    counts = _counted_anchors(positives, candidates)
    # An anchor that does not count gets every key, so that its logarithms stay finite.
    log_partition = logsumexp(
        logits, axis=-1, where=None if candidates is None else candidates | ~counts[..., None]
    )
    if numerator == "mean_log":
        number = jnp.sum(positives, axis=-1, dtype=logits.dtype)
        positive = jnp.sum(logits, axis=-1, where=positives) / jnp.maximum(number, 1)
    else:
        positive = logsumexp(logits, axis=-1, where=positives | ~counts[..., None])
    return jnp.where(counts, log_partition - positive, 0)


def check_numerator(numerator: str) -> None:
    """Raises ValueError unless ``numerator`` is a way to join several positives."""
    if numerator not in _NUMERATORS:
        raise ValueError(f"numerator must be one of {_NUMERATORS}, got {numerator!r}.")


def _counted_anchors(positives: jax.Array, candidates: jax.Array | None) -> jax.Array:
    """Marks the anchors that have a positive and a candidate: [..., B, K] -> [..., B]."""
    has_positive = jnp.any(positives, axis=-1)
    return has_positive if candidates is None else has_positive & jnp.any(candidates, axis=-1)


def vcl(
    logits: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None = None,
    *,
    numerator: str = "mean_log",
    pair_weights: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Vanilla contrastive loss: each network's queries against its own keys.

    Computes ``sum_a w[a, a] mean_i info_nce(logits[a, a])[i]``, the mean over the anchors that
    have a positive and a candidate.

    Args:
        logits: [M, M, B, K], from `cross_network_logits`.
        positives: bool, broadcast to ``logits``.
        candidates: bool, broadcast to ``logits``; None means every key.
        numerator: as in `info_nce`.
        pair_weights: [M, M], of which the diagonal is used; None weighs every network 1.
        axis_name: mapped axis that the anchors are split over, or None.

    Returns:
        A scalar; 0 if no anchor has a positive.

    Raises:
        TypeError, ValueError: as `info_nce`; ``logits`` is not [M, M, B, K]; ``pair_weights`` is
            not [M, M].

    Example:
        >>> import jax.numpy as jnp
        >>> positives = ~jnp.eye(2, dtype=bool)
        >>> round(float(vcl(jnp.zeros((3, 3, 2, 2)), positives)), 4)  # 3 log 2
        2.0794
    """
    logits, weights = checks.network_pairs(logits, pair_weights)
    positives = checks.mask(positives, logits.shape, "positives")
    candidates = checks.optional_mask(candidates, logits.shape, "candidates")
    own = _mean_info_nce(
        network_diagonal(logits),
        network_diagonal(positives),
        None if candidates is None else network_diagonal(candidates),
        numerator,
        axis_name,
    )
    return jnp.sum(own * jnp.diagonal(weights))


def icl(
    logits: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None = None,
    *,
    numerator: str = "mean_log",
    pair_weights: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Interactive contrastive loss: each network's queries against every other network's keys.

    Computes ``sum_{a != b} w[a, b] mean_i info_nce(logits[a, b])[i]``, the mean over the anchors
    that have a positive and a candidate. Nothing is stopped: queries and keys both get gradients.

    Args:
        logits: [M, M, B, K], from `cross_network_logits`.
        positives: bool, broadcast to ``logits``.
        candidates: bool, broadcast to ``logits``; None means every key.
        numerator: as in `info_nce`.
        pair_weights: [M, M]; entry [a, b] weighs what network a learns from keys of network b.
        axis_name: mapped axis that the anchors are split over, or None.

    Returns:
        A scalar; 0 for one network, or if no anchor has a positive.

    Raises:
        TypeError, ValueError: as `vcl`.

    Example:
        >>> import jax.numpy as jnp
        >>> positives = ~jnp.eye(2, dtype=bool)
        >>> round(float(icl(jnp.zeros((2, 2, 2, 2)), positives)), 4)  # 2 log 2
        1.3863
    """
    logits, weights = checks.network_pairs(logits, pair_weights)
    positives = checks.mask(positives, logits.shape, "positives")
    candidates = checks.optional_mask(candidates, logits.shape, "candidates")
    pairs = _mean_info_nce(logits, positives, candidates, numerator, axis_name)
    return distinct_pairs(pairs, weights)


def _mean_info_nce(
    logits: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None,
    numerator: str,
    axis_name: str | None,
) -> jax.Array:
    """Mean of `info_nce` over the anchors that count: [..., B, K] -> [...]."""
    values = info_nce(logits, positives, candidates, numerator=numerator)
    return anchor_mean(values, _counted_anchors(positives, candidates), axis_name)
