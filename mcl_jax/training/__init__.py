"""Training of any method: state, step, optimiser, devices, checkpoints, loop."""

from mcl_jax.training.loop import restore, train_and_evaluate

__all__ = ["restore", "train_and_evaluate"]
