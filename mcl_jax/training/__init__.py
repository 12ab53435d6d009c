"""Training of any method: state, step, optimiser, devices, checkpoints, loop."""

from mcl_jax.training.checkpoint import StorageError
from mcl_jax.training.guard import NotFiniteError
from mcl_jax.training.loop import restore, train_and_evaluate

__all__ = ["NotFiniteError", "StorageError", "restore", "train_and_evaluate"]
