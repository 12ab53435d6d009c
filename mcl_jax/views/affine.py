"""Affine warps of a batch: rotations, shears and translations, one matrix an image."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax.views.pixels import check_pixels

_SLACK = 2.0**-10  # a mean that is a whole number stays one, whichever way its sum was rounded


def warp(
    images: jax.Array,
    matrices: jax.Array,
    *,
    interpolation: str | jax.Array = "bilinear",
    fill: float | Sequence[float] = 0,
) -> jax.Array:
    """Each image seen through an affine map, as Pillow's ``Image.transform`` does it.

    A matrix ``[[a, b, c], [d, e, f]]`` maps the place ``(x, y)`` of a pixel of the result, its
    middle ``(column + 1/2, row + 1/2)``, to the place ``(a x + b y + c, d x + e y + f)`` of the
    image. A place outside the image gets ``fill``; near a border the nearest pixels are repeated.
    The cubic weights are Pillow's, with slope -1. Bytes are cut off and not rounded, as Pillow's,
    and differ from those by 1 at most, where a mean is a whole number or nearly. All is computed
    in float32.

    Args:
        images: [B, H, W, c], uint8 or floating.
        matrices: [B, 2, 3], floating: from places of the result to places of the image.
        interpolation: "bilinear" (four pixels) or "bicubic" (sixteen), or bool [B]: true where
            bicubic.
        fill: value outside, or one a channel, in units of ``images``.

    Returns:
        [B, H, W, c], dtype of ``images``. Bicubic floats are clipped to 0 ... 1.

    Raises:
        ValueError: ``images`` or ``matrices`` have another shape, ``interpolation`` is unknown or
            not [B], or ``fill`` has neither one nor c values.

    Example:
        >>> import jax.numpy as jnp
        >>> right = jnp.array([[[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]])
        >>> warp(jnp.arange(4.0).reshape(1, 1, 4, 1) / 4, right, fill=0.5).ravel().tolist()
        [0.5, 0.0, 0.25, 0.5]
    """
    _check(images, matrices, interpolation, fill)
    rows, height, width, channels = images.shape
    taps = (
        range(1, 3) if isinstance(interpolation, str) and interpolation == "bilinear" else range(4)
    )
    bicubic = interpolation == "bicubic" if isinstance(interpolation, str) else interpolation
    x, y = _places(matrices, height, width)
    columns, across = _neighbours(x, width, jnp.reshape(bicubic, (-1, 1, 1)))
    lines, down = _neighbours(y, height, jnp.reshape(bicubic, (-1, 1, 1)))

    # Channels stay last: XLA then works out places and weights once for all channels of a pixel.
    pixels = images.reshape(rows, height * width, channels)
    total = jnp.zeros(images.shape, jnp.float32)
    for i in taps:
        line = jnp.zeros(images.shape, jnp.float32)
        for j in taps:
            place = (lines[i] * width + columns[j]).reshape(rows, -1, 1)
            tap = jnp.take_along_axis(pixels, place, axis=1, mode="promise_in_bounds")
            line += across[j][..., None] * tap.reshape(images.shape).astype(jnp.float32)
        total += down[i][..., None] * line
    is_bytes = images.dtype == jnp.uint8
    if len(taps) == 4:  # cubic weights overshoot, linear ones do not
        total = jnp.clip(total, 0, 255 if is_bytes else 1)
    total += _SLACK if is_bytes else 0
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return jnp.where(inside[..., None], total, jnp.asarray(fill, jnp.float32)).astype(images.dtype)


def _places(matrices: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Where the middles of the result's pixels lie in the image: x and y, [B, H, W]."""
    entries = jnp.asarray(matrices, jnp.float32)[:, :, :, None, None]
    column = jnp.arange(width, dtype=jnp.float32) + 0.5
    row = jnp.arange(height, dtype=jnp.float32)[:, None] + 0.5
    x, y = (entries[:, i, 0] * column + entries[:, i, 1] * row + entries[:, i, 2] for i in (0, 1))
    return x, y


def _neighbours(
    places: jax.Array, size: int, bicubic: jax.Array
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Indices and weights [B, H, W] of the four pixels of a line around each place."""
    first = jnp.floor(places - 0.5)
    d = places - 0.5 - first
    indices = [jnp.clip(first.astype(jnp.int32) + i, 0, size - 1) for i in (-1, 0, 1, 2)]
    linear = (jnp.zeros_like(d), 1 - d, d, jnp.zeros_like(d))
    cubic = (-d * (1 - d) ** 2, 1 - d**2 * (2 - d), d * (1 + d * (1 - d)), -(d**2) * (1 - d))
    return indices, [jnp.where(bicubic, c, w) for c, w in zip(cubic, linear, strict=True)]


def _check(
    images: jax.Array,
    matrices: jax.Array,
    interpolation: str | jax.Array,
    fill: float | Sequence[float],
) -> None:
    check_pixels(images)
    rows, _, _, channels = images.shape
    if jnp.shape(matrices) != (rows, 2, 3):
        raise ValueError(f"matrices must be [{rows}, 2, 3], got shape {jnp.shape(matrices)}.")
    if isinstance(interpolation, str):
        if interpolation not in ("bilinear", "bicubic"):
            raise ValueError(
                "interpolation must be 'bilinear', 'bicubic' or an array [B], "
                f"got {interpolation!r}."
            )
    elif jnp.shape(interpolation) != (rows,):
        raise ValueError(
            f"interpolation must be one value an image, [{rows}], "
            f"got shape {jnp.shape(interpolation)}."
        )
    if np.shape(fill) not in ((), (channels,)):
        raise ValueError(f"fill must be one value or {channels}, got shape {np.shape(fill)}.")
