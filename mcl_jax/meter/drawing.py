"""Views as the meter sees them: drawn in batches of one size, standardised."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Pair = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
"""Keys [B] and rows [B, ...] to two views of each row, [B, ...] and [B, ...]."""

Draw = Callable[[jax.Array, jax.Array, int, int], tuple[jax.Array, jax.Array]]
"""Key, rows, B batches and their size S to two views of B S rows, drawn without replacement."""

_ROWS = 1024  # that a sample has at least, where there are as many


class Scale(NamedTuple):
    """Mean and spread of a view's channels: [c] or [F]."""

    mean: jax.Array
    spread: jax.Array

    def __call__(self, view: jax.Array) -> jax.Array:
        """The view with mean 0 and spread 1."""
        return (view - self.mean) / self.spread


def drawer(pair: Pair) -> Draw:
    """Draws views a batch at a time: of one size of batch, one program makes any number."""

    @jax.jit
    def make(keys: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = pair(keys, rows)
        return first.astype(jnp.float32), second.astype(jnp.float32)

    def draw(
        key: jax.Array, rows: jax.Array, batches: int, size: int
    ) -> tuple[jax.Array, jax.Array]:
        row_key, view_key = jax.random.split(key)
        chosen = jax.random.permutation(row_key, len(rows))[: batches * size]
        chosen = chosen.reshape(batches, size)
        keys = jax.random.split(view_key, (batches, size))
        made = [make(keys[batch], rows[chosen[batch]]) for batch in range(batches)]
        first, second = (jnp.concatenate(views) for views in zip(*made, strict=True))
        return first, second

    return draw


def sample(draw: Draw, key: jax.Array, rows: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Views that statistics are of: the fewest batches that hold 1,024 rows, or all there are."""
    return draw(key, rows, min(-(-_ROWS // size), len(rows) // size), size)


def scale(view: jax.Array) -> Scale:
    """Mean and spread of channels, or of a vector's numbers; 1 for those that never change."""
    axes = tuple(range(view.ndim - 1))
    spread = jnp.std(view, axis=axes)
    return Scale(jnp.mean(view, axis=axes), jnp.where(spread > 1e-6, spread, 1.0))
