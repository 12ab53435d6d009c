"""Blurring against OpenCV, and the distribution of what is drawn."""

import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.views.blur import draw_blur, gaussian_blur, random_gaussian_blur


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def opencv(image: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    width = 2 * radius + 1
    blurred = cv2.GaussianBlur(image, (width, width), sigma, borderType=cv2.BORDER_REFLECT_101)
    return blurred.reshape(image.shape)


@pytest.mark.parametrize(
    ("shape", "radius"),
    [
        ((28, 28, 1), 8),
        ((12, 33, 3), 11),
        ((70, 97, 3), 5),
        ((224, 64, 3), 40),
        ((9, 9, 1), None),
        ((70, 80, 1), 40),
    ],
)
def test_a_blur_is_opencvs(shape, radius):
    images = np.random.default_rng(0).random((4, *shape), np.float32)
    sigma = np.array([0.1, 0.7, 2.0, 5.0], np.float32)
    blur = jax.jit(lambda images, sigma: gaussian_blur(images, sigma, radius=radius))
    views = np.asarray(blur(images, sigma))
    radius = min(shape[:2]) - 1 if radius is None else radius
    expected = [opencv(x, float(s), radius) for x, s in zip(images, sigma, strict=True)]
    np.testing.assert_allclose(views, expected, atol=3e-6)
    np.testing.assert_allclose(blur(images[2:3], sigma[2:3])[0], views[2], atol=1e-6)


def test_bytes_are_rounded_and_no_sigma_is_no_blur():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), np.uint8)
    views = gaussian_blur(images, jnp.array([0.0, 1.2]), radius=5)
    assert views.dtype == jnp.uint8
    np.testing.assert_array_equal(views[0], images[0])
    expected = opencv(images[1].astype(np.float32), 1.2, 5)
    assert np.abs(np.asarray(views[1]) - expected).max() <= 0.5001


def test_the_radius_of_a_number_is_four_sigma_and_a_wide_one_reaches_the_other_side():
    images = np.random.default_rng(0).random((1, 20, 20, 1), np.float32)
    np.testing.assert_allclose(gaussian_blur(images, 0.9)[0], opencv(images[0], 0.9, 4), atol=3e-6)
    wide = gaussian_blur(images, 3.0, radius=500)
    np.testing.assert_allclose(wide[0], opencv(images[0], 3.0, 19), atol=3e-6)


def test_what_a_blur_draws():
    rows, probability = 8000, 0.5
    sigma = np.asarray(draw_blur(keys(rows), (0.1, 2.0), probability))
    blurred = sigma[sigma > 0]
    assert abs(len(blurred) / rows - probability) < 3.3 * 0.5 / rows**0.5
    ordered = (np.sort(blurred) - 0.1) / 1.9
    distance = np.abs(ordered - (np.arange(len(blurred)) + 0.5) / len(blurred)).max()
    assert distance * len(blurred) ** 0.5 < 1.95  # Kolmogorov-Smirnov, 0.999


def test_a_random_blur_is_what_was_drawn_and_jit_changes_nothing():
    images = np.random.default_rng(0).random((6, 9, 10, 3), np.float32)
    expected = gaussian_blur(images, draw_blur(keys(6), (0.5, 1.0), 0.7), radius=4)
    views = jax.jit(lambda keys, x: random_gaussian_blur(keys, x, (0.5, 1.0), 0.7))(keys(6), images)
    np.testing.assert_allclose(views, expected, atol=1e-6)


IMAGES = np.zeros((2, 6, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gaussian_blur(IMAGES, -1), "sigma must be at least 0, got -1."),
        (lambda: gaussian_blur(IMAGES, 1.0, radius=-1), "radius must be at least 0, got -1."),
        (
            lambda: gaussian_blur(IMAGES, np.ones(3)),
            "sigma must be one number, or one for each of 2 images, got shape (3,).",
        ),
        (lambda: gaussian_blur(IMAGES[0], 1.0), "images must have axes [B, H, W, c]"),
        (
            lambda: draw_blur(keys(2), (-1, 2)),
            "sigma must be (low, high) with 0 <= low <= high, got (-1, 2).",
        ),
        (lambda: draw_blur(keys(2), probability=-1), "probability must be in 0 ... 1, got -1."),
        (
            lambda: random_gaussian_blur(keys(2), IMAGES.astype(int)),
            "images must be uint8, or floating in 0 ... 1, got int",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
