"""Image operations against NumPy, and their distributions."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.views import flip_horizontally, normalize, pad_and_crop

RANDOM = {
    "crop": lambda keys, images: pad_and_crop(keys, images, 2),
    "flip": flip_horizontally,
}


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def numbered(rows: int, height: int, width: int, channels: int = 1) -> np.ndarray:
    """The same image in every row; no two of its pixels are alike and none is 0."""
    pixels = 1 + np.arange(height * width * channels).reshape(height, width, channels)
    return np.repeat(pixels[None].astype(np.uint8), rows, axis=0)


def offsets(views: np.ndarray, padding: int) -> np.ndarray:
    """Offsets [B, 2] of crops of `numbered` images, read off the pixel in the middle."""
    _, height, width, channels = views.shape
    shown = (views[:, height // 2, width // 2, 0].astype(int) - 1) // channels
    middle = np.array([height // 2, width // 2])
    return np.stack([shown // width, shown % width], axis=1) - middle + padding


@pytest.mark.parametrize(
    ("padding", "shape"), [(1, (5, 7, 3)), (2, (8, 8, 1)), (3, (7, 9, 1)), (4, (9, 9, 1))]
)
def test_a_crop_is_the_window_of_the_padded_image_at_its_offset(padding, shape):
    images = numbered(40, *shape)
    views = np.asarray(pad_and_crop(keys(40), jnp.asarray(images), padding))
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    found = offsets(views, padding)
    assert len(np.unique(found, axis=0)) > 5
    for view, whole, (top, left) in zip(views, padded, found, strict=True):
        window = whole[top : top + shape[0], left : left + shape[1]]
        np.testing.assert_array_equal(view, window)


def test_offsets_are_uniform_and_vertical_ones_independent_of_horizontal_ones():
    rows, padding = 5000, 2
    found = offsets(np.asarray(pad_and_crop(keys(rows), numbered(rows, 8, 8), padding)), padding)
    cells = list(itertools.product(range(2 * padding + 1), repeat=2))
    counts = np.array([np.sum(np.all(found == cell, axis=1)) for cell in cells])
    assert counts.sum() == rows
    expected = rows / len(cells)
    assert np.sum((counts - expected) ** 2 / expected) < 51.2  # chi-square, 24 degrees, 0.999


def test_no_padding_changes_nothing():
    images = numbered(6, 4, 5, 3)
    np.testing.assert_array_equal(pad_and_crop(keys(6), images, 0), images)


def test_a_flip_is_exact_and_happens_half_of_the_time():
    rows = 4000
    images = numbered(rows, 3, 4, 2)
    views = np.asarray(flip_horizontally(keys(rows), images))
    mirrored = np.all(views == images[:, :, ::-1], axis=(1, 2, 3))
    kept = np.all(views == images, axis=(1, 2, 3))
    np.testing.assert_array_equal(mirrored, ~kept)
    assert abs(mirrored.mean() - 0.5) < 3.3 * 0.5 / rows**0.5


@pytest.mark.parametrize("operation", RANDOM.values(), ids=RANDOM)
def test_a_view_depends_on_its_own_key_alone(operation):
    images = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), np.uint8)
    whole = operation(keys(12), images)
    halves = [operation(keys(12)[part], images[part]) for part in (slice(5), slice(5, 12))]
    np.testing.assert_array_equal(whole, np.concatenate(halves))
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_array_equal(whole[order], operation(keys(12)[order], images[order]))
    assert np.any(whole != operation(keys(12, seed=1), images))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
@pytest.mark.parametrize("operation", RANDOM.values(), ids=RANDOM)
def test_jit_changes_nothing_and_the_dtype_is_kept(operation, dtype):
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (9, 6, 5, 3)), dtype)
    eager = operation(keys(9), images)
    assert eager.dtype == dtype
    np.testing.assert_array_equal(jax.jit(operation)(keys(9), images), eager)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dtype", "rounding"), [(jnp.float32, 2e-6), (jnp.bfloat16, 2.0**-8)])
def test_normalize_is_its_formula(channels, dtype, rounding):
    images = np.arange(256 * channels).reshape(2, 16, 8, channels).astype(np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406])[:channels], np.array([0.229, 0.3, 1.7])[:channels]
    expected = (images.astype(np.float64) / 255 - mean) / std
    views = normalize(jnp.asarray(images), jnp.asarray(mean), jnp.asarray(std), dtype)
    assert views.dtype == dtype
    np.testing.assert_allclose(np.asarray(views, np.float64), expected, rtol=rounding, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4, 3), (2, 3, 4, 4, 3)])
@pytest.mark.parametrize(
    "operation",
    [*RANDOM.values(), lambda keys, images: normalize(images, jnp.zeros(3), jnp.ones(3))],
    ids=[*RANDOM, "normalize"],
)
def test_images_have_four_axes(operation, shape):
    message = re.escape(f"images must have axes [B, H, W, c], got shape {shape}.")
    with pytest.raises(ValueError, match=message):
        operation(keys(shape[0]), jnp.zeros(shape, jnp.uint8))


def test_padding_is_not_negative():
    with pytest.raises(ValueError, match=r"padding must be at least 0, got -1\."):
        pad_and_crop(keys(2), jnp.zeros((2, 4, 4, 1)), -1)
