"""Random numbers of an image: a function of its key alone, however the batch is split."""

import jax
import jax.numpy as jnp

from mcl_jax.views.pixels import check_number


def row_keys(key: jax.Array, rows: jax.Array) -> jax.Array:
    """A key for each of some rows: one key and places [B] in the whole batch to keys [B].

    A view then depends on the row, and not on how the batch is split over devices.
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, rows)


def folded(keys: jax.Array, number: int) -> jax.Array:
    """Each image's key for the view, or the step, of this number: [B] to [B]."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def uniforms(keys: jax.Array, count: int) -> jax.Array:
    """Uniform numbers on [0, 1), ``count`` for each of the keys [B]: [B, count], float32.

    Example:
        >>> import jax
        >>> uniforms(jax.random.split(jax.random.key(0), 2), 3).shape
        (2, 3)
    """
    return jax.vmap(lambda key: jax.random.uniform(key, (count,), jnp.float32))(keys)


def between(numbers: jax.Array, low: float, high: float) -> jax.Array:
    """Uniform numbers on [0, 1) as uniform numbers on [low, high)."""
    return low + (high - low) * numbers


def span(low: float, high: float) -> jax.Array:
    """A range as its least number and its width, float32 [2], as `spread` takes it.

    The width is rounded once, so that draws are those of `between` to the last bit.

    Example:
        >>> span(0.25, 1.0).tolist()
        [0.25, 0.75]
    """
    return jnp.asarray([low, high - low], jnp.float32)


def spread(numbers: jax.Array, least_and_width: jax.Array) -> jax.Array:
    """Uniform numbers on [0, 1) as uniform numbers on a `span`."""
    return least_and_width[0] + least_and_width[1] * numbers


def whole(numbers: jax.Array, count: int | jax.Array) -> jax.Array:
    """Uniform numbers on [0, 1) as uniform whole numbers 0 ... count - 1, int32."""
    return jnp.minimum(jnp.floor(numbers * count).astype(jnp.int32), count - 1)


def chances(keys: jax.Array, probability: float) -> jax.Array:
    """Whether something happens to an image: true with a probability.

    Args:
        keys: [B], JAX random keys, one an image.
        probability: in 0 ... 1; at 0 never, at 1 always.

    Returns:
        [B], bool.

    Raises:
        ValueError: ``probability`` is not in 0 ... 1.

    Example:
        >>> import jax
        >>> chances(jax.random.split(jax.random.key(0), 3), 1.0).tolist()
        [True, True, True]
    """
    check_number("probability", probability, 0, 1)
    return uniforms(keys, 1)[:, 0] < probability
