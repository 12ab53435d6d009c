"""A bank of rows as a method keeps it: one for each network and image, laid over devices.

The rows are split over the devices that the batch is split over, each holding a stretch; under
``pmap``, which keeps the state whole, every device has all. Their number is rounded up, so that it
divides and a run can go on on another number of devices; the rows that are too many are in no
mask, never drawn, and never moved.
"""

import math
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import memory
from mcl_jax.axes import agreed, gather, positions
from mcl_jax.data import Batch
from mcl_jax.methods.method import Setting

_UNIT = 64  # rows are rounded up to a multiple of it, as all usual numbers of devices divide it


class Anchors(NamedTuple):
    """The rows of a batch whose terms a device computes: of the whole batch where banks are split.

    Attributes:
        queries: [M, B, D].
        rows: [B], their own ones, of the bank.
        position: [B], places in the whole batch.
    """

    queries: jax.Array
    rows: jax.Array
    position: jax.Array


class RowBank(NamedTuple):
    """Banks of M networks.

    Attributes:
        networks: M.
        rows: N, of the data set.
        held: rows of all devices together, N rounded up.
        dim: D.
        momentum: of a row.
        split: axis that the rows are split over, or None where each device has all of them.
        anchors: axis that anchors are split over while terms are computed: that of the batch where
            the bank is whole, else None, since every device then computes the terms of all.
        data: axis that the batch is split over, or None.
        cohort: axis that networks are split over, or None.
    """

    networks: int
    rows: int
    held: int
    dim: int
    momentum: float
    split: str | None
    anchors: str | None
    data: str | None
    cohort: str | None

    @property
    def spec(self) -> PartitionSpec:
        """How the bank [M, N, D] lies over the mesh."""
        return PartitionSpec(None, self.split) if self.split else PartitionSpec()

    def init(self, key: jax.Array, params: Any) -> jax.Array:
        """Random unit vectors [M, N, D] in the dtype of the parameters."""
        bank = memory.init_bank(key, self.networks, self.held, self.dim)
        return bank.astype(jax.tree.leaves(params)[0].dtype)

    def anchors_of(self, embeddings: jax.Array, batch: Batch) -> Anchors:
        """The anchors of the terms, from this device's [M, b, D] and batch."""
        return Anchors(
            gather(embeddings, self.split, axis=1),
            gather(batch.index, self.split),
            gather(batch.position, self.split),
        )

    def places(self, bank: jax.Array) -> jax.Array:
        """Which rows of all this device's are: [N], int32."""
        return positions(bank.shape[1], self.split)

    def real(self, bank: jax.Array) -> jax.Array:
        """Marks this device's rows that are images: [N]."""
        return self.places(bank) < self.rows

    def own(self, bank: jax.Array, index: jax.Array) -> jax.Array:
        """Marks each anchor's own row among this device's: [B] to [B, N]."""
        return index[:, None] == self.places(bank)

    def others(self, bank: jax.Array, index: jax.Array) -> jax.Array:
        """Marks the rows that are other images than the anchor: [B] to [B, N]."""
        return self.real(bank) & ~self.own(bank, index)

    def moved(self, bank: jax.Array, embeddings: jax.Array, batch: Batch) -> jax.Array:
        """The bank after a step, from this device's [M, b, D] and batch."""
        newest = agreed(gather(embeddings, self.data, axis=1), self.cohort)
        index = gather(batch.index, self.data)
        return memory.update_bank(bank, index, newest, self.momentum, axis_name=self.split)

    def own_rows(self, bank: jax.Array, batch: Batch) -> jax.Array:
        """The rows [M, b, D] of this device's part of the batch."""
        if self.split is None:
            return memory.read_rows(bank, batch.index)
        read = memory.read_rows(bank, gather(batch.index, self.split), axis_name=self.split)
        return read[:, batch.position]


def row_bank(config: ConfigDict, setting: Setting) -> RowBank:
    """The banks of ``config.method`` for the rows that a method is built for."""
    rows = 1 if setting.labels is None else len(setting.labels)
    unit = math.lcm(_UNIT, setting.devices)
    data = setting.axes.data
    split = data if config.parallel.mapper == "shard_map" else None
    return RowBank(
        networks=config.method.networks,
        rows=rows,
        held=-(-rows // unit) * unit,
        dim=config.method.embedding_dim,
        momentum=config.method.bank_momentum,
        split=split,
        anchors=None if split else data,
        data=data,
        cohort=setting.axes.cohort,
    )
