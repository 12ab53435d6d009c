"""Encoded images become pixels, or one sentence says which image does not and why."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from mcl_jax.data.dataset import DataError

_GRAY = {"1", "L", "LA", "La"}


class ImageError(DataError):
    """An image that cannot be read, decoded or taken as it is."""

    def __init__(self, name: str, problem: str) -> None:
        """Takes what the image is called, and what is wrong with it."""
        super().__init__(name, problem)

    def __str__(self) -> str:
        return f"{self.problem}; corrupt=skip goes on without it."

    @property
    def problem(self) -> str:
        """What is wrong, without what can be done about it."""
        return " ".join(self.args)


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded.

    Attributes:
        height: in pixels.
        width: in pixels.
        gray: whether it has one channel, transparency aside.
    """

    height: int
    width: int
    gray: bool


def header(encoded: bytes, name: str) -> Header:
    """Reads the size and the kind of an image, and no pixel.

    Args:
        encoded: the bytes of a file that Pillow reads: JPEG, PNG, WebP, ...
        name: how the image is spoken of.

    Raises:
        ImageError: it is no image.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            return Header(opened.height, opened.width, opened.mode in _GRAY)
    except Exception as error:
        raise _explained(error, encoded, name) from error


def decode(encoded: bytes, channels: int, name: str) -> np.ndarray:
    """Decodes an image; a gray one becomes colour where three channels are wanted.

    Palettes and CMYK become RGB, and an alpha channel goes where it is opaque everywhere. What
    has no such meaning is refused: transparency, 16 bits a gray pixel, colour where one channel
    is wanted. Orientation tags of cameras are passed over, and so are frames after the first.

    Args:
        encoded: the bytes of a file that Pillow reads: JPEG, PNG, WebP, ...
        channels: 1 or 3.
        name: how the image is spoken of.

    Returns:
        uint8 [H, W, channels].

    Raises:
        ImageError: it is no image, it is cut short, or it cannot become one of that kind.

    Example:
        >>> held = io.BytesIO()
        >>> Image.new("L", (4, 2)).save(held, "png")
        >>> decode(held.getvalue(), 3, "one.png").shape
        (2, 4, 3)
    """
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            pixels = np.asarray(_of_channels(opened, channels, name))
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # damage may make a decoder stumble in any way
        raise _explained(error, encoded, name) from error
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _of_channels(opened: Image.Image, channels: int, name: str) -> Image.Image:
    """Returns the image in gray or in colour, or says why it cannot be."""
    if opened.mode[0] in "IF":
        raise ImageError(name, f"must have 8 bits a channel, got Pillow's mode {opened.mode}")
    if channels == 1 and opened.mode not in _GRAY:
        raise ImageError(name, f"must be gray as the others, got Pillow's mode {opened.mode}")
    if opened.has_transparency_data:
        opened = opened.convert("RGBA")
        if opened.getchannel("A").getextrema() != (255, 255):
            raise ImageError(name, "must be opaque, got an image that is transparent in places")
    return opened.convert("L" if channels == 1 else "RGB")


def _explained(error: Exception, encoded: bytes, name: str) -> ImageError:
    """One sentence for whatever Pillow stumbled over."""
    if not encoded:
        reason = "it is empty"
    elif isinstance(error, UnidentifiedImageError):
        reason = "it is no image that Pillow knows"
    else:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return ImageError(name, f"cannot be decoded: {reason}")
