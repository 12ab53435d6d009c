"""Contrast between two networks that each see their own part of an image."""

import jax
import jax.numpy as jnp

from mcl_jax.losses import checks
from mcl_jax.losses.bounds import ScoreBounds
from mcl_jax.losses.terms import mcl_terms


def cmc(
    queries: jax.Array,
    keys: jax.Array,
    positives: jax.Array | None = None,
    candidates: jax.Array | None = None,
    *,
    own_keys: jax.Array | None = None,
    temperature: float | jax.Array,
    numerator: str = "mean_log",
    axis_name: str | None = None,
    chunk_size: int | str | None = None,
    keys_axis_name: str | None = None,
    region: ScoreBounds | None = None,
) -> jax.Array:
    """Contrastive multiview coding: each view's network picks the row among the other's keys.

    Computes `icl` of two networks, without a contrast within either: the loss of network 0's
    queries with network 1's keys plus that of network 1's queries with network 0's keys, each the
    mean over its anchors.

    Args:
        queries: [2, B, D], unit vectors; the leading axis is the view that a network sees.
        keys: [2, K, D], shared by the batch, or [2, B, K, D], a set for each anchor: of the batch,
            a bank or a queue.
        positives: bool over ``keys``, broadcast to [2, 2, B, K]. May be None with ``own_keys``.
        candidates: bool over ``keys``, broadcast to [2, 2, B, K]; None means every key.
        own_keys: [2, B, D], each anchor's own key, put in front of ``keys``, always positive.
        temperature: a scalar above 0.
        numerator: as in `info_nce`.
        axis_name: mapped axis that the anchors are split over, or None; as in `mcl_terms`.
        chunk_size: keys that are met at once, as in `mcl_terms`.
        keys_axis_name: mapped axis that the keys are split over, or None; as in `mcl_terms`.
        region: bounds of scores [2, 2, B] that narrow the candidates, as in `mcl_terms`.

    Returns:
        A scalar; ``2 log K`` where all embeddings are equal (``2 log(1 + K)`` with ``own_keys``).

    Raises:
        TypeError: an input is not floating, or a mask is not boolean.
        ValueError: ``queries`` is not of two networks; otherwise as `mcl_terms`.

    Example:
        >>> import jax.numpy as jnp
        >>> z = jnp.ones((2, 4, 1))
        >>> round(float(cmc(z, z, jnp.eye(4, dtype=bool), temperature=0.1)), 4)  # 2 log 4
        2.7726

    Contrastive Multiview Coding, arXiv 1906.05849. Equals the softmax form of the authors' codes,
    which take the keys from two banks (here ``own_keys`` are the anchors' rows and ``keys`` the
    rows drawn) or two queues. Their other form is `nce` of the same logits.
    """
    checks.rank(queries, 3, "queries", "[2, B, D]")
    if queries.shape[0] != 2:
        raise ValueError(
            f"queries must be of two networks, [2, B, D], got shape {jnp.shape(queries)}."
        )
    return mcl_terms(
        queries,
        keys,
        positives,
        candidates,
        own_keys=own_keys,
        temperature=temperature,
        soft_temperature=None,
        numerator=numerator,
        axis_name=axis_name,
        chunk_size=chunk_size,
        keys_axis_name=keys_axis_name,
        region=region,
    ).icl
