"""What networks say of images."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Output(NamedTuple):
    """What networks say of images.

    Attributes:
        features: a tuple with an [m, B, F] for each group of like networks.
        embeddings: [M, B, D], unit vectors.
        logits: [M, B, C], of the classes.
    """

    features: tuple[jax.Array, ...]
    embeddings: jax.Array
    logits: jax.Array


def ensemble(logits: jax.Array | np.ndarray) -> jax.Array:
    """The cohort's common answer: the mean of the networks' logits, [M, B, C] to [B, C].

    Example:
        >>> import jax.numpy as jnp
        >>> ensemble(jnp.array([[[0.0, 2.0]], [[2.0, 2.0]]])).tolist()
        [[1.0, 2.0]]
    """
    return jnp.mean(logits, axis=0)
