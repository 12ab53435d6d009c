"""Parts of an image cut and scaled on the host, as the ImageNet recipe does it.

These are Pillow's: bilinear, and antialiased where an image gets smaller.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from mcl_jax.data.dataset import DataError

Load = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _resize(
    image: np.ndarray, width: int, height: int, box: tuple[float, float, float, float]
) -> np.ndarray:
    """Scales the part ``box`` (left, top, right, bottom) of an image, bilinear, antialiased."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.dtype != np.uint8:
        raise DataError(
            f"image must be uint8 [H, W, 1] or [H, W, 3], got {image.dtype} of shape {image.shape}."
        )
    picture = Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image)
    scaled = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
    return scaled.reshape(height, width, image.shape[-1])


def random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    size: int,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """Crops a random part of an image and scales it, as in the ImageNet recipe.

    Args:
        image: uint8 [H, W, c].
        rng: decides which part.
        size: side of what is returned.
        scale: the least and the largest part of the image's area.
        ratio: the least and the largest width over height, drawn log-uniformly. After ten
            draws that do not fit, the largest centred part of an allowed ratio is taken.

    Returns:
        uint8 [size, size, c].

    Raises:
        DataError: ``image`` is not uint8 [H, W, 1] or [H, W, 3].
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return _resize(image, size, size, (left, top, left + w, top + h))
    w = min(width, round(height * ratio[1]))
    h = min(height, round(width / ratio[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return _resize(image, size, size, (left, top, left + w, top + h))


def centre_crop(image: np.ndarray, size: int = 224, resize: int = 256) -> np.ndarray:
    """Scales the short side of an image to ``resize`` and crops its centre.

    Args:
        image: uint8 [H, W, c].
        size: side of what is returned.
        resize: length of the short side before the crop.

    Returns:
        uint8 [size, size, c].

    Raises:
        DataError: ``size`` is above ``resize``, or ``image`` is not uint8 [H, W, 1] or [H, W, 3].

    Example:
        >>> centre_crop(np.zeros([30, 40, 3], np.uint8), size=8, resize=10).shape
        (8, 8, 3)
    """
    if not 1 <= size <= resize:
        raise DataError(f"size must be 1 to resize={resize}, got {size}.")
    height, width = image.shape[:2]
    short = min(height, width)
    scaled_width, scaled_height = resize * width // short, resize * height // short
    scaled = _resize(image, scaled_width, scaled_height, (0, 0, width, height))
    left, top = round((scaled_width - size) / 2), round((scaled_height - size) / 2)
    return scaled[top : top + size, left : left + size]


def middle(image: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """The largest square in the middle of an image, scaled: a ``Load`` that draws nothing.

    Args:
        image: uint8 [H, W, c].
        rng: is not used.
        size: side of what is returned.

    Returns:
        uint8 [size, size, c].

    Raises:
        DataError: ``image`` is not uint8 [H, W, 1] or [H, W, 3].

    Example:
        >>> middle(np.zeros([30, 40, 3], np.uint8), np.random.default_rng(0), size=8).shape
        (8, 8, 3)
    """
    del rng
    return centre_crop(image, size, size)


def several(image: np.ndarray, rng: np.random.Generator, loads: Sequence[Load]) -> np.ndarray:
    """Crops of one decoded image, one after the other: a ``Load`` for methods of several views.

    Args:
        image: uint8 [H, W, c].
        rng: each crop draws from it, in their order.
        loads: what makes each of the V crops, all of one size.

    Returns:
        uint8 [V, size, size, c]; the first is what the first load alone makes.

    Raises:
        DataError: as the loads.

    Example:
        >>> image, rng = np.zeros([30, 40, 3], np.uint8), np.random.default_rng(0)
        >>> several(image, rng, [lambda image, rng: middle(image, rng, size=8)] * 2).shape
        (2, 8, 8, 3)
    """
    return np.stack([load(image, rng) for load in loads])
