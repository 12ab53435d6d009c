"""Telling every row of a data set from every other: by a softmax, or by noise contrast.

Instance discrimination, arXiv 1805.01978. Row j of a bank stands for row j of the data set, and an
anchor has to pick its own among all N. Noise-contrastive estimation does so from K rows drawn at
random, given the softmax's denominator Z, which it takes for a constant.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp, softplus

from mcl_jax.losses import checks
from mcl_jax.losses.contrastive import info_nce
from mcl_jax.losses.masks import same_class
from mcl_jax.losses.reduction import anchor_mean
from mcl_jax.losses.similarity import cross_network_logits


def instance_discrimination(
    queries: jax.Array,
    bank: jax.Array,
    index: jax.Array,
    *,
    temperature: float | jax.Array,
    axis_name: str | None = None,
) -> jax.Array:
    """Cross-entropy of picking an anchor's own row out of a whole bank.

    Computes ``mean_i -log( exp(s[i, index[i]]) / sum_{j < N} exp(s[i, j]) )`` with
    ``s[i, j] = <queries[i], bank[j]> / temperature``.

    Args:
        queries: [B, D], unit vectors.
        bank: [N, D], unit vectors, one for each row of the data set. Gradients flow into it.
        index: [B], the anchors' rows of the bank, integer. An anchor whose row is not in the bank
            does not count.
        temperature: a scalar above 0.
        axis_name: mapped axis that the anchors are split over, or None. ``queries`` and ``index``
            are then the device's own; the bank is whole on every device.

    Returns:
        A scalar; ``log N`` where all rows of the bank are equal.

    Raises:
        TypeError: ``queries`` or ``bank`` is not floating, or ``index`` is not integer.
        ValueError: shapes do not fit together or ``temperature`` is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> bank = jnp.ones((4, 2))
        >>> index = jnp.array([3])
        >>> round(float(instance_discrimination(bank[:1], bank, index, temperature=0.1)), 4)
        1.3863

    Equals the authors' code where its number of noise rows is 0. The softmax over rows drawn of
    later codes is `info_nce` of those rows, the anchor's own among them; some of these codes leave
    out the temperature, or the own row from the denominator (then it is `decoupled`).
    """
    checks.rank(queries, 2, "queries", "[B, D]")
    batch, dim = queries.shape
    if jnp.ndim(bank) != 2 or bank.shape[1] != dim:
        raise ValueError(f"bank must be [N, D] with D = {dim}, got shape {jnp.shape(bank)}.")
    if jnp.shape(index) != (batch,):
        raise ValueError(f"index must have shape ({batch},), got {jnp.shape(index)}.")
    own = same_class(index, jnp.arange(bank.shape[0]))
    logits = cross_network_logits(queries[None], bank[None], temperature)[0, 0]
    return anchor_mean(info_nce(logits, own), jnp.any(own, axis=-1), axis_name)


def nce(
    positive: jax.Array,
    negatives: jax.Array,
    log_partition: float | jax.Array,
    num_rows: int | jax.Array,
) -> jax.Array:
    """Noise-contrastive estimation: the anchor's own row against K that are drawn uniformly.

    Computes, with ``P = exp(logit - log_partition)`` and ``N = num_rows``,
    ``-log( P_0 / (P_0 + K/N) ) - sum_{k=1}^{K} log( (K/N) / (P_k + K/N) )``. The partition is a
    constant: no gradient flows into it. The gradient tends to that of the softmax over all rows
    where ``K`` grows far beyond ``N`` and the partition is right.

    Args:
        positive: [..., B], the logits of the anchors' own rows (similarity over temperature).
        negatives: [..., B, K], those of rows drawn uniformly from all N, with replacement.
        log_partition: log Z, a scalar or broadcast to ``positive``; see `log_partition`.
        num_rows: N, above 0.

    Returns:
        [..., B]; finite for logits and partitions of any size.

    Raises:
        TypeError: ``positive`` or ``negatives`` is not floating.
        ValueError: shapes do not fit together, K is 0, or ``num_rows`` is not a scalar above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = nce(jnp.zeros(1), jnp.zeros((1, 2)), jnp.log(4.0), 8)  # P = K/N = 1/4
        >>> round(float(loss[0]), 4)  # 3 log 2
        2.0794

    The form of arXiv 1805.01978, of CMC (1906.05849) and of MCL-OKD (2006.04093). Their codes work
    with the probabilities themselves and add 1e-7 to the denominators, by which their values are
    up to 1e-7 N (K + 1) / K higher: 0.13 on ImageNet. Local Aggregation's code fixes Z at
    2.2456 N, which holds at the start of training, for D = 128 and temperature 0.07 alone.
    """
    checks.positive_number(num_rows, "num_rows")
    positive = checks.as_floating(positive, "positive")
    negatives = checks.as_floating(negatives, "negatives")
    shape = positive.shape
    if negatives.ndim == 0 or negatives.shape[:-1] != shape or negatives.shape[-1] == 0:
        raise ValueError(
            f"negatives must be [..., B, K] with K of 1 or more for positive [..., B] of shape "
            f"{shape}, got shape {negatives.shape}."
        )
    dtype = jnp.result_type(positive, negatives)
    log_z = lax.stop_gradient(jnp.asarray(log_partition, dtype))
    if not checks.broadcasts(log_z.shape, shape):
        raise ValueError(f"log_partition must broadcast to {shape}, got shape {log_z.shape}.")
    log_z = jnp.broadcast_to(log_z, shape)
    # Logit at which a row is as likely the anchor's own as one that was drawn: P = K/N.
    even = log_z + jnp.log(negatives.shape[-1] / jnp.asarray(num_rows, dtype))
    return softplus(even - positive) + jnp.sum(softplus(negatives - even[..., None]), axis=-1)


class Partition(NamedTuple):
    """Running mean of exp(logit), by which the partition Z of a softmax is estimated.

    Example:
        >>> import jax.numpy as jnp
        >>> partition = update_partition(init_partition(), jnp.zeros((2, 8)))
        >>> round(float(log_partition(partition, 100)), 4)  # log 100
        4.6052

    Attributes:
        log_mean: [], float32, the logarithm of the mean.
        batches: [], int32, how many batches it was taken over.
    """

    log_mean: jax.Array
    batches: jax.Array


def init_partition() -> Partition:
    """A partition before the first batch; its mean of 1 leaves no trace after that.

    Returns:
        Partition of log_mean 0 and no batches.

    Example:
        >>> int(init_partition().batches)
        0
    """
    return Partition(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))


def update_partition(
    partition: Partition,
    logits: jax.Array,
    *,
    momentum: float | jax.Array = 0.99,
    axis_name: str | None = None,
) -> Partition:
    """Takes the logits of a batch into the running mean of exp(logit).

    Computes ``mean <- (1 - r) mean + r mean(exp(logits))`` with
    ``r = max(1 / (batches + 1), 1 - momentum)``: the plain mean over the first
    ``1 / (1 - momentum)`` batches, an exponential one from then on. It is kept as a logarithm, so
    that nothing overflows. Gradients do not flow into it.

    Args:
        partition: Partition.
        logits: any shape, those of rows drawn uniformly (similarity over temperature).
        momentum: a scalar from 0 (the newest batch alone) to 1 (the mean of all batches).
        axis_name: mapped axis that the logits are split over, evenly, or None.

    Returns:
        Partition of one batch more.

    Raises:
        TypeError: ``logits`` is not floating.
        ValueError: ``logits`` is empty, or ``momentum`` is not a scalar from 0 to 1.

    Example:
        >>> import jax.numpy as jnp
        >>> partition = update_partition(init_partition(), jnp.log(jnp.array([1.0, 3.0])))
        >>> round(float(jnp.exp(partition.log_mean)), 4)
        2.0

    The authors of arXiv 1805.01978 and of CMC take the first batch alone, when the networks are
    still random, and count the anchors' own rows among the drawn; those of MCL-OKD (2006.04093)
    take the newest batch alone, which is a momentum of 0.
    """
    checks.share(momentum, "momentum")
    logits = lax.stop_gradient(checks.as_floating(logits, "logits"))
    if logits.size == 0:
        raise ValueError(f"logits must not be empty, got shape {logits.shape}.")
    log_mean = logsumexp(logits) - jnp.log(logits.size)
    if axis_name is not None:
        largest = lax.pmax(log_mean, checks.mapped_axis(axis_name))
        log_mean = largest + jnp.log(lax.pmean(jnp.exp(log_mean - largest), axis_name))
    batches = (partition.batches + 1).astype(partition.log_mean.dtype)
    rate = jnp.maximum(1 / batches, 1 - momentum)
    mixed = jnp.logaddexp(jnp.log1p(-rate) + partition.log_mean, jnp.log(rate) + log_mean)
    return Partition(mixed.astype(partition.log_mean.dtype), partition.batches + 1)


def log_partition(partition: Partition, num_rows: int | jax.Array) -> jax.Array:
    """Logarithm of the softmax's denominator over all rows.

    Computes ``log Z = log N + log mean(exp(logit))``.

    Args:
        partition: Partition; ``log N`` before the first batch.
        num_rows: N, above 0.

    Returns:
        A scalar.

    Raises:
        ValueError: ``num_rows`` is not a scalar above 0.

    Example:
        >>> round(float(log_partition(init_partition(), 10)), 4)  # log 10
        2.3026
    """
    checks.positive_number(num_rows, "num_rows")
    return partition.log_mean + jnp.log(jnp.asarray(num_rows, partition.log_mean.dtype))
