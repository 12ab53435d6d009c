"""Neighbours of an anchor: the rows of its clusters, found anew in each network's bank every epoch.

Until there are clusters every row is a cluster of its own, so that an anchor's only neighbour is
itself. k-means runs on the host, and is a function of the run's key, the step and the bank.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import clustering, losses
from mcl_jax.axes import psum
from mcl_jax.config import ConfigError
from mcl_jax.data import Split
from mcl_jax.methods.drawn_rows import of_rows
from mcl_jax.methods.method import Setting
from mcl_jax.methods.row_bank import RowBank

_ROWS_OF_A_CLUSTER = 43  # as in the authors' runs: 1,281,167 rows in 30,000 clusters


class Clusters(NamedTuple):
    """Clusterings of the banks, in ``extras["clusters"]``.

    Attributes:
        bank: of whose rows they are.
        number: k.
        runs: H.
        combine: ``"union"`` or ``"intersection"`` of an anchor's clusters.
        begins: the step of the first clusterings.
    """

    bank: RowBank
    number: int
    runs: int
    combine: str
    begins: int

    @property
    def spec(self) -> PartitionSpec:
        """How the clusters [M, H, N] lie over the mesh: as the bank's rows."""
        return PartitionSpec(None, None, self.bank.split) if self.bank.split else PartitionSpec()

    def init(self) -> jax.Array:
        """Every row alone: [M, H, N], int32."""
        rows = jnp.arange(self.bank.held, dtype=jnp.int32)
        return jnp.broadcast_to(rows, (self.bank.networks, self.runs, self.bank.held))

    def refresh(self, state: Any, source: Split) -> dict[str, np.ndarray] | None:
        """New clusters of the banks of a state, or None before they begin; as `Method` has it."""
        del source
        step = int(state.step)
        if step < self.begins:
            return None
        data = jax.random.key_data(jax.random.fold_in(state.key, step))
        seed = int.from_bytes(np.asarray(data).astype(">u4").tobytes(), "big")
        # In float32 what the number of devices changes of float64 is rounded away.
        banks = np.asarray(state.extras["bank"], np.float32)[:, : self.bank.rows]
        # All networks start alike, so that they can change places.
        found = [clustering.kmeans(x, self.number, runs=self.runs, seed=seed) for x in banks]
        extra = [(0, 0), (0, 0), (0, self.bank.held - self.bank.rows)]
        return {"clusters": np.pad(np.stack(found), extra, constant_values=-1)}

    def neighbours(self, clusters: jax.Array, index: jax.Array) -> jax.Array:
        """Marks the rows in an anchor's clusters, itself among them: bool [M, B, N].

        Args:
            clusters: [M, H, N], of this device's rows.
            index: [B], the anchors' rows among those of all devices.
        """
        mine = of_rows(index, clusters.shape[-1], self.bank.split)
        taken = jnp.where(mine.here, clusters[:, :, mine.column], 0)
        taken = psum(taken, self.bank.split)
        close = [
            losses.close_neighbours(x, y, self.combine)
            for x, y in zip(taken, clusters, strict=True)
        ]
        return jnp.stack(close)


def clusters(config: ConfigDict, setting: Setting, bank: RowBank, begins: int) -> Clusters:
    """The clusterings of ``config.method``.

    Args:
        config: of the run.
        setting: of which it is read whether there are training rows.
        bank: the banks.
        begins: the step of the first ones.

    Raises:
        ConfigError: there are more clusters than rows.
    """
    options = config.method
    if setting.labels is not None and options.clusters > bank.rows:
        raise ConfigError(
            f"method.clusters must be at most the {bank.rows} training rows, got "
            f"{options.clusters}."
        )
    number = options.clusters or max(1, round(bank.rows / _ROWS_OF_A_CLUSTER))
    return Clusters(bank, number, options.cluster_runs, options.combine, begins)
