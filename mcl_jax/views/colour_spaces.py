"""Colour spaces: RGB images as Lab, YDbDr, YIQ, YCbCr and HSV, and back.

Which channels two networks see decides what their views share: Contrastive Multiview Coding,
arXiv 1906.05849 (Lab, YCbCr), and What Makes for Good Views, arXiv 2005.10243 (its section on
colour spaces; the published code takes YDbDr). Numbers are those of scikit-image, whose functions
the authors call.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mcl_jax.views.pixels import check_pixels, to_float


class Space(NamedTuple):
    """Constants that bring the channels of a space to about zero mean and unit spread.

    Attributes:
        mean: of each channel.
        std: of each channel.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


SPACES: dict[str, Space] = {
    "rgb": Space((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "lab": Space((50.0, 6.025, -6.6895), (50.0, 92.208, 101.1675)),
    "ydbdr": Space((0.457, -0.082, -0.052), (0.5, 1.331, 1.333)),
    "yiq": Space((0.5, 0.0, 0.0), (0.5, 0.5959, 0.5227)),
    "ycbcr": Space((116.151, 121.080, 132.342), (109.5, 111.855, 111.964)),
    "hsv": Space((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Every space with its constants.

rgb: ImageNet's. lab, ydbdr and ycbcr: those of the published code of CMC and PyContrast (of lab,
the middle and half the width of the range; the spreads of ydbdr and ycbcr are half ranges too).
yiq and hsv, which that code does not train on: the middle and half the width of the range.
"""

# Rows are the channels of the space, columns R, G, B.
_LINEAR = {
    "yiq": np.array(
        [
            [0.299, 0.587, 0.114],
            [0.59590059, -0.27455667, -0.32134392],
            [0.21153661, -0.52273617, 0.31119955],
        ]
    ),
    "ydbdr": np.array([[0.299, 0.587, 0.114], [-0.45, -0.883, 1.333], [-1.333, 1.116, 0.217]]),
    "ycbcr": np.array(
        [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]]
    ),
}
_OFFSET = {
    "yiq": np.zeros(3, np.float32),
    "ydbdr": np.zeros(3, np.float32),
    "ycbcr": np.array([16.0, 128.0, 128.0], np.float32),
}
# CIE XYZ of linear RGB under the illuminant D65, in units of its white.
_XYZ = (
    np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    / np.array([0.95047, 1.0, 1.08883])[:, None]
)


def convert(images: jax.Array, space: str) -> jax.Array:
    """RGB images in another colour space.

    Ranges of the channels: rgb and hsv 0 ... 1; lab 0 ... 100, -86.2 ... 98.2 and
    -107.9 ... 94.5; ydbdr 0 ... 1 and twice ±1.333; yiq 0 ... 1, ±0.596 and ±0.523;
    ycbcr 16 ... 235 and twice 16 ... 240.

    Args:
        images: [B, H, W, 3], floating, 0 ... 1.
        space: a name of `SPACES`; "rgb" changes nothing.

    Returns:
        [B, H, W, 3], dtype of ``images``; not normalised, see `SPACES`.

    Raises:
        ValueError: ``images`` is not floating [B, H, W, 3], or ``space`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> white = jnp.ones((1, 1, 1, 3))
        >>> [round(float(x), 2) + 0.0 for x in convert(white, "ycbcr")[0, 0, 0]]
        [235.0, 128.0, 128.0]
    """
    _check(images, space)
    rgb = to_float(images)
    if space == "lab":
        rgb = _lab(rgb)
    elif space == "hsv":
        rgb = _hsv(rgb)
    elif space in _LINEAR:
        rgb = _mix(rgb, _LINEAR[space]) + _OFFSET[space]
    return rgb.astype(images.dtype)


def convert_back(images: jax.Array, space: str) -> jax.Array:
    """Images of another colour space in RGB: undoes `convert`.

    Args:
        images: [B, H, W, 3], floating, in the ranges of `convert`, not normalised.
        space: a name of `SPACES`.

    Returns:
        [B, H, W, 3], dtype of ``images``, clipped to 0 ... 1.

    Raises:
        ValueError: ``images`` is not floating [B, H, W, 3], or ``space`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> red = jnp.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
        >>> [round(float(x), 3) + 0.0 for x in convert_back(convert(red, "lab"), "lab").ravel()]
        [1.0, 0.0, 0.0]
    """
    _check(images, space)
    values = to_float(images)
    if space == "lab":
        values = _lab_back(values)
    elif space == "hsv":
        values = _hsv_back(values)
    elif space in _LINEAR:
        values = _mix(values - _OFFSET[space], np.linalg.inv(_LINEAR[space]))
    return jnp.clip(values, 0, 1).astype(images.dtype)


def _mix(images: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Each pixel times a matrix; in full precision, which accelerators do not take by default."""
    weights = jnp.asarray(matrix.T, images.dtype)
    return jnp.matmul(images, weights, precision=lax.Precision.HIGHEST)


def _lab(rgb: jax.Array) -> jax.Array:
    linear = jnp.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mix(linear, _XYZ)
    root = jnp.where(xyz > 0.008856, jnp.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _lab_back(lab: jax.Array) -> jax.Array:
    y = (lab[..., 0] + 16) / 116
    root = jnp.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = jnp.where(root > 0.2068966, root**3, (root - 16 / 116) / 7.787)
    linear = jnp.maximum(_mix(xyz, np.linalg.inv(_XYZ)), 0)
    return jnp.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


def _hsv(rgb: jax.Array) -> jax.Array:
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value, width = rgb.max(axis=-1), rgb.max(axis=-1) - rgb.min(axis=-1)
    divisor = jnp.where(width == 0, 1, width)  # gray has hue 0 and saturation 0
    sixth = jnp.where(blue == value, 4 + (red - green) / divisor, 0)
    sixth = jnp.where(green == value, 2 + (blue - red) / divisor, sixth)
    sixth = jnp.where(red == value, (green - blue) / divisor, sixth)
    hue = jnp.where(width == 0, 0, sixth / 6 % 1)
    return jnp.stack([hue, width / jnp.where(value == 0, 1, value), value], axis=-1)


def _hsv_back(hsv: jax.Array) -> jax.Array:
    hue, saturation, value = (hsv[..., i, None] for i in range(3))
    distance = (6 * hue + jnp.array([5, 3, 1], hsv.dtype)) % 6
    return value * (1 - saturation * jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1))


def _check(images: jax.Array, space: str) -> None:
    if space not in SPACES:
        raise ValueError(f"space must be one of {', '.join(SPACES)}; got {space!r}.")
    check_pixels(images)
    if images.shape[-1] != 3:
        raise ValueError(
            f"colour spaces are of images with three channels, got {images.shape[-1]}."
        )
    if images.dtype == jnp.uint8:
        raise ValueError(
            "images must be floating in 0 ... 1 to change their colour space, got uint8."
        )
