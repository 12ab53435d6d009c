"""Cutout, arXiv 1708.04552: a square of each image is blanked."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax.views.draws import uniforms, whole
from mcl_jax.views.pixels import check_pixels, check_whole


def draw_cutout(keys: jax.Array, height: int, width: int) -> jax.Array:
    """Middles of the squares, uniform over the pixels.

    Args:
        keys: [B], JAX random keys, one an image.
        height: of the images.
        width: of the images.

    Returns:
        int32 [B, 2], row and column.

    Example:
        >>> import jax
        >>> keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4))
        >>> jax.eval_shape(lambda keys: draw_cutout(keys, 32, 32), keys).shape
        (4, 2)
    """
    return whole(uniforms(keys, 2), jnp.array([height, width]))


def blank(
    images: jax.Array, middles: jax.Array, size: int, *, fill: float | Sequence[float] = 0
) -> jax.Array:
    """Sets a square of each image to ``fill``.

    The square has the rows ``r - size // 2`` to ``r - size // 2 + size - 1`` around its middle row
    r, columns likewise; what lies outside the image is lost. (The authors' code makes squares of
    an odd ``size`` one pixel smaller.)

    Args:
        images: [B, H, W, c], uint8 or floating.
        middles: int [B, 2], row and column of each square's middle.
        size: pixels a side, at least 1.
        fill: value inside, or one a channel, in units of ``images``.

    Returns:
        [B, H, W, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c] of pixels, ``middles`` is not [B, 2], ``size``
            is below 1, or ``fill`` has neither one nor c values.

    Example:
        >>> import jax.numpy as jnp
        >>> blank(jnp.ones((1, 1, 4, 1)), jnp.array([[0, 2]]), 2).ravel().tolist()
        [1.0, 0.0, 0.0, 1.0]
    """
    check_pixels(images)
    check_whole("size", size, 1)
    rows, height, width, channels = images.shape
    if jnp.shape(middles) != (rows, 2):
        raise ValueError(f"middles must be [{rows}, 2], got shape {jnp.shape(middles)}.")
    if np.shape(fill) not in ((), (channels,)):
        raise ValueError(f"fill must be one value or {channels}, got shape {np.shape(fill)}.")
    first = jnp.asarray(middles)[:, :, None] - size // 2
    down = (jnp.arange(height) >= first[:, 0]) & (jnp.arange(height) < first[:, 0] + size)
    across = (jnp.arange(width) >= first[:, 1]) & (jnp.arange(width) < first[:, 1] + size)
    inside = (down[:, :, None] & across[:, None, :])[..., None]
    return jnp.where(inside, jnp.asarray(fill, images.dtype), images)


def cutout(
    keys: jax.Array, images: jax.Array, size: int, *, fill: float | Sequence[float] = 0
) -> jax.Array:
    """Sets a square around a uniformly drawn pixel of each image to ``fill``.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], uint8 or floating.
        size: pixels a side, at least 1; the paper takes 16 of 32 for CIFAR-10 and 8 for CIFAR-100.
        fill: value inside, or one a channel, in units of ``images``.

    Returns:
        [B, H, W, c], dtype of ``images``.

    Raises:
        ValueError: as `blank` does.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
        >>> jax.eval_shape(lambda *batch: cutout(*batch, 4), keys, jnp.ones((2, 8, 8, 3))).shape
        (2, 8, 8, 3)
    """
    check_pixels(images)
    return blank(images, draw_cutout(keys, *images.shape[1:3]), size, fill=fill)
