"""Resizing and blurring as products with band matrices, an axis at a time.

A pixel of the result is a weighted mean of pixels near one place. A dense product with the matrix
of those weights is what accelerators are fast at and small images want; on large images most of the
matrix is zero. So where it pays, the rows of the result are made in blocks, and each block is a
product with the window of pixels that it can depend on. The window's length follows from the sizes
alone, its start from the image's own crop.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mcl_jax.views.pixels import by_row

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
_SUPPORT = {"nearest": 0.5, "bilinear": 1.0, "bicubic": 2.0}
_BLOCK = 32  # rows of a product; a result below two blocks is made in one


class Bands(NamedTuple):
    """Weights of an axis of the result, block by block.

    Attributes:
        starts: int32 [B, n], the first pixel of each block's window, or [n] in NumPy: those of
            every image.
        weights: [B or 1, n, t, k], what row t of block n takes of pixel ``starts + k``.
        size: rows of the result; those of the last block beyond it are dropped.
    """

    starts: jax.Array | np.ndarray
    weights: jax.Array
    size: int


class Sampling(NamedTuple):
    """How pixels are looked up between pixels: an interpolation, antialiased or not."""

    interpolation: str = "bilinear"
    antialias: bool = True

    @property
    def support(self) -> float:
        """Pixels on either side of a place that count, where nothing is shrunk."""
        return _SUPPORT[self.interpolation]

    @property
    def widest(self) -> float:
        """The filter grows with the pixels that one of the result stands for, or never."""
        return math.inf if self.antialias and self.interpolation != "nearest" else 1.0

    def filter(self, distances: jax.Array) -> jax.Array:
        """The weight of a pixel at a distance, before all are scaled to sum to 1."""
        x = jnp.abs(distances)
        if self.interpolation == "bilinear":
            return jnp.maximum(1 - x, 0)
        near = (1.5 * x - 2.5) * x * x + 1  # cubic convolution with a = -1/2, as Pillow's
        far = ((-0.5 * x + 2.5) * x - 4) * x + 2
        return jnp.where(x < 1, near, jnp.where(x < 2, far, 0))


def resize_bands(
    starts: jax.Array,
    lengths: jax.Array,
    side: int,
    size: int,
    sampling: Sampling,
    *,
    in_blocks: bool,
    mirrored: jax.Array | None = None,
) -> Bands:
    """Pixels ``starts`` ... ``starts + lengths`` (both [B]) of ``side`` resized to ``size``."""
    rows = np.minimum(_rows_of_blocks(size, in_blocks), size - 1)
    first, weights, is_inside = _resize(rows, starts, lengths, side, size, sampling, mirrored)
    return Bands(first, jnp.where(is_inside, weights, 0), size)


def blur_bands(sigma: jax.Array, size: int, radius: int, *, in_blocks: bool) -> Bands:
    """A Gaussian of ``sigma`` [B or 1], cut off at ``radius``, borders reflected without the edge.

    Reflected once: a ``radius`` beyond ``size - 1`` is cut to that.
    """
    pixels, weights = _blur(sigma, size, radius, in_blocks)
    return Bands(pixels[:, 0], weights, size)


def blurred_resize_bands(
    starts: jax.Array,
    lengths: jax.Array,
    side: int,
    size: int,
    sampling: Sampling,
    sigma: jax.Array,
    radius: int,
    *,
    in_blocks: bool,
    mirrored: jax.Array | None = None,
) -> Bands:
    """`resize_bands` and then `blur_bands` as one."""
    radius = min(radius, size - 1)
    rows = _rows_of_blocks(size, in_blocks)
    block = rows.shape[1]
    around = np.abs(rows[:, :1] - radius + np.arange(block + 2 * radius))
    around = np.maximum(size - 1 - np.abs(size - 1 - around), 0)
    first, resize, is_inside = _resize(around, starts, lengths, side, size, sampling, mirrored)
    taps = _gaussian(sigma, np.arange(radius + 1), radius).T[..., None, None, None]

    def moved(distance: int) -> jax.Array:
        return lax.slice_in_dim(resize, radius + distance, radius + distance + block, axis=2)

    weights = taps[0] * moved(0)
    weights += sum(taps[i] * (moved(i) + moved(-i)) for i in range(1, radius + 1))
    return Bands(first, jnp.where(is_inside, weights, 0), size)


def resample(images: jax.Array, down: Bands, across: Bands) -> jax.Array:
    """Both axes of images [B, H, W, c]: [B, down.size, c, across.size].

    Down in blocks, since a window of whole rows is one piece of memory; across in one, since a CPU
    loses more by cutting windows out of rows than the product with zeros costs.
    """
    batch, height, width, channels = images.shape
    is_whole = down.weights.shape[1] == 1
    rows = by_row(images) if is_whole else images
    windows = _windows(rows.reshape(batch, height, width * channels), down)
    rows = _product("bntk,bnkx->bntx", _each(down.weights, batch), windows)
    rows = rows.reshape(batch, math.prod(rows.shape[1:3]), width * channels)[:, : down.size]
    if not is_whole:
        rows = by_row(rows.reshape(batch, down.size, width, channels))
    rows = rows.reshape(batch, down.size * channels, width)
    rows = _product("bxk,btk->bxt", rows, _each(across.weights, batch)[:, 0])
    return rows.reshape(batch, down.size, channels, across.size)


def _product(subscripts: str, first: jax.Array, second: jax.Array) -> jax.Array:
    return jnp.einsum(subscripts, first, second, precision=lax.Precision.HIGHEST)


def _each(weights: jax.Array, batch: int) -> jax.Array:
    return jnp.broadcast_to(weights, (batch, *weights.shape[1:]))


def _rows_of_blocks(size: int, in_blocks: bool) -> np.ndarray:
    """Which rows of the result each block makes: [n, t]."""
    block = _BLOCK if in_blocks and size >= 2 * _BLOCK else size
    return np.arange(-(-size // block) * block).reshape(-1, block)


def _windows(images: jax.Array, bands: Bands) -> jax.Array:
    """The rows of images [B, H, x] that each block takes: [B, n, k, x]."""
    length = bands.weights.shape[-1]
    if length == images.shape[1]:
        return images[:, None]
    if isinstance(bands.starts, np.ndarray):
        cuts = [lax.slice_in_dim(images, x, x + length, axis=1) for x in bands.starts]
        return jnp.stack(cuts, axis=1)

    def window(image: jax.Array, start: jax.Array) -> jax.Array:
        return lax.dynamic_slice_in_dim(image, start, length)

    return jax.vmap(jax.vmap(window, (None, 0)))(images, bands.starts)


def _resize(
    rows: np.ndarray,
    starts: jax.Array,
    lengths: jax.Array,
    side: int,
    size: int,
    sampling: Sampling,
    mirrored: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Starts [B, n] and weights [B, n, t, k] of given rows [n, t] of the result.

    The weights hold for the pixels [B, n, 1, k] that are inside the box, and are to be dropped
    elsewhere.
    """
    numbers = jnp.asarray(rows)
    if mirrored is not None:
        numbers = jnp.where(mirrored[:, None, None], size - 1 - numbers, numbers)
    starts, lengths = starts[:, None, None], lengths[:, None, None]  # against [B, n, t]
    scale = lengths / size
    places = starts + (2 * numbers + 1) * lengths / (2 * size)
    most = side / size
    span = (rows.shape[1] - 1) * most + 2 * sampling.support * min(max(most, 1), sampling.widest)
    length = min(side, math.ceil(span) + 2)
    stretch = jnp.clip(scale, 1, sampling.widest)
    first = jnp.floor(jnp.min(places - sampling.support * stretch, axis=2)).astype(jnp.int32)
    first = jnp.clip(first, 0, side - length)
    pixels = first[..., None, None] + jnp.arange(length)  # [B, n, 1, k]
    if sampling.interpolation == "nearest":
        nearest = starts + (2 * numbers + 1) * lengths // (2 * size)
        return first, (pixels == nearest[..., None]).astype(jnp.float32), pixels >= 0
    distances = (pixels + 0.5 - places[..., None]) / stretch[..., None]
    is_inside = (pixels >= starts[..., None]) & (pixels < (starts + lengths)[..., None])
    weights = sampling.filter(distances)
    total = jnp.sum(jnp.where(is_inside, weights, 0), axis=-1, keepdims=True)
    return first, weights / total, is_inside


def _blur(
    sigma: jax.Array, size: int, radius: int, in_blocks: bool
) -> tuple[np.ndarray, jax.Array]:
    """Pixels [n, k] that each block's window holds, and weights [B, n, t, k]."""
    radius = min(radius, size - 1)
    rows = _rows_of_blocks(size, in_blocks)
    length = min(rows.shape[1] + 2 * radius, size)
    first = np.clip(rows[:, :1] - radius, 0, size - length)
    pixels = first + np.arange(length)
    row, pixel = rows[:, :, None], pixels[:, None, :]
    beyond = 2 * (size - 1)
    weights = _gaussian(sigma, np.abs(row - pixel), radius)
    weights += jnp.where(pixel > 0, _gaussian(sigma, row + pixel, radius), 0)
    weights += jnp.where(
        pixel < size - 1, _gaussian(sigma, np.abs(beyond - row - pixel), radius), 0
    )
    return pixels, weights


def _gaussian(sigma: jax.Array, distances: np.ndarray, radius: int) -> jax.Array:
    """Weights [B or 1, ...] at whole distances [...]; those of -radius ... radius sum to 1."""
    sigma = jnp.maximum(jnp.reshape(sigma, (-1, *[1] * distances.ndim)), 1e-3)  # as good as none

    def heights(distances: np.ndarray) -> jax.Array:
        return jnp.exp(-0.5 * jnp.square(distances / sigma))

    taps = np.arange(1, radius + 1).reshape(-1, *[1] * distances.ndim)
    total = 1 + 2 * jnp.sum(heights(taps[:, None]), axis=0)
    return jnp.where(distances <= radius, heights(distances) / total, 0)
