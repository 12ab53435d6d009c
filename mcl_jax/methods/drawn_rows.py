"""Terms of rows that each anchor draws out of a region of the banks, for each pair of networks.

A region is one of ranks, so the scores of all rows are at hand; a row that is drawn is a column of
them, and its logit is read there. Of a large bank, rows that are drawn from all are gathered, and
no other is met.
A draw is a number below the size of the region, and the row is the one before which so many of the
region stand: no shape depends on the region. All pairs of networks draw by the same numbers: where
the region is all rows, they draw the same.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mcl_jax import losses
from mcl_jax.axes import positions, psum
from mcl_jax.losses.reduction import anchor_mean, distinct_pairs
from mcl_jax.views.draws import row_keys

_HELD = 2**23  # numbers of keys that are held at once


class Drawn(NamedTuple):
    """Rows of the bank, each held by one device.

    Attributes:
        column: int32 [..., B, K], where among this device's rows.
        here: bool, as ``column``: whether it is this device that holds it.
        exists: bool, as ``column``; false where a region is empty.
    """

    column: jax.Array
    here: jax.Array
    exists: jax.Array


def numbers(key: jax.Array, position: jax.Array, number: int) -> jax.Array:
    """Random numbers [B, K], uint32, that follow an anchor's place in the whole batch."""
    keys = row_keys(key, position)
    return jax.vmap(lambda key: jax.random.bits(key, (number,), jnp.uint32))(keys)


def of_rows(rows: jax.Array, held: int, axis_name: str | None) -> Drawn:
    """Rows by their numbers, [..., B, K], of which a device holds so many."""
    column = rows - positions(held, axis_name)[0]
    here = (column >= 0) & (column < held)
    return Drawn(jnp.clip(column, 0, held - 1), here, jnp.ones(rows.shape, bool))


def from_others(numbers: jax.Array, own: jax.Array, rows: int) -> jax.Array:
    """Draws from all N rows but one's own [B], with replacement: the rows [B, K]."""
    others = (numbers % jnp.uint32(rows - 1)).astype(jnp.int32)
    return others + (others >= own[:, None])


def from_region(numbers: jax.Array, region: jax.Array, axis_name: str | None) -> Drawn:
    """Draws from a region, with replacement.

    Args:
        numbers: [B, K], random.
        region: bool [..., B, N], over this device's rows.
        axis_name: axis that rows are split over, in the order of the devices, or None.

    Returns:
        Drawn of [..., B, K].
    """
    held = region.shape[-1]
    upto = jnp.cumsum(region, axis=-1, dtype=jnp.int32)
    mine = upto[..., -1:]  # how many of the region this device holds
    size = psum(mine, axis_name)
    before = jnp.zeros_like(mine)  # and how many the devices before it
    if axis_name is not None:
        of_devices = jnp.cumsum(jax.lax.all_gather(mine, axis_name), axis=0)
        before = of_devices[jax.lax.axis_index(axis_name)] - mine
    rank = (numbers % jnp.maximum(size, 1).astype(jnp.uint32)).astype(jnp.int32) - before
    find: Callable[..., jax.Array] = jax.vmap(lambda x, y: jnp.searchsorted(x, y, side="right"))
    column = find(upto.reshape(-1, held), rank.reshape(-1, rank.shape[-1])).reshape(rank.shape)
    here = (rank >= 0) & (rank < mine)
    return Drawn(jnp.minimum(column, held - 1), here, jnp.broadcast_to(size > 0, rank.shape))


def with_own(own: jax.Array, drawn: Drawn, held: int, axis_name: str | None) -> Drawn:
    """Puts each anchor's own row [B] in front of what it has drawn: [..., B, 1 + K]."""
    mine = of_rows(own[:, None], held, axis_name)
    shape = (*drawn.column.shape[:-1], 1)
    return Drawn(
        *(
            jnp.concatenate([jnp.broadcast_to(x, shape), y], axis=-1)
            for x, y in zip(mine, drawn, strict=True)
        )
    )


def read(scores: jax.Array, drawn: Drawn, axis_name: str | None) -> jax.Array:
    """The scores [..., B, N] of the rows drawn: [..., B, K], the same on all devices."""
    column, here = (jnp.broadcast_to(x, (*scores.shape[:-1], x.shape[-1])) for x in drawn[:2])
    taken = jnp.take_along_axis(scores, column, axis=-1)
    return psum(jnp.where(here, taken, 0), axis_name)


def products(queries: jax.Array, bank: jax.Array, drawn: Drawn, axis_name: str | None) -> jax.Array:
    """Products of queries with rows that each anchor draws, the same rows for all pairs.

    The keys of all anchors would be M B K D numbers: those of a few at a time are held.

    Args:
        queries: [M, B, D].
        bank: [M, N, D], this device's rows.
        drawn: of [B, K].
        axis_name: axis that rows are split over, or None.

    Returns:
        [M, M, B, K], the same on all devices.
    """

    def of_anchor(anchor: tuple[jax.Array, Drawn]) -> jax.Array:
        query, (column, here, _) = anchor
        found = losses.cross_network_logits(query[:, None], bank[:, column], 1.0)
        return jnp.where(here, found[:, :, 0], 0)

    networks, anchors, dim = queries.shape
    at_once = max(1, _HELD // (networks * drawn.column.shape[-1] * dim))
    each = jax.lax.map(
        jax.checkpoint(of_anchor),
        (jnp.swapaxes(queries, 0, 1), drawn),
        batch_size=min(at_once, anchors),
    )
    return psum(jnp.moveaxis(each, 0, 2), axis_name)


def softmax_terms(
    logits: jax.Array, exists: jax.Array, pair_weights: jax.Array | None, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """VCL and ICL of logits [M, M, B, 1 + K], whose first column is the positive."""
    own = jnp.arange(logits.shape[-1]) == 0
    vcl, icl = (
        term(logits, own, exists, pair_weights=pair_weights, axis_name=axis_name)
        for term in (losses.vcl, losses.icl)
    )
    return vcl, icl


def nce_terms(
    logits: jax.Array,
    log_partition: jax.Array,
    rows: int,
    pair_weights: jax.Array | None,
    axis_name: str | None,
) -> tuple[jax.Array, jax.Array]:
    """The same by noise contrast, with a partition [M, M] for each pair and N rows."""
    values = losses.nce(logits[..., 0], logits[..., 1:], log_partition[..., None], rows)
    pairs = anchor_mean(values, jnp.ones(values.shape, bool), axis_name)
    weights = jnp.ones(pairs.shape) if pair_weights is None else pair_weights
    return jnp.sum(jnp.diagonal(pairs * weights)), distinct_pairs(pairs, weights)
