"""Checkpoints of a run's whole state, by Orbax."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from mcl_jax.training.state import TrainState


class Checkpoints:
    """The newest states of a run, in a folder of its workdir."""

    def __init__(self, folder: pathlib.Path, keep: int) -> None:
        """Opens or makes the folder; ``keep`` newest states stay."""
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=True,
            # The step donates the state: a save must have read it before the next step runs.
            enable_async_checkpointing=False,
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def latest_step(self) -> int | None:
        """The step of the newest complete state, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Writes the state, whole or not at all, unless its step is there already."""
        step = int(state.step)
        if step != self.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, step: int, like: Any) -> TrainState:
        """Reads a state onto the shapes, dtypes and devices of ``like``."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
