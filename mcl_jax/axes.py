"""Collectives over mapped axes that may be absent.

The same function then runs alone, under `shard_map` and under `pmap`: an axis name of None means
that nothing is split, and every collective is the identity.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Axes(NamedTuple):
    """Names of the mapped axes that a step runs under.

    Attributes:
        data: the axis that anchors are split over, or None on one device.
        cohort: the axis that networks are split over, or None where every device has them all.
    """

    data: str | None = None
    cohort: str | None = None


def pmean(tree: Any, axis_name: str | None) -> Any:
    """Mean of every leaf over the axis."""
    return tree if axis_name is None else lax.pmean(tree, axis_name)


def own(tree: Any, axis_name: str | None) -> Any:
    """Every leaf, the same on all devices of the axis, as each device's own.

    Gradients with respect to the result are then each device's, not summed over the axis as soon
    as they arise.
    """
    if axis_name is None:
        return tree
    return jax.tree.map(lambda x: lax.pcast(x, axis_name, to="varying"), tree)


def agreed(tree: Any, axis_name: str | None) -> Any:
    """Every leaf, equal on all devices of the axis, as one that `shard_map` knows to be so.

    It is what keeps a value that was gathered in a state which all devices share. Floating leaves
    keep every bit, and have no gradient.
    """
    return tree if axis_name is None else lax.pmax(lax.stop_gradient(tree), axis_name)


def psum(tree: Any, axis_name: str | None) -> Any:
    """Sum of every leaf over the axis."""
    return tree if axis_name is None else lax.psum(tree, axis_name)


def size(axis_name: str | None) -> int:
    """Number of devices on the axis, 1 without one."""
    return 1 if axis_name is None else lax.axis_size(axis_name)


def everywhere(holds: jax.Array, axis_name: str | None) -> jax.Array:
    """Whether ``holds`` [] is true on all devices of the axis."""
    if axis_name is None:
        return holds
    return lax.pmin(holds.astype(jnp.int32), axis_name) > 0


def gather(x: jax.Array, axis_name: str | None, *, axis: int = 0) -> jax.Array:
    """Joins the devices' parts of ``x`` along ``axis``, in the order of the devices."""
    return x if axis_name is None else lax.all_gather(x, axis_name, axis=axis, tiled=True)


def positions(local: int, axis_name: str | None) -> jax.Array:
    """Positions [B] of this device's ``local`` rows in the whole batch, int32."""
    first = 0 if axis_name is None else lax.axis_index(axis_name) * local
    return first + jnp.arange(local, dtype=jnp.int32)
