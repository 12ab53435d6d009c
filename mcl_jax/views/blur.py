"""Gaussian blur."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mcl_jax.views import resampling
from mcl_jax.views.draws import between, uniforms
from mcl_jax.views.pixels import (
    by_row,
    check_number,
    check_pixels,
    check_range,
    per_image,
    to_dtype,
    to_float,
)

REACH = 4  # standard deviations on either side that count


def gaussian_blur(
    images: jax.Array, sigma: float | jax.Array, *, radius: int | None = None
) -> jax.Array:
    """Blurs images with a Gaussian.

    Each pixel becomes the mean of those at distances up to ``radius`` along an axis, weighed by
    exp(-distance² / (2 sigma²)), one axis after the other. Beyond a border the image is reflected,
    the pixel at the border not repeated (OpenCV's ``BORDER_REFLECT_101``), and once only, so that
    a radius above the side less one counts as that. Pillow's filter of this name is three box
    filters of about the same width.

    Args:
        images: [B, H, W, c], uint8, or floating in 0 ... 1.
        sigma: [] or [B], pixels, at least 0; at 0 an image stays what it is.
        radius: pixels on either side that count; None means four ``sigma`` of a Python number, and
            all pixels of the image where ``sigma`` is an array. A small radius is faster on large
            images.

    Returns:
        [B, H, W, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c] pixels, ``sigma`` is neither [] nor [B] or a
            Python number below 0, or ``radius`` is below 0.

    Example:
        >>> import jax.numpy as jnp
        >>> dot = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1].set(1)
        >>> [round(float(x), 3) for x in gaussian_blur(dot, 0.5)[0, 1, :, 0]]
        [0.168, 0.62, 0.168]
    """
    check_pixels(images)
    if isinstance(sigma, int | float):
        check_number("sigma", sigma, 0)
        radius = math.ceil(REACH * sigma) if radius is None else radius
    sigma = per_image("sigma", sigma, images)
    height, width = images.shape[1:3]
    radius = max(height, width) if radius is None else radius
    check_number("radius", radius, 0)
    down = resampling.blur_bands(sigma, height, radius, in_blocks=True)
    across = resampling.blur_bands(sigma, width, radius, in_blocks=False)
    rows = resampling.resample(to_float(images), down, across)
    return to_dtype(by_row(rows), images.dtype)


def draw_blur(
    keys: jax.Array, sigma: Sequence[float] = (0.1, 2.0), probability: float = 0.5
) -> jax.Array:
    """Draws how much each image is blurred.

    Args:
        keys: [B], JAX random keys, one an image.
        sigma: least and largest, at least 0; uniform between.
        probability: that an image is blurred at all.

    Returns:
        float32 [B], sigma; 0 for an image that is not blurred.

    Raises:
        ValueError: ``sigma`` is not a range from 0 up, or ``probability`` is not in 0 ... 1.

    Example:
        >>> import jax
        >>> draw_blur(jax.random.split(jax.random.key(0), 2), (2.0, 2.0), 1.0).tolist()
        [2.0, 2.0]
    """
    check_range("sigma", sigma, 0)
    check_number("probability", probability, 0, 1)
    numbers = uniforms(keys, 2)
    return jnp.where(numbers[:, 0] < probability, between(numbers[:, 1], *sigma), 0)


def random_gaussian_blur(
    keys: jax.Array,
    images: jax.Array,
    sigma: Sequence[float] = (0.1, 2.0),
    probability: float = 0.5,
) -> jax.Array:
    """Blurs images at random: `draw_blur`, `gaussian_blur` of a radius of four largest sigmas.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], uint8, or floating in 0 ... 1.
        sigma: least and largest, pixels, at least 0; uniform between.
        probability: that an image is blurred at all.

    Returns:
        [B, H, W, c], dtype of ``images``.

    Raises:
        ValueError: what `draw_blur` and `gaussian_blur` raise.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys, images = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 32, 32, 3))
        >>> jax.eval_shape(random_gaussian_blur, keys, images).shape
        (2, 32, 32, 3)
    """
    check_pixels(images)
    drawn = draw_blur(keys, sigma, probability)
    return gaussian_blur(images, drawn, radius=math.ceil(REACH * sigma[1]))
