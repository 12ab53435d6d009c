"""Pixels as the numbers that a network takes."""

import jax
import jax.numpy as jnp

from mcl_jax.views.pixels import check_axes


def normalize(
    images: jax.Array, mean: jax.Array, std: jax.Array, dtype: jnp.dtype = jnp.float32
) -> jax.Array:
    """Pixels to numbers of about zero mean and unit spread.

    Computes ``(images - mean) / std`` for each channel; bytes are divided by 255 first.

    Args:
        images: [B, H, W, c], uint8, or floating in 0 ... 1 (or of another colour space's range).
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
    check_axes(images)
    wide = jnp.promote_types(dtype, jnp.float32)  # a mean in bfloat16 would move every pixel
    mean, std = jnp.asarray(mean, wide), jnp.asarray(std, wide)
    values = images.astype(wide)
    values = values / 255 if images.dtype == jnp.uint8 else values
    return ((values - mean) / std).astype(dtype)
