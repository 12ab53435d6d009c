"""Where a view looks: crops, resizing and flips. Random operations take a key for each row.

A key for each row, and not one for the batch, makes a row's view the same however the batch is
split over devices.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.views import resampling
from mcl_jax.views.draws import between, chances, span, spread, uniforms, whole
from mcl_jax.views.pixels import (
    by_row,
    check_axes,
    check_pixels,
    check_range,
    check_whole,
    is_whole,
    per_image,
    to_dtype,
    to_float,
)
from mcl_jax.views.resampling import Sampling

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Size = int | tuple[int, int]
_TRIES = 10


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
        >>> keys, images = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 8, 8, 3))
        >>> jax.eval_shape(lambda: pad_and_crop(keys, images, 1)).shape
        (2, 8, 8, 3)
    """
    check_axes(images)
    check_whole("padding", padding, 0)
    return crop_padded(images, draw_corners(keys, padding), padding)


def draw_corners(keys: jax.Array, padding: int) -> jax.Array:
    """Where `pad_and_crop` cuts: int32 [B, 2], top and left in the padded image."""
    return jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * padding + 1, jnp.int32))(keys)


def crop_padded(images: jax.Array, corners: jax.Array, padding: int) -> jax.Array:
    """What `pad_and_crop` cuts out of images [B, H, W, c] at corners [B, 2]."""
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        first = jnp.zeros_like(corner[0])  # of one dtype with the corner, whatever the widest is
        return lax.dynamic_slice(image, (*corner, first), images.shape[1:])

    return jax.vmap(cut)(padded, corners)


def flip(images: jax.Array, flipped: jax.Array) -> jax.Array:
    """Mirrors images left to right where ``flipped`` is true.

    Args:
        images: [B, H, W, c], any dtype.
        flipped: bool [B].

    Returns:
        [B, H, W, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c], or ``flipped`` is neither [] nor [B].

    Example:
        >>> import jax.numpy as jnp
        >>> flip(jnp.array([[[[1], [2]]], [[[1], [2]]]]), jnp.array([True, False]))[..., 0].tolist()
        [[[2, 1]], [[1, 2]]]
    """
    check_axes(images)
    rows = by_row(images)
    return by_row(jnp.where(per_image("flipped", flipped, images), rows[..., ::-1], rows))


def flip_horizontally(keys: jax.Array, images: jax.Array, probability: float = 0.5) -> jax.Array:
    """Mirrors each image left to right with a probability.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], any dtype.
        probability: in 0 ... 1.

    Returns:
        [B, H, W, c], dtype of ``images``: `flip` where `draws.chances` says so.

    Raises:
        ValueError: ``images`` is not [B, H, W, c], or ``probability`` is not in 0 ... 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys, images = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 8, 8, 3))
        >>> jax.eval_shape(flip_horizontally, keys, images).shape
        (2, 8, 8, 3)
    """
    check_axes(images)
    return flip(images, chances(keys, probability))


def draw_crops(
    keys: jax.Array,
    height: int,
    width: int,
    *,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """Draws a box of random area and shape inside each image.

    As torchvision's ``RandomResizedCrop``: an area uniform on ``scale`` times that of the image and
    a ratio of width to height log-uniform on ``ratio`` give a width and a height in whole pixels.
    The first of ten tries that fits into the image is taken, at a place uniform over all; where
    none fits, the largest box in the middle of the image whose shape is within ``ratio``.

    Args:
        keys: [B], JAX random keys, one an image.
        height: of the images.
        width: of the images.
        scale: least and largest area, as a fraction of the image's, above 0.
        ratio: least and largest width / height, above 0.

    Returns:
        int32 [B, 4]: top, left, height, width.

    Raises:
        ValueError: ``scale`` or ``ratio`` is not a range above 0.

    Example:
        >>> import jax
        >>> keys = jax.random.split(jax.random.key(0), 5)
        >>> jax.eval_shape(lambda: draw_crops(keys, 24, 16, scale=(0.2, 1))).shape
        (5, 4)
    """
    check_range("scale", scale, 0, open_below=True)
    check_range("ratio", ratio, 0, open_below=True)
    return crops_of_areas(keys, height, width, span(*scale), ratio)


def crops_of_areas(
    keys: jax.Array, height: int, width: int, areas: jax.Array, ratio: Sequence[float]
) -> jax.Array:
    """`draw_crops` of a `draws.span` of areas, [2], which may be known at run time alone."""
    numbers = uniforms(keys, 2 * _TRIES + 2)
    areas = height * width * spread(numbers[:, :_TRIES], areas)
    ratios = jnp.exp(between(numbers[:, _TRIES:-2], math.log(ratio[0]), math.log(ratio[1])))
    widths, heights = (
        jnp.round(jnp.sqrt(area)).astype(jnp.int32) for area in (areas * ratios, areas / ratios)
    )
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = jnp.argmax(fits, axis=1)[:, None]
    last_resort = _central_box(height, width, ratio)
    box_height, box_width = (
        jnp.where(fits.any(axis=1), jnp.take_along_axis(sides, first, axis=1)[:, 0], otherwise)
        for sides, otherwise in zip((heights, widths), last_resort, strict=True)
    )
    top = whole(numbers[:, -2], height - box_height + 1)
    left = whole(numbers[:, -1], width - box_width + 1)
    top, left = (
        jnp.where(fits.any(axis=1), drawn, (side - length) // 2)
        for drawn, side, length in zip((top, left), (height, width), last_resort, strict=True)
    )
    return jnp.stack([top, left, box_height, box_width], axis=1)


def _central_box(height: int, width: int, ratio: Sequence[float]) -> tuple[int, int]:
    """Height and width of the largest box whose width / height is in the range."""
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def crop_and_resize(
    images: jax.Array,
    boxes: jax.Array,
    size: Size,
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = True,
) -> jax.Array:
    """Cuts a box out of each image and resizes it.

    As Pillow's ``crop`` and ``resize``: a pixel of the result is a mean of the pixels around its
    centre, weighed by the distance; pixels outside the box do not count. Antialiased, the
    weights are as wide as the box is being shrunk (nearest never is). Bicubic (a = -1/2) overshoots
    and is clipped to 0 ... 1.

    Args:
        images: [B, H, W, c], uint8, or floating in 0 ... 1.
        boxes: integers [B, 4], top, left, height and width, inside the image.
        size: of the result: a side, or (height, width).
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``.
        antialias: whether shrinking takes the mean of all pixels it covers.

    Returns:
        [B, height, width, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c] pixels, ``boxes`` is not [B, 4] integers,
            ``size`` is not a side above 0 or two, or the interpolation is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.arange(4.0).reshape(1, 1, 4, 1) / 4
        >>> crop_and_resize(image, jnp.array([[0, 1, 1, 2]]), (1, 1))[0, 0, 0].tolist()
        [0.375]
    """
    check_pixels(images)
    check_boxes(images, boxes)
    height, width = check_size(size)
    sampling = check_sampling(interpolation, antialias)
    top, left, box_height, box_width = (boxes[:, i] for i in range(4))
    old_height, old_width = images.shape[1:3]
    down = resampling.resize_bands(top, box_height, old_height, height, sampling, in_blocks=True)
    across = resampling.resize_bands(left, box_width, old_width, width, sampling, in_blocks=False)
    values = by_row(resampling.resample(to_float(images), down, across))
    values = jnp.clip(values, 0, 1) if interpolation == "bicubic" else values
    return to_dtype(values, images.dtype)


def random_resized_crop(
    keys: jax.Array,
    images: jax.Array,
    size: Size,
    *,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
    interpolation: Interpolation = "bilinear",
    antialias: bool = True,
) -> jax.Array:
    """Cuts a random box out of each image and resizes it: `draw_crops`, `crop_and_resize`.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], uint8, or floating in 0 ... 1.
        size: of the result: a side, or (height, width).
        scale: least and largest area, as a fraction of the image's, above 0.
        ratio: least and largest width / height, above 0.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``.
        antialias: whether shrinking takes the mean of all pixels it covers.

    Returns:
        [B, height, width, c], dtype of ``images``.

    Raises:
        ValueError: what `draw_crops` and `crop_and_resize` raise.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys, images = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 32, 32, 3))
        >>> jax.eval_shape(lambda: random_resized_crop(keys, images, 24, scale=(0.2, 1))).shape
        (2, 24, 24, 3)
    """
    check_pixels(images)
    boxes = draw_crops(keys, *images.shape[1:3], scale=scale, ratio=ratio)
    return crop_and_resize(images, boxes, size, interpolation=interpolation, antialias=antialias)


def resize(
    images: jax.Array,
    size: Size,
    *,
    interpolation: Interpolation = "bilinear",
    antialias: bool = True,
) -> jax.Array:
    """Resizes whole images: `crop_and_resize` of a box that holds all.

    Args:
        images: [B, H, W, c], uint8, or floating in 0 ... 1.
        size: of the result: a side (of a square), or (height, width).
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``.
        antialias: whether shrinking takes the mean of all pixels it covers.

    Returns:
        [B, height, width, c], dtype of ``images``.

    Raises:
        ValueError: what `crop_and_resize` raises.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> jax.eval_shape(lambda: resize(jnp.ones((2, 40, 60, 3)), (24, 36))).shape
        (2, 24, 36, 3)
    """
    check_pixels(images)
    whole = jnp.array([0, 0, *images.shape[1:3]])
    boxes = jnp.broadcast_to(whole, (images.shape[0], 4))
    return crop_and_resize(images, boxes, size, interpolation=interpolation, antialias=antialias)


def centre_crop(images: jax.Array, size: Size) -> jax.Array:
    """Cuts the middle out; of an odd rest, the larger half is dropped at the bottom and right.

    Args:
        images: [B, H, W, c], any dtype.
        size: of the result: a side, or (height, width), at most that of the images.

    Returns:
        [B, height, width, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c], or is smaller than the crop.

    Example:
        >>> import jax.numpy as jnp
        >>> centre_crop(jnp.arange(5).reshape(1, 1, 5, 1), (1, 3))[0, 0, :, 0].tolist()
        [1, 2, 3]
    """
    check_axes(images)
    height, width = check_size(size)
    old_height, old_width = images.shape[1:3]
    if height > old_height or width > old_width:
        raise ValueError(
            f"a crop of {height} x {width} pixels needs images as large, got "
            f"{old_height} x {old_width}."
        )
    top, left = (old_height - height) // 2, (old_width - width) // 2
    return images[:, top : top + height, left : left + width]


def check_size(size: Size) -> tuple[int, int]:
    """A side or (height, width) as (height, width), both above 0."""
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or any(not is_whole(x) or x < 1 for x in sides):
        raise ValueError(f"size must be a side or (height, width), above 0, got {size}.")
    return int(sides[0]), int(sides[1])


def check_boxes(images: jax.Array, boxes: jax.Array) -> None:
    """Raises a ValueError unless the boxes are integers [B, 4]."""
    wanted = (images.shape[0], 4)
    dtype = jnp.result_type(boxes)
    if jnp.shape(boxes) != wanted or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"boxes must be integers {wanted}: top, left, height, width, got {dtype} "
            f"{jnp.shape(boxes)}."
        )


def check_sampling(interpolation: str, antialias: bool) -> Sampling:
    """The sampling of a known interpolation."""
    if interpolation not in resampling.INTERPOLATIONS:
        known = ", ".join(resampling.INTERPOLATIONS)
        raise ValueError(f"interpolation must be one of {known}, got {interpolation!r}.")
    return Sampling(interpolation, antialias)
