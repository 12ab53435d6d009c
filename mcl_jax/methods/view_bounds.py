"""Bounds on what the views of different networks share, as losses of critics and generators.

``[M, M]``, in nats: entry [a, b] reads network a's embeddings as queries and b's as keys.
Numerators and counts are those of all devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import losses, mutual_information
from mcl_jax.axes import agreed, gather, pmean, positions, psum
from mcl_jax.data import Batch
from mcl_jax.losses.reduction import anchor_mean
from mcl_jax.methods import drawn_rows
from mcl_jax.methods.row_bank import RowBank

Bound = Callable[[jax.Array, Any, Batch, jax.Array], jax.Array]
"""Embeddings [M, b, D], extras, their rows' batch and a key to [M, M]."""


def info_nce(temperature: float, axis_name: str | None) -> Bound:
    """``log B - CE``: which of the batch's B rows a query's own key is.

    Args:
        temperature: of the scores, of unit vectors.
        axis_name: mapped axis that the batch is split over, or None.
    """

    def bound(embeddings: jax.Array, extras: Any, batch: Batch, key: jax.Array) -> jax.Array:
        del extras, batch, key
        keys = gather(embeddings, axis_name, axis=1)
        logits = losses.cross_network_logits(embeddings, keys, temperature)
        loss = losses.info_nce(logits, _own(logits, axis_name))
        mean = anchor_mean(loss, jnp.ones(loss.shape, bool), axis_name)
        return mutual_information.lower_bound(mean, keys.shape[1])

    return bound


def donsker_varadhan(axis_name: str | None) -> Bound:
    """``mean_i s_ii - log mean_{i != j} exp(s_ij)`` of scores without a bound of their own.

    Args:
        axis_name: mapped axis that the batch is split over, or None.
    """

    def bound(embeddings: jax.Array, extras: Any, batch: Batch, key: jax.Array) -> jax.Array:
        del extras, batch, key
        scores = losses.cross_network_logits(embeddings, gather(embeddings, axis_name, axis=1), 1.0)
        own = _own(scores, axis_name)
        joint = jnp.mean(jnp.sum(jnp.where(own, scores, 0), axis=-1), axis=-1)
        apart = jnp.where(own, -jnp.inf, scores)
        largest = agreed(jnp.max(apart, axis=(-2, -1)), axis_name)
        powers = jnp.exp(apart - largest[..., None, None])
        total = psum(jnp.sum(powers, axis=(-2, -1)), axis_name)
        rows = scores.shape[-1]
        others = largest + jnp.log(total / (rows * (rows - 1)))
        return pmean(joint, axis_name) - others

    return bound


def of_bank(config: ConfigDict, bank: RowBank) -> Bound:
    """``log(K + 1) - CE``: a query's own row of a bank among K that are drawn from all others.

    Rows of network b are positives and negatives of network a's queries, as in contrastive
    multiview coding (arXiv 1906.05849). Rows are of earlier steps: nothing is learned by them.

    Args:
        config: of the run.
        bank: of the networks, ``extras["bank"]``.
    """
    number = config.method.negatives

    def bound(embeddings: jax.Array, extras: Any, batch: Batch, key: jax.Array) -> jax.Array:
        rows = extras["bank"]
        anchors = bank.anchors_of(embeddings, batch)
        numbers = drawn_rows.numbers(key, anchors.position, number)
        others = drawn_rows.from_others(numbers, anchors.rows, bank.rows)
        drawn = drawn_rows.of_rows(others, rows.shape[1], bank.split)
        drawn = drawn_rows.with_own(anchors.rows, drawn, rows.shape[1], bank.split)
        logits = drawn_rows.products(anchors.queries, rows, drawn, bank.split)
        logits = logits / config.method.temperature
        loss = losses.info_nce(logits, jnp.arange(number + 1) == 0)
        mean = anchor_mean(loss, jnp.ones(loss.shape, bool), bank.anchors)
        return mutual_information.lower_bound(mean, number + 1)

    return bound


def _own(scores: jax.Array, axis_name: str | None) -> jax.Array:
    """Marks each query's own key among those of all devices: [b, B] of scores [..., b, B]."""
    mine = positions(scores.shape[-2], axis_name)
    return mine[:, None] == jnp.arange(scores.shape[-1])
