"""The colours of a view: jitter, grayscale, solarising. Random operations take a key for each row.

Factors and hues mean what they mean in torchvision. With the gray of a pixel,

    gray = 0.299 red + 0.587 green + 0.114 blue

brightness, contrast and saturation with factor f are f x + (1 - f) target, clipped to 0 ... 1; the
target is black, the mean gray of the image, and the gray of the pixel. An image of one channel is
its own gray: saturation, hue and grayscale leave it as it is.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mcl_jax.views.draws import chances, span, spread, uniforms, whole
from mcl_jax.views.pixels import (
    by_row,
    check_axes,
    check_colours,
    check_number,
    check_pixels,
    per_image,
    select,
    to_dtype,
    to_float,
)

LUMA = (0.299, 0.587, 0.114)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)


class Jitter(NamedTuple):
    """What a colour jitter draws for each image.

    Attributes:
        brightness: float32 [B], a factor; 1 changes nothing.
        contrast: float32 [B], a factor.
        saturation: float32 [B], a factor.
        hue: float32 [B], turns of the colour wheel, -0.5 ... 0.5; 0 changes nothing.
        order: int32 [B, 4], which comes first, second ...: 0 is brightness, 1 contrast,
            2 saturation, 3 hue.
    """

    brightness: jax.Array
    contrast: jax.Array
    saturation: jax.Array
    hue: jax.Array
    order: jax.Array


def adjust_brightness(images: jax.Array, factor: float | jax.Array) -> jax.Array:
    """Blends images with black: factor x.

    Args:
        images: [B, H, W, 1 or 3], uint8, or floating in 0 ... 1.
        factor: [] or [B], at least 0; 0 is black, 1 changes nothing.

    Returns:
        Shape and dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, 1 or 3] pixels, or ``factor`` is neither [] nor [B],
            or a Python number below 0.

    Example:
        >>> import jax.numpy as jnp
        >>> adjust_brightness(jnp.full((1, 1, 1, 1), 100, jnp.uint8), 1.5).item()
        150
    """
    return _adjust(images, factor, lambda rows: 0.0)


def adjust_contrast(images: jax.Array, factor: float | jax.Array) -> jax.Array:
    """Blends images with the mean of their gray: factor x + (1 - factor) mean gray.

    Args:
        images: [B, H, W, 1 or 3], uint8, or floating in 0 ... 1.
        factor: [] or [B], at least 0; 0 is a gray plane, 1 changes nothing.

    Returns:
        Shape and dtype of ``images``. (Pillow rounds the mean of bytes; here it is not rounded.)

    Raises:
        ValueError: what `adjust_brightness` raises.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.array([100, 200], jnp.uint8).reshape(1, 1, 2, 1)
        >>> adjust_contrast(image, 0.5)[0, 0, :, 0].tolist()
        [125, 175]
    """
    return _adjust(images, factor, lambda rows: _mean(_gray(rows)))


def adjust_saturation(images: jax.Array, factor: float | jax.Array) -> jax.Array:
    """Blends images with their gray: factor x + (1 - factor) gray. Gray images stay the same.

    Args:
        images: [B, H, W, 1 or 3], uint8, or floating in 0 ... 1.
        factor: [] or [B], at least 0; 0 is gray, 1 changes nothing.

    Returns:
        Shape and dtype of ``images``.

    Raises:
        ValueError: what `adjust_brightness` raises.

    Example:
        >>> import jax.numpy as jnp
        >>> adjust_saturation(jnp.array([[[[255, 0, 0]]]], jnp.uint8), 0).tolist()
        [[[[76, 76, 76]]]]
    """
    return _adjust(images, factor, _gray)


def adjust_hue(images: jax.Array, factor: float | jax.Array) -> jax.Array:
    """Turns the colour wheel of HSV; value and saturation stay. Gray images stay the same.

    Args:
        images: [B, H, W, 1 or 3], uint8, or floating in 0 ... 1.
        factor: [] or [B], turns, -0.5 ... 0.5; 1/3 makes green of red.

    Returns:
        Shape and dtype of ``images``. (Pillow rounds hue and saturation to bytes on the way, which
        here are not rounded.)

    Raises:
        ValueError: ``images`` is not [B, H, W, 1 or 3] pixels, or ``factor`` is neither [] nor [B],
            or a Python number outside -0.5 ... 0.5.

    Example:
        >>> import jax.numpy as jnp
        >>> adjust_hue(jnp.array([[[[255, 0, 0]]]], jnp.uint8), 1 / 3).tolist()
        [[[[0, 255, 0]]]]
    """
    check_colours(images)
    if isinstance(factor, int | float):
        check_number("factor", factor, -0.5, 0.5)
    turns = per_image("factor", factor, images)
    return to_dtype(by_row(_turn(by_row(to_float(images)), turns)), images.dtype)


def grayscale(images: jax.Array) -> jax.Array:
    """The gray of images in all of their channels.

    Args:
        images: [B, H, W, 1 or 3], uint8, or floating in 0 ... 1.

    Returns:
        Shape and dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, 1 or 3] pixels.

    Example:
        >>> import jax.numpy as jnp
        >>> grayscale(jnp.array([[[[0, 255, 0]]]], jnp.uint8)).tolist()
        [[[[150, 150, 150]]]]
    """
    check_colours(images)
    rows = by_row(to_float(images))
    return to_dtype(by_row(jnp.broadcast_to(_gray(rows), rows.shape)), images.dtype)


def solarize(images: jax.Array, threshold: float = 0.5) -> jax.Array:
    """Inverts all values that are at least the threshold: 1 - x.

    Args:
        images: [B, H, W, c], uint8, or floating in 0 ... 1.
        threshold: in 0 ... 1, times 255 for bytes.

    Returns:
        Shape and dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c] pixels, or ``threshold`` is not in 0 ... 1.

    Example:
        >>> import jax.numpy as jnp
        >>> solarize(jnp.array([127, 128], jnp.uint8).reshape(1, 1, 2, 1))[0, 0, :, 0].tolist()
        [127, 127]
    """
    check_pixels(images)
    check_number("threshold", threshold, 0, 1)
    top = 255 if images.dtype == jnp.uint8 else 1
    return jnp.where(images >= top * threshold, top - images, images)


def draw_jitter(
    keys: jax.Array,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    probability: float = 1.0,
) -> Jitter:
    """Draws a colour jitter for each image, as torchvision's ``ColorJitter``.

    A strength s draws a factor uniform on max(0, 1 - s) ... 1 + s, and ``hue`` a turn uniform on
    -hue ... hue. The order is one of the 24, all alike.

    Args:
        keys: [B], JAX random keys, one an image.
        brightness: strength, at least 0.
        contrast: strength, at least 0.
        saturation: strength, at least 0.
        hue: in 0 ... 0.5.
        probability: that an image is jittered at all; one that is not gets factors 1 and hue 0.

    Returns:
        `Jitter` of arrays [B].

    Raises:
        ValueError: a strength or the probability is out of its range.

    Example:
        >>> import jax
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> strengths = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        >>> jax.eval_shape(lambda: draw_jitter(keys, **strengths)).order.shape
        (2, 4)
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        check_number(name, strength, 0)
    check_number("hue", hue, 0, 0.5)
    check_number("probability", probability, 0, 1)
    return jitter_of_spans(keys, jitter_spans(**strengths, hue=hue), probability)


def jitter_spans(
    *, brightness: float, contrast: float, saturation: float, hue: float
) -> dict[str, jax.Array]:
    """What factors and turns of hue are drawn from: a `draws.span` each, [2]."""
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    spans = {name: span(max(0.0, 1.0 - s), 1.0 + s) for name, s in strengths.items()}
    return spans | {"hue": span(-hue, hue)}


def jitter_of_spans(keys: jax.Array, spans: Mapping[str, jax.Array], probability: float) -> Jitter:
    """`draw_jitter` of `jitter_spans`, which may be known at run time alone."""
    numbers = uniforms(keys, 6)
    fired = numbers[:, 0] < probability
    factors = [
        jnp.where(fired, spread(numbers[:, i + 1], spans[name]), 1.0)
        for i, name in enumerate(("brightness", "contrast", "saturation"))
    ]
    turns = jnp.where(fired, spread(numbers[:, 4], spans["hue"]), 0.0)
    order = jnp.asarray(_ORDERS)[whole(numbers[:, 5], len(_ORDERS))]
    return Jitter(factors[0], factors[1], factors[2], turns, order)


def jitter(images: jax.Array, drawn: Jitter) -> jax.Array:
    """Brightness, contrast, saturation and hue, in each image's own order.

    The three blends share one form, so that the hue, which costs most, is turned once: blends that
    come before it are made before and the others after, each with a factor of 1 where it is not an
    image's turn.

    Args:
        images: [B, H, W, 1 or 3], uint8, or floating in 0 ... 1.
        drawn: from `draw_jitter`.

    Returns:
        Shape and dtype of ``images``. Bytes are rounded once, at the end.

    Raises:
        ValueError: ``images`` is not [B, H, W, 1 or 3] pixels.

    Example:
        >>> import jax.numpy as jnp
        >>> factors = [jnp.array([x]) for x in (2.0, 1.0, 0.0, 0.0)]  # twice as bright, then gray
        >>> drawn = Jitter(*factors, jnp.array([[0, 1, 2, 3]]))
        >>> jitter(jnp.array([[[[200, 20, 0]]]], jnp.uint8), drawn).tolist()
        [[[[100, 100, 100]]]]
    """
    check_colours(images)
    rows = by_row(to_float(images))
    order, turned_at = drawn.order, jnp.argmax(drawn.order == HUE, axis=1, keepdims=True)
    rows = _blend_in_turn(rows, drawn, order[:, :3], jnp.arange(3) < turned_at)
    rows = _turn(rows, per_image("hue", drawn.hue, images))
    rows = _blend_in_turn(rows, drawn, order[:, 1:], jnp.arange(1, 4) > turned_at)
    return to_dtype(by_row(rows), images.dtype)


def colour_jitter(
    keys: jax.Array,
    images: jax.Array,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    probability: float = 1.0,
) -> jax.Array:
    """Jitters the colours at random: `draw_jitter`, `jitter`.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, 1 or 3], uint8, or floating in 0 ... 1.
        brightness: strength, at least 0.
        contrast: strength, at least 0.
        saturation: strength, at least 0.
        hue: in 0 ... 0.5.
        probability: that an image is jittered at all.

    Returns:
        Shape and dtype of ``images``.

    Raises:
        ValueError: what `draw_jitter` and `jitter` raise.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys, images = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 32, 32, 3))
        >>> strengths = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        >>> jax.eval_shape(lambda: colour_jitter(keys, images, **strengths)).shape
        (2, 32, 32, 3)
    """
    check_colours(images)
    drawn = draw_jitter(
        keys,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        probability=probability,
    )
    return jitter(images, drawn)


def random_grayscale(keys: jax.Array, images: jax.Array, probability: float = 0.2) -> jax.Array:
    """`grayscale` with a probability, where `draws.chances` says so.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, 1 or 3], uint8, or floating in 0 ... 1.
        probability: in 0 ... 1.

    Returns:
        Shape and dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, 1 or 3] pixels, or ``probability`` is not in
            0 ... 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys, images = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 32, 32, 3))
        >>> jax.eval_shape(random_grayscale, keys, images).shape
        (2, 32, 32, 3)
    """
    check_colours(images)
    return select(chances(keys, probability), grayscale(images), images)


def random_solarize(
    keys: jax.Array, images: jax.Array, threshold: float = 0.5, probability: float = 0.2
) -> jax.Array:
    """`solarize` with a probability, where `draws.chances` says so.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], uint8, or floating in 0 ... 1.
        threshold: in 0 ... 1, times 255 for bytes.
        probability: in 0 ... 1.

    Returns:
        Shape and dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c] pixels, or a parameter is not in 0 ... 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys, images = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 32, 32, 3))
        >>> jax.eval_shape(random_solarize, keys, images).shape
        (2, 32, 32, 3)
    """
    check_pixels(images)
    return select(chances(keys, probability), solarize(images, threshold), images)


def random_apply(
    keys: jax.Array,
    images: jax.Array,
    operation: Callable[[jax.Array, jax.Array], jax.Array],
    probability: float,
) -> jax.Array:
    """Any random operation, with a probability.

    It runs on every image of the batch; where it does not fire, its result is dropped.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], any dtype.
        operation: takes keys [B] (others than these) and images, keeps shape and dtype.
        probability: in 0 ... 1.

    Returns:
        Shape and dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c], ``probability`` is not in 0 ... 1, or the
            operation changes shape or dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys, images = jax.random.split(jax.random.key(0), 2), jnp.ones((2, 32, 32, 3))
        >>> invert = lambda keys, images: 1 - images
        >>> jax.eval_shape(lambda: random_apply(keys, images, invert, 0.5)).shape
        (2, 32, 32, 3)
    """
    check_axes(images)
    keys = jax.vmap(jax.random.split)(keys)
    changed = operation(keys[:, 1], images)
    if (changed.shape, changed.dtype) != (images.shape, images.dtype):
        raise ValueError(
            f"an operation applied at random must keep shape and dtype, {images.dtype} "
            f"{images.shape}, got {changed.dtype} {changed.shape}."
        )
    return select(chances(keys[:, 0], probability), changed, images)


def _adjust(
    images: jax.Array,
    factor: float | jax.Array,
    target: Callable[[jax.Array], jax.Array | float],
) -> jax.Array:
    check_colours(images)
    if isinstance(factor, int | float):
        check_number("factor", factor, 0)
    factors = per_image("factor", factor, images)
    rows = by_row(to_float(images))
    values = jnp.clip(factors * rows + (1 - factors) * target(rows), 0, 1)
    return to_dtype(by_row(values), images.dtype)


def _gray(rows: jax.Array) -> jax.Array:
    """[B, H, 1, W] of images [B, H, c, W]."""
    if rows.shape[2] == 1:
        return rows
    red, green, blue = (rows[:, :, i : i + 1] for i in range(3))
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def _mean(gray: jax.Array) -> jax.Array:
    return jnp.mean(gray, axis=(1, 2, 3), keepdims=True)


def _blend_in_turn(
    rows: jax.Array, drawn: Jitter, order: jax.Array, is_due: jax.Array
) -> jax.Array:
    """The blends [B, 3] that each image's order has, where they are due.

    A loop, since XLA would else make each pixel's blends anew for every blend that follows.
    """
    factors = jnp.stack([*drawn[:3], jnp.ones_like(drawn.hue)], axis=1)
    factors = jnp.where(is_due, jnp.take_along_axis(factors, order, axis=1), 1)
    weights = jnp.stack(
        [
            factors,
            jnp.where(order == CONTRAST, 1 - factors, 0),
            jnp.where(order == SATURATION, 1 - factors, 0),
        ]
    )  # of the image, of its mean gray, and of its gray: [3, B, 3]

    def blend(rows: jax.Array, weights: jax.Array) -> tuple[jax.Array, None]:
        own, of_mean, of_gray = weights[..., None, None, None]
        gray = _gray(rows)
        return jnp.clip(own * rows + (of_mean * _mean(gray) + of_gray * gray), 0, 1), None

    return lax.scan(blend, rows, jnp.moveaxis(weights, 2, 0))[0]


def _turn(rows: jax.Array, turns: jax.Array) -> jax.Array:
    """Hues of RGB images [B, H, 3, W] moved by ``turns`` [1 or B, 1, 1, 1].

    With c = max - min, the angle h counted in sixths and k = n + h modulo 6, a channel is
    max - c clip(min(k, 4 - k), 0, 1), where n is 5, 3, 1 for red, green, blue.
    """
    if rows.shape[2] == 1:
        return rows
    red, green, blue = (rows[:, :, i : i + 1] for i in range(3))
    high, low = jnp.max(rows, axis=2, keepdims=True), jnp.min(rows, axis=2, keepdims=True)
    chroma = high - low
    is_red, is_green = high == red, high == green
    difference = jnp.where(is_red, green - blue, jnp.where(is_green, blue - red, red - green))
    angle = jnp.where(is_red, 0.0, jnp.where(is_green, 2.0, 4.0)) + 6 * turns
    angle += difference / jnp.where(chroma > 0, chroma, 1)
    places = jnp.array([5.0, 3.0, 1.0], rows.dtype)[:, None] + angle
    places -= 6 * jnp.floor(places / 6)
    turned = high - chroma * jnp.clip(jnp.minimum(places, 4 - places), 0, 1)
    return jnp.where(turns == 0, rows, turned)
