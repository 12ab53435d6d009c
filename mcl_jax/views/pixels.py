"""What every operation asks of its images, and the numbers that it computes with.

Images are [B, H, W, c]; values are uint8, or floating in 0 ... 1. An operation keeps the dtype:
bytes are computed in float32 on 0 ... 1 and rounded to the nearest, halves in float32 too.
"""

import numbers
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def check_axes(images: jax.Array) -> None:
    """Raises a ValueError unless the images are [B, H, W, c]."""
    if jnp.ndim(images) != 4:
        raise ValueError(f"images must have axes [B, H, W, c], got shape {jnp.shape(images)}.")


def check_pixels(images: jax.Array) -> None:
    """Raises a ValueError unless the images are [B, H, W, c], uint8 or floating."""
    check_axes(images)
    dtype = jnp.result_type(images)
    if dtype != jnp.uint8 and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"images must be uint8, or floating in 0 ... 1, got {dtype}.")


def check_colours(images: jax.Array) -> None:
    """Raises a ValueError unless the images are gray or RGB pixels."""
    check_pixels(images)
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images must have 1 channel (gray) or 3 (red, green, blue), got {images.shape[-1]}."
        )


def check_number(name: str, value: float, least: float, most: float | None = None) -> None:
    """Raises a ValueError unless a parameter lies in its range; NaN lies in none."""
    if not (least <= value and (most is None or value <= most)):
        wanted = f"at least {least}" if most is None else f"in {least} ... {most}"
        raise ValueError(f"{name} must be {wanted}, got {value}.")


def is_whole(value: object) -> bool:
    """Whether a parameter is a whole number, Python's or NumPy's."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_whole(name: str, value: int, least: int) -> None:
    """Raises a ValueError unless a parameter is a whole number that is large enough."""
    if not is_whole(value) or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, got {value}.")


def check_range(
    name: str, values: Sequence[float], least: float, *, open_below: bool = False
) -> None:
    """Raises a ValueError unless (low, high) is a range above ``least``, which may be left out."""
    low, high = values if len(values) == 2 else (float("nan"),) * 2
    if not (low <= high < float("inf") and (low > least if open_below else low >= least)):
        relation = f"{least} < low" if open_below else f"{least} <= low"
        raise ValueError(
            f"{name} must be (low, high) with {relation} <= high, got {tuple(values)}."
        )


def to_float(images: jax.Array) -> jax.Array:
    """Pixels as numbers in 0 ... 1 to compute with: float64 where they are, else float32.

    Example:
        >>> import jax.numpy as jnp
        >>> float(to_float(jnp.full((1, 1, 1, 1), 255, jnp.uint8))[0, 0, 0, 0])
        1.0
    """
    if jnp.result_type(images) == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return images.astype(jnp.promote_types(jnp.result_type(images), jnp.float32))


def to_dtype(values: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Numbers in 0 ... 1 as pixels of a dtype; bytes are rounded to the nearest.

    Example:
        >>> import jax.numpy as jnp
        >>> to_dtype(jnp.array([0.0, 0.5, 1.1]), jnp.uint8).tolist()
        [0, 128, 255]
    """
    if dtype != jnp.uint8:
        return values.astype(dtype)
    return jnp.round(jnp.clip(255 * values, 0, 255)).astype(jnp.uint8)


def by_row(images: jax.Array) -> jax.Array:
    """[B, H, W, c] to [B, H, c, W] and back: where the operations compute.

    The values of a channel then follow each other, which a CPU wants, and a resized axis is a
    plain product of matrices on either side. XLA drops a pair that meets between two operations.
    """
    return jnp.swapaxes(images, 2, 3)


def per_image(name: str, values: float | jax.Array, images: jax.Array) -> jax.Array:
    """A number, or one an image, as [1 or B, 1, 1, 1] that broadcasts against the images.

    Raises:
        ValueError: the values are neither [] nor [B].
    """
    shape = jnp.shape(values)
    if shape not in ((), images.shape[:1]):
        raise ValueError(
            f"{name} must be one number, or one for each of {images.shape[0]} images, "
            f"got shape {shape}."
        )
    return jnp.reshape(jnp.asarray(values), (-1, 1, 1, 1))


def select(chosen: jax.Array, changed: jax.Array, images: jax.Array) -> jax.Array:
    """``changed`` where ``chosen`` [B] is true, ``images`` elsewhere, both [B, H, W, c].

    Example:
        >>> import jax.numpy as jnp
        >>> both = jnp.ones((2, 1, 1, 1)), jnp.zeros((2, 1, 1, 1))
        >>> select(jnp.array([True, False]), *both)[:, 0, 0, 0].tolist()
        [1.0, 0.0]
    """
    return jnp.where(per_image("chosen", chosen, images), changed, images)
