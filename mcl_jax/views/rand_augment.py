"""RandAugment as InfoMin and CMC v2 use it: a few operations drawn for each image.

RandAugment, arXiv 1909.13719, in the form ``rand-n2-m10-mstd0.5`` of What Makes for Good Views,
arXiv 2005.10243, with the levels of PyContrast. Images are bytes on the way, as Pillow has them.

An image gets one operation a slot, but a batch would get all fifteen. So a slot is what they share:
a histogram, a table of 256 values for each channel, one blend, one warp, each of which leaves an
image as it is where its operation is of another kind.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mcl_jax.views.affine import warp
from mcl_jax.views.draws import chances, folded, uniforms, whole
from mcl_jax.views.pixels import check_colours, check_number, to_dtype, to_float

OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "invert",
    "posterize",
    "solarize",
    "solarize_add",
    "brightness",
    "contrast",
    "colour",
    "sharpness",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""Every operation, in the order of their numbers."""

RGB = tuple(name for name in OPERATIONS if name != "identity")
"""The fifteen operations for RGB views."""

CMC = (
    "autocontrast",
    "identity",
    "rotate",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""The operations that leave colours alone, for views that are split into colour channels."""

MOST = 10.0  # the highest level

_FIRST_BLEND, _FIRST_WARP = OPERATIONS.index("colour"), OPERATIONS.index("rotate")
_LUMA = np.array([19595, 38470, 7471])  # of 65536: Pillow's gray


class Drawn(NamedTuple):
    """What `draw_randaugment` drew for each image and slot.

    Attributes:
        operation: int32 [B, S], numbers of `OPERATIONS`; 0, the identity, where none fired.
        level: float32 [B, S], 0 ... 10.
        negative: bool [B, S], whether a rotation, shear or translation goes the other way.
        bicubic: bool [B, S], whether it interpolates over 16 pixels and not 4.
    """

    operation: jax.Array
    level: jax.Array
    negative: jax.Array
    bicubic: jax.Array


def draw_randaugment(
    keys: jax.Array,
    *,
    operations: Sequence[str] = RGB,
    count: int = 2,
    magnitude: float = MOST,
    spread: float = 0.5,
    probability: float = 0.5,
) -> Drawn:
    """Draws what `apply_randaugment` does.

    Each of ``count`` slots draws an operation uniformly, with replacement, which fires with
    ``probability``. Its level is ``min(max(N(magnitude, spread), 0), 10)``.

    Args:
        keys: [B], JAX random keys, one an image.
        operations: names out of `OPERATIONS`: `RGB`, `CMC` or others.
        count: slots, at least 1.
        magnitude: middle of the levels, 0 ... 10.
        spread: their standard deviation before they are cut off.
        probability: that a slot's operation fires.

    Returns:
        What was drawn, arrays [B, count].

    Raises:
        ValueError: an operation is unknown or there is none, or a number is out of its range.

    Example:
        >>> import jax
        >>> keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4))
        >>> jax.eval_shape(draw_randaugment, keys).operation.shape
        (4, 2)
    """
    check_draw(operations, count, magnitude, spread, probability)
    numbers = jnp.array([OPERATIONS.index(name) for name in operations], jnp.int32)

    def slot(keys: jax.Array) -> Drawn:
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        drawn = uniforms(keys[:, 0], 3)
        operation = jnp.where(
            chances(keys[:, 1], probability), numbers[whole(drawn[:, 0], len(operations))], 0
        )
        normal = jax.vmap(lambda key: jax.random.normal(key, (), jnp.float32))(keys[:, 2])
        level = magnitude + spread * normal
        return Drawn(operation, jnp.clip(level, 0, MOST), drawn[:, 1] < 0.5, drawn[:, 2] < 0.5)

    slots = [slot(folded(keys, i)) for i in range(count)]
    return jax.tree.map(lambda *parts: jnp.stack(parts, axis=1), *slots)


def apply_randaugment(
    images: jax.Array, drawn: Drawn, *, fill: int | Sequence[int] = (124, 116, 104)
) -> jax.Array:
    """The drawn operations, one slot after another, as Pillow computes them on bytes.

    With the level m (Pillow's function in brackets):

    * autocontrast: each channel stretched to 0 ... 255; equalize: its histogram made flat; invert:
      255 - v (``ImageOps``). None has a level.
    * posterize: the upper ⌊0.4 m⌋ bits are kept, none below m = 2.5 (``ImageOps.posterize``).
    * solarize: 255 - v from v = ⌊25.6 m⌋ on, so nothing at m = 10 (``ImageOps.solarize``).
    * solarize_add: ⌊11 m⌋ added where v < 128.
    * brightness, contrast, colour, sharpness: factor 0.18 m + 0.1 (``ImageEnhance``).
    * rotate: ±3 m degrees about the middle, anticlockwise where positive (``Image.rotate``).
    * shear_x, shear_y: ±0.03 m; translate_x, translate_y: ±0.045 m of the side
      (``Image.transform``).

    Results equal Pillow's but for single steps of 1/255: in a warp, where sums in float32 and in
    double precision fall on two sides of a whole number, and in autocontrast, where Pillow loses 1
    to rounding, as to 254 for the brightest value. A warped pixel whose place is on the border of
    the image to within float32's precision may get ``fill`` where Pillow's does not, or conversely.

    Args:
        images: [B, H, W, c], c = 1 or 3, uint8 or floating; floats are rounded to bytes first.
            On gray images colour is the identity.
        drawn: of `draw_randaugment`, [B, S].
        fill: bytes outside a warped image: one or three, of which gray images take the gray.

    Returns:
        [B, H, W, c], dtype of ``images``, bytes or bytes / 255.

    Raises:
        ValueError: ``images`` are not pixels of one or three channels, ``drawn`` is of another
            batch, or ``fill`` is not bytes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> whole = jnp.array([[0, 3]] * 2)  # nothing, then invert
        >>> drawn = Drawn(whole, jnp.full((2, 2), 10.0), whole > 0, whole > 0)
        >>> views = jax.jit(apply_randaugment)(jnp.zeros((2, 1, 2, 1), jnp.uint8), drawn)
        >>> views.ravel().tolist()
        [255, 255, 255, 255]
    """
    check_colours(images)
    if jnp.ndim(drawn.operation) != 2 or drawn.operation.shape[0] != images.shape[0]:
        raise ValueError(
            f"drawn must be of {images.shape[0]} images, [{images.shape[0]}, S]; "
            f"got shape {jnp.shape(drawn.operation)}."
        )
    floating = images.dtype != jnp.uint8
    colour = _fill(fill, images.shape[-1])
    values = to_dtype(to_float(images), jnp.uint8) if floating else jnp.asarray(images)
    # A loop over the slots, for XLA would compute one slot anew for every use in the next.
    slots = Drawn(*(part.T for part in drawn))
    values, _ = lax.scan(lambda values, slot: (_slot(values, slot, colour), None), values, slots)
    return to_float(values).astype(images.dtype) if floating else values


def randaugment(
    keys: jax.Array,
    images: jax.Array,
    *,
    operations: Sequence[str] = RGB,
    count: int = 2,
    magnitude: float = MOST,
    spread: float = 0.5,
    probability: float = 0.5,
    fill: int | Sequence[int] = (124, 116, 104),
) -> jax.Array:
    """`apply_randaugment` of what `draw_randaugment` draws.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], c = 1 or 3, uint8 or floating in 0 ... 1.
        operations: names out of `OPERATIONS`: `RGB`, `CMC` or others.
        count: operations an image, at least 1.
        magnitude: middle of the levels, 0 ... 10.
        spread: their standard deviation.
        probability: that an operation fires.
        fill: bytes outside a warped image; by default ImageNet's mean.

    Returns:
        [B, H, W, c], dtype of ``images``, bytes or bytes / 255.

    Raises:
        ValueError: as the two functions do.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
        >>> jax.eval_shape(randaugment, keys, jnp.zeros((2, 8, 8, 3))).shape
        (2, 8, 8, 3)
    """
    drawn = draw_randaugment(
        keys,
        operations=operations,
        count=count,
        magnitude=magnitude,
        spread=spread,
        probability=probability,
    )
    return apply_randaugment(images, drawn, fill=fill)


def _slot(images: jax.Array, drawn: Drawn, fill: int | list[int]) -> jax.Array:
    """One operation an image: uint8 [B, H, W, c], drawn [B]."""

    def move(images: jax.Array, matrices: jax.Array) -> jax.Array:
        return warp(images, matrices, interpolation=drawn.bicubic, fill=fill)

    # Branches skip what no image wants, and keep XLA from computing a part anew wherever the next
    # one uses it.
    changed, blended, moved = (drawn.operation >= first for first in (1, _FIRST_BLEND, _FIRST_WARP))
    tables, matrices = _tables(images, drawn), _matrices(drawn, *images.shape[1:3])
    images = lax.cond(jnp.any(changed & ~blended), _look_up, _keep, images, tables)
    images = lax.cond(jnp.any(blended & ~moved), _blend, _keep, images, drawn)
    return lax.cond(jnp.any(moved), move, _keep, images, matrices)


def _keep(images: jax.Array, _: object) -> jax.Array:
    return images


def _is(drawn: Drawn, name: str) -> jax.Array:
    return drawn.operation == OPERATIONS.index(name)


def _factor(drawn: Drawn) -> jax.Array:
    return drawn.level / MOST * 1.8 + 0.1


def _tables(images: jax.Array, drawn: Drawn) -> jax.Array:
    """What becomes of each byte of each channel: uint8 [B, c, 256]."""
    pixels = images.shape[1] * images.shape[2]
    histogram = _histogram(images)
    low, high = (
        end(images, axis=(1, 2)).astype(jnp.int32)[..., None] for end in (jnp.min, jnp.max)
    )
    byte = jnp.arange(256, dtype=jnp.int32)
    share = drawn.level[:, None, None] / MOST
    bits, threshold, added = (jnp.floor(share * top).astype(jnp.int32) for top in (4, 256, 110))
    # Equalize leaves the brightest value out of its count.
    step = (pixels - jnp.take_along_axis(histogram, high, axis=2)) // 255
    below = jnp.cumsum(histogram, axis=2) - histogram
    gray = (2 * _gray(images).sum(axis=(1, 2)) + pixels) // (2 * pixels)
    factor = _factor(drawn)[:, None, None]
    tables = {
        "autocontrast": jnp.where(
            high > low, (byte - low) * 255 // jnp.maximum(high - low, 1), byte
        ),
        "equalize": jnp.where(step > 0, (step // 2 + below) // jnp.maximum(step, 1), byte),
        "invert": 255 - byte,
        "posterize": byte & -(1 << (8 - bits)),
        "solarize": jnp.where(byte < threshold, byte, 255 - byte),
        "solarize_add": jnp.where(byte < 128, byte + added, byte),
        "brightness": _mixed(0, byte, factor),
        "contrast": _mixed(gray[:, None, None], byte, factor),
    }
    table = byte
    for name, values in tables.items():
        table = jnp.where(_is(drawn, name)[:, None, None], values, table)
    return jnp.clip(table, 0, 255).astype(jnp.uint8)


def _mixed(plain: jax.Array | int, values: jax.Array, factor: jax.Array) -> jax.Array:
    """Pillow's blend of bytes, away from ``plain`` where the factor is above 1."""
    mixed = plain + factor * (values - plain).astype(jnp.float32)
    return jnp.clip(mixed, 0, 255).astype(jnp.int32)


def _histogram(images: jax.Array) -> jax.Array:
    """How often each byte stands in each channel: uint8 [B, H, W, c] to int32 [B, c, 256]."""
    rows, height, width, channels = images.shape
    values = images.reshape(rows, height * width, channels).swapaxes(1, 2).astype(jnp.int32)

    def count(values: jax.Array) -> jax.Array:
        return jnp.zeros(256, jnp.int32).at[values].add(1, mode="promise_in_bounds")

    return jax.vmap(jax.vmap(count))(values)


def _look_up(images: jax.Array, tables: jax.Array) -> jax.Array:
    """Each byte's entry in the table of its channel."""
    rows, height, width, channels = images.shape
    values = images.reshape(rows, height * width, channels).astype(jnp.int32)
    entries = tables.swapaxes(1, 2)
    found = jnp.take_along_axis(entries, values, axis=1, mode="promise_in_bounds")
    return found.reshape(images.shape)


def _gray(images: jax.Array) -> jax.Array:
    """Pillow's gray of bytes: [..., c] to int32 [...]."""
    if images.shape[-1] == 1:
        return images[..., 0].astype(jnp.int32)
    red, green, blue = (images[..., i].astype(jnp.int32) * int(_LUMA[i]) for i in range(3))
    return (red + green + blue + (1 << 15)) >> 16


def _blend(images: jax.Array, drawn: Drawn) -> jax.Array:
    """Colour, a blend with the image's gray, and sharpness, one with the image smoothed."""
    values = images.astype(jnp.int32)
    sharpen = _is(drawn, "sharpness")
    factor = jnp.where(_is(drawn, "colour") | sharpen, _factor(drawn), 1)[:, None, None, None]
    plain = jnp.where(sharpen[:, None, None, None], _smooth(values), _gray(images)[..., None])
    return _mixed(plain, values, factor).astype(jnp.uint8)


def _smooth(values: jax.Array) -> jax.Array:
    """Means of 3 x 3 pixels, the middle one counted 5 times; the border stays as it is."""
    lines = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    sums = lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:]
    means = (sums + 4 * values[:, 1:-1, 1:-1] + 6) // 13
    return values.at[:, 1:-1, 1:-1].set(means)


def _matrices(drawn: Drawn, height: int, width: int) -> jax.Array:
    """Maps [B, 2, 3] of `warp`; the identity where the operation moves nothing."""
    share = jnp.where(drawn.negative, -drawn.level, drawn.level) / MOST

    def amount(name: str, most: float) -> jax.Array:
        return jnp.where(_is(drawn, name), most * share, 0)

    angle = amount("rotate", float(np.radians(30)))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    across = amount("translate_x", 0.45 * width) + x - cosine * x + sine * y
    down = amount("translate_y", 0.45 * height) + y - sine * x - cosine * y
    first = jnp.stack([cosine, amount("shear_x", 0.3) - sine, across], axis=-1)
    second = jnp.stack([amount("shear_y", 0.3) + sine, cosine, down], axis=-1)
    return jnp.stack([first, second], axis=1)


def _fill(fill: int | Sequence[int], channels: int) -> int | list[int]:
    """What a warp puts outside an image of this many channels: a byte, or one a channel."""
    check_fill(fill)
    values = np.asarray(fill)
    if values.ndim and channels == 1:
        values = (values @ _LUMA + (1 << 15)) >> 16
    return values.tolist()


def check_fill(fill: int | Sequence[int]) -> None:
    """Raises a ValueError unless a fill is one byte or three."""
    values = np.asarray(fill)
    if values.shape not in ((), (3,)) or values.min() < 0 or values.max() > 255:
        raise ValueError(f"fill must be one byte or three, each in 0 ... 255; got {fill}.")


def check_draw(
    operations: Sequence[str], count: int, magnitude: float, spread: float, probability: float
) -> None:
    """Raises a ValueError unless the parameters of a draw are in their ranges."""
    if not operations:
        raise ValueError("operations must name at least one operation, got none.")
    for name in operations:
        if name not in OPERATIONS:
            raise ValueError(f"operations must be of {', '.join(OPERATIONS)}; got {name!r}.")
    check_number("count", count, 1)
    check_number("magnitude", magnitude, 0, MOST)
    check_number("spread", spread, 0)
    check_number("probability", probability, 0, 1)
