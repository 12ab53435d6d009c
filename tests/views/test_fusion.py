"""The fused view against the operations one by one, and how far it is from them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.data import load
from mcl_jax.views import colour, draws
from mcl_jax.views.blur import draw_blur, gaussian_blur
from mcl_jax.views.fusion import fused
from mcl_jax.views.geometry import crop_and_resize, draw_crops, flip

STRENGTHS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
ROWS = 6


def keys(rows: int = ROWS, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def only(**changes: jax.Array) -> colour.Jitter:
    """A jitter that does nothing but the given."""
    ones = jnp.ones(ROWS)
    order = jnp.tile(jnp.arange(4), (ROWS, 1))
    return colour.Jitter(ones, ones, ones, 0 * ones, order)._replace(**changes)


def images(side: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS, side, side, channels), np.uint8)


@pytest.mark.parametrize(
    ("side", "size", "channels"), [(20, (20, 16), 3), (28, 28, 1), (80, (70, 66), 3)]
)
def test_crop_flip_and_blur_are_exact(side, size, channels):
    boxes = draw_crops(keys(), side, side)
    flipped, sigma = draws.chances(keys(seed=1), 0.5), draw_blur(keys(seed=2), (0.3, 2.0), 0.7)

    def both(images):
        exact = crop_and_resize(images.astype(jnp.float32) / 255, boxes, size)
        exact = flip(exact, flipped)
        options = {"size": size, "boxes": boxes, "flipped": flipped}
        plain = fused(images, **options)
        blurred = fused(images, **options, sigma=sigma)
        return exact, gaussian_blur(exact, sigma, radius=8), plain, blurred

    exact, exactly_blurred, plain, blurred = jax.jit(both)(images(side, channels))
    np.testing.assert_allclose(plain, exact, atol=3e-6)
    np.testing.assert_allclose(blurred, exactly_blurred, atol=3e-6)
    assert plain.dtype == jnp.float32


def test_each_colour_alone_is_exact_and_hues_keep_luma():
    pixels = 100 + images(8) // 8  # nothing is clipped
    pixels[-1] = pixels[0]
    boxes = jnp.tile(jnp.array([0, 0, 8, 8]), (ROWS, 1))
    factors, turns = jnp.linspace(0.3, 1.6, ROWS), jnp.linspace(-0.5, 0.5, ROWS)
    gray = jnp.arange(ROWS) % 2 == 0

    def both(pixels):
        x = pixels.astype(jnp.float32) / 255
        pairs = {
            "brightness": colour.adjust_brightness(x, factors),
            "contrast": colour.adjust_contrast(x, factors),
            "saturation": colour.adjust_saturation(x, factors),
        }
        found = {
            name: fused(pixels, size=8, boxes=boxes, jitter=only(**{name: factors}))
            for name in pairs
        }
        pairs["gray"] = colour.select(gray, colour.grayscale(x), x)
        found["gray"] = fused(pixels, size=8, boxes=boxes, gray=gray)
        turned = fused(pixels, size=8, boxes=boxes, jitter=only(hue=turns))
        return x, pairs, found, turned

    x, pairs, found, turned = jax.jit(both)(pixels)
    for name, exact in pairs.items():
        np.testing.assert_allclose(found[name], exact, atol=2e-6, err_msg=name)
    luma = np.array(colour.LUMA)
    np.testing.assert_allclose(turned @ luma, x @ luma, atol=2e-6)
    np.testing.assert_allclose(turned[0], turned[-1], atol=2e-6)  # half a turn either way
    pure = np.tile(np.array([0.5, 0.45, 0.45], np.float32), (ROWS, 1, 1, 1))
    third = fused(pure, size=1, boxes=boxes // 8, jitter=only(hue=jnp.full(ROWS, 1 / 3)))
    assert np.argmax(third[0]) == 1  # red becomes green, as in HSV


def test_gray_images_have_brightness_and_contrast():
    boxes = draw_crops(keys(), 12, 12)
    drawn = colour.draw_jitter(keys(), **STRENGTHS)

    def both(images):
        exact = crop_and_resize(images.astype(jnp.float32) / 255, boxes, 12)
        plain = colour.adjust_contrast(colour.adjust_brightness(exact, drawn.brightness), drawn[1])
        return plain, fused(images, size=12, boxes=boxes, jitter=drawn, gray=jnp.ones(ROWS, bool))

    exact, found = jax.jit(both)(images(12, 1) // 2)
    np.testing.assert_allclose(found, exact, atol=2e-6)


def test_it_is_as_near_to_the_exact_view_as_its_documentation_says():
    photographs = load("photographs", validation_size=14).train.images[:700]
    rows = len(photographs)

    @jax.jit
    def both(keys, images):
        keys = jax.vmap(lambda key: jax.random.split(key, 5))(keys)
        boxes = draw_crops(keys[:, 0], 32, 32, scale=(0.2, 1))
        jitter = colour.draw_jitter(keys[:, 1], **STRENGTHS, probability=0.8)
        gray, sigma = draws.chances(keys[:, 2], 0.2), draw_blur(keys[:, 3])
        flipped = draws.chances(keys[:, 4], 0.5)
        x = flip(crop_and_resize(images.astype(jnp.float32) / 255, boxes, 32), flipped)
        x = colour.jitter(x, jitter)
        x = gaussian_blur(colour.select(gray, colour.grayscale(x), x), sigma, radius=8)
        options = {"boxes": boxes, "jitter": jitter, "gray": gray, "sigma": sigma}
        return x, fused(images, size=32, flipped=flipped, **options)

    exact, found = both(keys(rows), np.asarray(photographs))
    difference = np.abs(exact - found)
    assert difference.mean() < 0.022
    assert np.quantile(difference, 0.95) < 0.12
    assert np.quantile(difference, 0.99) < 0.22


def test_a_view_alone_is_that_in_its_batch_and_jit_changes_nothing():
    def operation(keys, images):
        drawn = colour.draw_jitter(keys, **STRENGTHS)
        boxes = draw_crops(keys, *images.shape[1:3])
        sigma = draw_blur(keys)
        return fused(images, size=10, boxes=boxes, jitter=drawn, sigma=sigma)

    jitted = jax.jit(operation)
    whole = jitted(keys(), images(14))
    np.testing.assert_allclose(jitted(keys()[4:5], images(14)[4:5])[0], whole[4], atol=2e-6)
    np.testing.assert_allclose(operation(keys(), images(14)), whole, atol=3e-6)


BOXES = np.tile(np.array([0, 0, 6, 6]), (ROWS, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: fused(images(6, 2), size=4, boxes=BOXES),
            "images must have 1 channel (gray) or 3 (red, green, blue), got 2.",
        ),
        (
            lambda: fused(images(6), size=4, boxes=BOXES[:, :3]),
            "boxes must be integers (6, 4): top, left, height, width, got int",
        ),
        (
            lambda: fused(images(6), size=-4, boxes=BOXES),
            "size must be a side or (height, width), above 0, got -4.",
        ),
        (
            lambda: fused(images(6), size=4, boxes=BOXES, interpolation="lanczos"),
            "interpolation must be one of nearest, bilinear, bicubic, got 'lanczos'.",
        ),
        (
            lambda: fused(images(6), size=4, boxes=BOXES, sigma=jnp.ones(ROWS), radius=-1),
            "radius must be at least 0, got -1.",
        ),
        (
            lambda: fused(images(6), size=4, boxes=BOXES, sigma=jnp.ones(2)),
            "sigma must be one number, or one for each of 6 images, got shape (2,).",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
