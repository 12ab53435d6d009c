"""Colours against Pillow, colorsys and NumPy, and the distributions of what is drawn."""

import colorsys
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mcl_jax.views import colour
from mcl_jax.views.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    colour_jitter,
    draw_jitter,
    grayscale,
    jitter,
    random_apply,
    random_grayscale,
    random_solarize,
    solarize,
)

STRENGTHS = {"brightness": 0.4, "contrast": 1.5, "saturation": 0.2, "hue": 0.1}
BLENDS = {
    "brightness": (adjust_brightness, ImageEnhance.Brightness),
    "contrast": (adjust_contrast, ImageEnhance.Contrast),
    "saturation": (adjust_saturation, ImageEnhance.Color),
}
BYTES = np.random.default_rng(0).integers(0, 256, (4, 28, 32, 3), np.uint8)
FLOATS = BYTES.astype(np.float32) / 255


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def uniform_distance(numbers: np.ndarray) -> float:
    """Kolmogorov-Smirnov's distance from the uniform distribution, times the root of the count."""
    count = len(numbers)
    steps = np.arange(count + 1) / count
    ordered = np.sort(numbers)
    return count**0.5 * max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))


@pytest.mark.parametrize("name", BLENDS)
def test_blends_are_pillows(name):
    ours, theirs = BLENDS[name]
    factors = np.array([0.0, 0.6, 1.0, 1.7], np.float32)
    jitted = jax.jit(ours)
    views = np.asarray(jitted(BYTES, factors), int)
    for image, factor, view in zip(BYTES, factors, views, strict=True):
        expected = np.asarray(theirs(Image.fromarray(image)).enhance(float(factor)), int)
        assert np.abs(view - expected).max() <= 1
    np.testing.assert_array_equal(views[2], BYTES[2])
    floats = np.asarray(jitted(FLOATS, factors))
    np.testing.assert_allclose(255 * floats, views, atol=0.5001)
    alone = jitted(FLOATS[3:], factors[3:])
    np.testing.assert_allclose(alone[0], floats[3], atol=1e-6)
    np.testing.assert_allclose(ours(FLOATS, 1.7)[3], floats[3], atol=1e-6)


def test_hues_turn_as_in_hsv():
    turns = np.array([-0.5, -0.1, 0.0, 0.3], np.float32)
    images = FLOATS[:, :6, :6].copy()
    images[:, 0] = images[:, 0, :, :1]  # gray pixels
    images[:, 1, :, 1] = images[:, 1, :, 0]  # two channels alike
    images[:, 2, 0] = 0
    views = np.asarray(jax.jit(adjust_hue)(images, turns))
    for image, turn, view in zip(images, turns, views, strict=True):
        hsv = np.array([colorsys.rgb_to_hsv(*x) for x in image.reshape(-1, 3).astype(float)])
        expected = [colorsys.hsv_to_rgb((h + float(turn)) % 1, s, v) for h, s, v in hsv]
        np.testing.assert_allclose(view.reshape(-1, 3), expected, atol=3e-6)
    np.testing.assert_array_equal(views[2], images[2])


def test_hues_of_bytes_are_nearly_pillows():
    view = np.asarray(adjust_hue(BYTES, 0.25)[0], int)
    hues, *rest = Image.fromarray(BYTES[0]).convert("HSV").split()
    hues = hues.point([(x + 64) % 256 for x in range(256)])
    expected = np.asarray(Image.merge("HSV", (hues, *rest)).convert("RGB"), int)
    difference = np.abs(view - expected)
    assert difference.max() <= 10  # of saturated colours: Pillow's hues are whole 256ths
    assert np.quantile(difference, 0.9) <= 2
    assert difference.mean() < 1


def test_gray_is_pillows():
    views = np.asarray(grayscale(BYTES), int)
    expected = [np.asarray(Image.fromarray(x).convert("L"), int) for x in BYTES]
    assert np.abs(views - np.stack(expected)[..., None]).max() <= 1
    assert np.ptp(views, axis=-1).max() == 0


@pytest.mark.parametrize("threshold", [0, 0.3, 0.5, 1])
def test_solarize_is_pillows(threshold):
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    expected = ImageOps.solarize(Image.fromarray(image[0, ..., 0]), 255 * threshold)
    np.testing.assert_array_equal(solarize(image, threshold)[0, ..., 0], expected)
    floats = image.astype(np.float64)[..., 0] / 255
    expected = np.where(floats >= threshold, 1 - floats, floats)
    np.testing.assert_allclose(solarize(image / np.float32(255), threshold)[..., 0], expected, 1e-5)


def test_a_jitter_is_its_operations_in_the_drawn_order():
    orders = np.asarray(colour._ORDERS)
    assert len(np.unique(orders, axis=0)) == 24
    images = np.random.default_rng(1).random((24, 5, 4, 3), np.float32)
    drawn = draw_jitter(keys(24), **STRENGTHS)._replace(order=jnp.asarray(orders))
    views = np.asarray(jax.jit(jitter)(images, drawn))
    operations = [adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue]
    operations = [jax.jit(operation) for operation in operations]
    for i, view in enumerate(views):
        expected = images[i : i + 1]
        for operation in orders[i]:
            expected = operations[operation](expected, drawn[operation][i : i + 1])
        np.testing.assert_allclose(view, expected[0], atol=2e-6)


def test_a_jitter_depends_on_its_own_key_alone_under_jit_too():
    def operation(keys, images):
        return colour_jitter(keys, images, **STRENGTHS, probability=0.5)

    jitted = jax.jit(operation)
    images = np.concatenate([FLOATS, FLOATS])[:, :7, :8]
    whole = np.asarray(jitted(keys(8), images))
    np.testing.assert_allclose(jitted(keys(8)[2:3], images[2:3])[0], whole[2], atol=1e-6)
    np.testing.assert_allclose(operation(keys(8), images), whole, atol=3e-6)
    kept = np.all(whole == images, axis=(1, 2, 3))
    fired = np.asarray(draw_jitter(keys(8), **STRENGTHS, probability=0.5).contrast) != 1
    np.testing.assert_array_equal(kept, ~fired)
    assert 0 < kept.sum() < 8
    tiny = jax.eval_shape(operation, keys(8), jnp.asarray(images, jnp.bfloat16))
    assert (tiny.shape, tiny.dtype) == (images.shape, jnp.bfloat16)


def test_what_a_jitter_draws():
    rows, probability = 20000, 0.8
    drawn = draw_jitter(keys(rows), **STRENGTHS, probability=probability)
    brightness, contrast, saturation, hue, order = (np.asarray(x) for x in drawn)
    fired = brightness != 1
    assert abs(fired.mean() - probability) < 3.3 * (0.16 / rows) ** 0.5
    for values, low, high in (
        (brightness, 0.6, 1.4),
        (contrast, 0.0, 2.5),
        (saturation, 0.8, 1.2),
        (hue, -0.1, 0.1),
    ):
        np.testing.assert_array_equal(values != (0 if low < 0 else 1), fired)
        assert uniform_distance((values[fired] - low) / (high - low)) < 1.95  # 0.999
    codes = order @ 4 ** np.arange(4)
    found, counts = np.unique(codes, return_counts=True)
    assert len(found) == 24
    expected = rows / 24
    assert np.sum((counts - expected) ** 2 / expected) < 49.7  # chi-square, 23 degrees, 0.999
    table = np.stack([brightness, contrast, saturation, hue, codes])[:, fired]
    correlations = np.corrcoef(table)[np.triu_indices(5, 1)]
    assert np.abs(correlations).max() < 4 / rows**0.5


def test_gray_images_keep_what_has_no_colour():
    images = BYTES[..., :1]
    for operation in (grayscale, lambda x: adjust_hue(x, 0.3), lambda x: adjust_saturation(x, 0.2)):
        np.testing.assert_array_equal(operation(images), images)
    expected = np.asarray(ImageEnhance.Contrast(Image.fromarray(images[0, ..., 0])).enhance(0.5))
    assert np.abs(adjust_contrast(images, 0.5)[0, ..., 0].astype(int) - expected).max() <= 1
    drawn = draw_jitter(keys(4), brightness=0.5, contrast=0, saturation=0.5, hue=0.5)
    brighter = adjust_brightness(images, drawn.brightness)
    np.testing.assert_array_equal(jitter(images, drawn), brighter)


OFTEN = {
    "gray": (lambda keys, x, p: random_grayscale(keys, x, p), grayscale),
    "solarize": (lambda keys, x, p: random_solarize(keys, x, 0.4, p), lambda x: solarize(x, 0.4)),
    "apply": (
        lambda keys, x, p: random_apply(keys, x, lambda _, y: 255 - y, p),
        lambda x: 255 - x,
    ),
}


@pytest.mark.parametrize("name", OFTEN)
def test_random_operations_happen_as_often_as_asked(name):
    operation, always = OFTEN[name]
    rows = 3000
    images = np.tile(np.array([[[[10, 200, 90]]]], np.uint8), (rows, 1, 1, 1))
    jitted = jax.jit(operation, static_argnums=2)
    views = np.asarray(jitted(keys(rows), images, 0.3))
    changed = np.all(views == np.asarray(always(images)), axis=(1, 2, 3))
    kept = np.all(views == images, axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, ~kept)
    assert abs(changed.mean() - 0.3) < 3.3 * (0.21 / rows) ** 0.5
    np.testing.assert_array_equal(jitted(keys(rows)[7:9], images[7:9], 0.3), views[7:9])
    assert np.all(jitted(keys(rows), images, 0) == images)


def test_an_operation_applied_at_random_gets_keys_of_its_own():
    seen = []

    def operation(keys, images):
        seen.append(jax.random.key_data(keys))
        return images

    random_apply(keys(50), np.zeros((50, 1, 1, 1), np.uint8), operation, 0.5)
    assert len(np.unique(np.concatenate([seen[0], jax.random.key_data(keys(50))]), axis=0)) == 100


WRONG = BYTES[..., :2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adjust_brightness(BYTES, -0.1), "factor must be at least 0, got -0.1."),
        (lambda: adjust_hue(BYTES, 0.6), "factor must be in -0.5 ... 0.5, got 0.6."),
        (
            lambda: adjust_contrast(BYTES, np.ones(3)),
            "factor must be one number, or one for each of 4 images, got shape (3,).",
        ),
        (
            lambda: adjust_saturation(BYTES.astype(np.int32), 1),
            "images must be uint8, or floating in 0 ... 1, got int32.",
        ),
        *(
            (call, "images must have 1 channel (gray) or 3 (red, green, blue), got 2.")
            for call in (
                lambda: adjust_contrast(WRONG, 1),
                lambda: adjust_hue(WRONG, 0),
                lambda: grayscale(WRONG),
                lambda: random_grayscale(keys(4), WRONG),
                lambda: colour_jitter(keys(4), WRONG, **STRENGTHS),
            )
        ),
        (lambda: solarize(BYTES, 128), "threshold must be in 0 ... 1, got 128."),
        (lambda: random_solarize(keys(4), BYTES[0]), "images must have axes [B, H, W, c]"),
        (
            lambda: draw_jitter(keys(4), **STRENGTHS | {"contrast": -1}),
            "contrast must be at least 0, got -1.",
        ),
        (
            lambda: draw_jitter(keys(4), **STRENGTHS | {"hue": 0.6}),
            "hue must be in 0 ... 0.5, got 0.6.",
        ),
        (
            lambda: draw_jitter(keys(4), **STRENGTHS, probability=2),
            "probability must be in 0 ... 1, got 2.",
        ),
        (
            lambda: random_apply(keys(4), BYTES, lambda _, x: x, float("nan")),
            "probability must be in 0 ... 1, got nan.",
        ),
        (
            lambda: random_apply(keys(4), BYTES, lambda _, x: x[:, 1:], 0.5),
            "an operation applied at random must keep shape and dtype, uint8 (4, 28, 32, 3), "
            "got uint8 (4, 27, 32, 3).",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
