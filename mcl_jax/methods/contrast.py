"""What methods of mutual contrast make of the four terms: their weights, and which are wanted."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict


def weighted(config: ConfigDict, terms: Mapping[str, jax.Array]) -> jax.Array:
    """The sum of the terms, each times its ``config.method.weights``."""
    weights = config.method.weights
    return sum((weights[name] * term for name, term in terms.items()), start=jnp.zeros(()))


def soft_temperature(config: ConfigDict) -> float | None:
    """T, or None where no soft term counts, which then cost nothing."""
    weights = config.method.weights
    return config.method.soft_temperature if weights.soft_vcl or weights.soft_icl else None


def bound_temperature(config: ConfigDict) -> float | None:
    """The temperature of a bound on mutual information, None where a batch allows of none.

    Rows of a batch are draws from the data only where any row may stand beside any other.
    """
    return config.method.temperature if config.data.sampler == "shuffled" else None
