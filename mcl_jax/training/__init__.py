"""Training of any method: state, step, optimiser, devices, checkpoints, loop."""

from mcl_jax.training.loop import train_and_evaluate

__all__ = ["train_and_evaluate"]
