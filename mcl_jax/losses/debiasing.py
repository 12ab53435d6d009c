"""Denominators without the positives, or without those that hide among the negatives."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp, softplus

from mcl_jax.losses import checks
from mcl_jax.losses.contrastive import info_nce


def decoupled(
    logits: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None = None,
    *,
    numerator: str = "mean_log",
) -> jax.Array:
    """Decoupled contrastive loss: no positive stands in the denominator.

    Computes `info_nce` with the candidates that are no positives: for one positive p,
    ``log sum_{k in candidates, k != p} exp(logits[k]) - logits[p]``.

    Args:
        logits: [..., B, K], floating.
        positives: bool, broadcast to ``logits``.
        candidates: bool, broadcast to ``logits``; None means every key.
        numerator: as in `info_nce`.

    Returns:
        [..., B], which may be negative; 0 for an anchor without a positive or without a negative.

    Raises:
        TypeError, ValueError: as `info_nce`.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = decoupled(jnp.zeros((1, 4)), jnp.array([[True, False, False, False]]))
        >>> round(float(loss[0]), 4)  # log 3
        1.0986

    Decoupled Contrastive Learning, arXiv 2110.06848, without the weights of its DCLW. There every
    anchor has one positive; of several, all are left out of the denominator here.
    """
    logits = checks.as_floating(logits, "logits")
    positives, negatives = _split(logits, positives, candidates)
    return info_nce(logits, positives, negatives, numerator=numerator)


def debiased(
    logits: jax.Array,
    positives: jax.Array,
    candidates: jax.Array | None = None,
    *,
    class_prior: float | jax.Array,
    temperature: float | jax.Array,
) -> jax.Array:
    """Debiased contrastive loss: corrects for the positives that hide among the negatives.

    Computes, with the ``n`` candidates that are no positives as negatives, the mean over the
    positives p of ``-log( exp(logits[p]) / (exp(logits[p]) + n g) )``, where

        g = max( (mean_{negatives} exp(logits) - class_prior mean_{positives} exp(logits))
                 / (1 - class_prior), exp(-1 / temperature) )

    estimates the mean over true negatives. With ``class_prior`` 0, one positive an anchor (among
    its candidates) and unit vectors this is `info_nce`; with several positives it is the mean over
    them of `info_nce` with that positive alone, and it and the negatives as candidates. Vectors
    must be of unit length because the floor, the least that these can reach, holds at any prior.

    Args:
        logits: [..., B, K], floating, already divided by the temperature.
        positives: bool, broadcast to ``logits``.
        candidates: bool, broadcast to ``logits``; None means every key.
        class_prior: probability that a negative is of the anchor's class, from 0 to below 1. No
            gradient flows into it.
        temperature: what the logits were divided by, for the floor of g.

    Returns:
        [..., B]; 0 for an anchor without a positive or without a negative. ``log(1 + n)`` where all
        logits are equal, at any prior.

    Raises:
        TypeError: ``logits`` is not floating or a mask is not boolean.
        ValueError: a mask does not broadcast, ``class_prior`` is not a scalar from 0 to below 1, or
            ``temperature`` is not a scalar above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> positive = jnp.array([[True, False, False, False]])
        >>> loss = debiased(jnp.zeros((1, 4)), positive, class_prior=0.1, temperature=0.5)
        >>> round(float(loss[0]), 4)  # log 4
        1.3863

    Debiased Contrastive Learning, arXiv 2007.00224. The authors' code has one positive an anchor,
    which it equals there, and sums exponentials unshifted, which overflow at low temperatures.
    """
    checks.positive_number(temperature, "temperature")
    known = jnp.ndim(class_prior) == 0 and checks.number(class_prior, "class_prior")
    if jnp.ndim(class_prior) != 0 or (known and not 0 <= class_prior < 1):
        raise ValueError(f"class_prior must be a scalar from 0 to below 1, got {class_prior}.")
    logits = checks.as_floating(logits, "logits")
    positives, negatives = _split(logits, positives, candidates)
    counts = jnp.any(positives, axis=-1) & jnp.any(negatives, axis=-1)
    prior = lax.stop_gradient(jnp.asarray(class_prior, logits.dtype))
    drawn = _log_mean_exp(logits, negatives, counts)
    hidden = _log_mean_exp(logits, positives, counts) + jnp.log(prior)
    # The estimate is positive only where `drawn` exceeds `hidden`, by more than rounding does.
    exceeds = hidden - drawn < -jnp.finfo(logits.dtype).eps
    gap = jnp.where(exceeds, hidden - drawn, -1)
    true_mean = drawn + jnp.log(-jnp.expm1(gap)) - jnp.log1p(-prior)
    floor = -1 / jnp.asarray(temperature, logits.dtype)
    mean = jnp.where(exceeds & (true_mean > floor), true_mean, floor)
    log_sum = mean + jnp.log(jnp.maximum(_number(negatives, logits.dtype), 1))
    terms = softplus(log_sum[..., None] - logits)
    value = jnp.sum(terms, axis=-1, where=positives)
    return jnp.where(counts, value / jnp.maximum(_number(positives, logits.dtype), 1), 0)


def _split(
    logits: jax.Array, positives: jax.Array, candidates: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """The positives, and the candidates that are none of them, as masks of the logits' shape."""
    positives = checks.mask(positives, logits.shape, "positives")
    candidates = checks.optional_mask(candidates, logits.shape, "candidates")
    return positives, ~positives if candidates is None else candidates & ~positives


def _number(mask: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """How many keys an anchor's mask holds: [..., K] -> [...]."""
    return jnp.sum(mask, axis=-1, dtype=dtype)


def _log_mean_exp(logits: jax.Array, mask: jax.Array, counts: jax.Array) -> jax.Array:
    """Logarithm of the mean of exp(logits) over the mask, finite where an anchor does not count."""
    log_sum = logsumexp(logits, axis=-1, where=mask | ~counts[..., None])
    return log_sum - jnp.log(jnp.maximum(_number(mask, logits.dtype), 1))
