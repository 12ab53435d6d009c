"""Operations on batches of images; random ones take a key for each row.

A key for each row, and not one for the batch, makes a row's view the same however the batch is
split over devices.
"""

import jax
import jax.numpy as jnp
from jax import lax


def pad_and_crop(keys: jax.Array, images: jax.Array, padding: int) -> jax.Array:
    """Pads with zeros on all sides, then cuts the old size out at a random place.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], any dtype.
        padding: pixels on each side; the offsets are uniform on 0 ... 2 padding.

    Returns:
        [B, H, W, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c], or ``padding`` is below 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> pad_and_crop(keys, jnp.ones((2, 8, 8, 3)), 1).shape
        (2, 8, 8, 3)
    """
    _check(images)
    if padding < 0:
        raise ValueError(f"padding must be at least 0, got {padding}.")
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    corners = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * padding + 1))(keys)

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(cut)(padded, corners)


def flip_horizontally(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Mirrors each image left to right with probability one half.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], any dtype.

    Returns:
        [B, H, W, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> flip_horizontally(keys, jnp.ones((2, 8, 8, 3))).shape
        (2, 8, 8, 3)
    """
    _check(images)
    flipped = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def normalize(
    images: jax.Array, mean: jax.Array, std: jax.Array, dtype: jnp.dtype = jnp.float32
) -> jax.Array:
    """Bytes to numbers of about zero mean and unit spread.

    Computes ``(images / 255 - mean) / std`` for each channel.

    Args:
        images: [B, H, W, c], uint8.
        mean: [c], of the training images scaled to 0 ... 1.
        std: [c], above 0.
        dtype: floating dtype of the result.

    Returns:
        [B, H, W, c], ``dtype``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c].

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.full((1, 2, 2, 1), 255, jnp.uint8)
        >>> float(normalize(image, jnp.array([0.5]), jnp.array([0.25]))[0, 0, 0, 0])
        2.0
    """
    _check(images)
    wide = jnp.promote_types(dtype, jnp.float32)  # a mean in bfloat16 would move every pixel
    mean, std = jnp.asarray(mean, wide), jnp.asarray(std, wide)
    return ((images.astype(wide) / 255 - mean) / std).astype(dtype)


def _check(images: jax.Array) -> None:
    if jnp.ndim(images) != 4:
        raise ValueError(f"images must have axes [B, H, W, c], got shape {jnp.shape(images)}.")
