"""Means over anchors, the same on one device and on many, and sums over networks and pairs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses import checks


class MCLTerms(NamedTuple):
    """The four scalars of `mcl_terms`.

    Attributes:
        vcl: contrast within each network; the authors weigh it by alpha.
        soft_vcl: networks' own distributions teach each other; gamma.
        icl: contrast across networks; beta.
        soft_icl: opposite directions of a pair teach each other; lambda.
    """

    vcl: jax.Array
    soft_vcl: jax.Array
    icl: jax.Array
    soft_icl: jax.Array


def anchor_mean(values: jax.Array, counts: jax.Array, axis_name: str | None) -> jax.Array:
    """Mean over the anchors that count, on all devices together.

    Computes ``sum_i values[..., i] / sum_i counts[..., i]``, 0 where no anchor counts.

    Args:
        values: [..., B], zero for an anchor that does not count.
        counts: [..., B], bool.
        axis_name: mapped axis that the anchors are split over, or None. Numerator and count are
            summed over it before dividing: a mean of the devices' means is another number where
            their counts differ.

    Returns:
        [...], the dtype of ``values``.
    """
    total = jnp.sum(values, axis=-1)
    count = jnp.sum(counts, axis=-1, dtype=values.dtype)
    if axis_name is not None:
        total, count = lax.psum((total, count), checks.mapped_axis(axis_name))
    return total / jnp.maximum(count, 1)


def network_diagonal(x: jax.Array) -> jax.Array:
    """Keeps each network with itself: [M, M, ...] -> [M, ...]."""
    return jnp.moveaxis(jnp.diagonal(x, axis1=0, axis2=1), -1, 0)


def distinct_pairs(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted sum of ``values`` [M, M] over the ordered pairs of different networks."""
    different = ~jnp.eye(values.shape[0], dtype=bool)
    return jnp.sum(jnp.where(different, values * weights, 0))
