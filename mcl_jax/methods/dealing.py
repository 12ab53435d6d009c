"""Rows dealt out anew, so that keys are normalised among other rows than their queries are.

Were a key normalised with the very rows that its query is, statistics alone would tell which keys
are of the query's batch (He et al., arXiv 1911.05722, who shuffle rows at random over devices for
the networks that make keys). Here the rows are dealt like cards: with batch statistics over G runs
of n rows, run g of the keys gets the rows ``g, G + g, 2 G + g, ...``. Each run of the keys then has
an equal part of each run of the queries, nothing is drawn, and one device with G groups of
statistics does what G devices do. Where all rows are normalised together they stay as they are.
"""

import jax
from ml_collections import ConfigDict

from mcl_jax.methods.method import Setting


def runs(config: ConfigDict, setting: Setting) -> int:
    """G: in how many runs of consecutive rows the whole batch is normalised."""
    micro = config.training.micro_batches
    parts = setting.devices * micro
    if config.model.norm == "grouped":
        return config.model.norm_groups
    # Synced statistics are of a micro-batch, which has a run of each device.
    whole = config.model.norm == "group" or (config.model.norm == "sync" and micro == 1)
    return 1 if whole else parts


def row_dealt_to(place: jax.Array, rows: int, groups: int) -> jax.Array:
    """The row of the batch whose key is made in a place.

    Computes ``(place mod n) G + floor(place / n)`` with ``n = rows / G``. Of ``rows / groups``
    groups it is the inverse: the place that a row is dealt to.

    Args:
        place: integer, any shape, from 0.
        rows: B, of the whole batch.
        groups: G, which divides B.

    Example:
        >>> import jax.numpy as jnp
        >>> dealt = row_dealt_to(jnp.arange(6), 6, 2)
        >>> dealt.tolist(), row_dealt_to(dealt, 6, 3).tolist()
        ([0, 2, 4, 1, 3, 5], [0, 1, 2, 3, 4, 5])
    """
    each = rows // groups
    return place % each * groups + place // each
