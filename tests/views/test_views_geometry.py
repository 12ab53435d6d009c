"""Crops, resizing and flips against NumPy, Pillow and OpenCV, and their distributions."""

import itertools
import math
import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mcl_jax.views import draws
from mcl_jax.views.geometry import (
    centre_crop,
    crop_and_resize,
    draw_crops,
    flip,
    flip_horizontally,
    pad_and_crop,
    random_resized_crop,
    resize,
)

RANDOM = {
    "crop": lambda keys, images: pad_and_crop(keys, images, 2),
    "flip": flip_horizontally,
    "resized": lambda keys, images: random_resized_crop(keys, images, 5),
}
PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def smooth(rows: int, height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Random images with slow and fast parts, uint8."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (rows, 6, 6, channels)).astype(np.float32)
    images = [cv2.resize(x, (width, height), interpolation=cv2.INTER_CUBIC) for x in coarse]
    noise = random.normal(0, 20, (rows, height, width, channels))
    images = np.stack(images).reshape(noise.shape) + noise
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def uniform_distance(numbers: np.ndarray) -> float:
    """Kolmogorov-Smirnov's distance from the uniform distribution, times the root of the count."""
    count = len(numbers)
    steps = np.arange(count + 1) / count
    ordered = np.sort(numbers)
    return count**0.5 * max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1]))


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


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_a_flip_is_exact_and_happens_as_often_as_asked(probability):
    rows = 4000
    images = numbered(rows, 3, 4, 2)
    views = np.asarray(flip_horizontally(keys(rows), images, probability))
    mirrored = np.all(views == images[:, :, ::-1], axis=(1, 2, 3))
    kept = np.all(views == images, axis=(1, 2, 3))
    np.testing.assert_array_equal(mirrored, ~kept)
    spread = (probability * (1 - probability) / rows) ** 0.5
    assert abs(mirrored.mean() - probability) <= 3.3 * spread


def test_flip_mirrors_what_it_is_told_to():
    images = numbered(2, 3, 5, 3)
    views = flip(jnp.asarray(images), jnp.array([True, False]))
    np.testing.assert_array_equal(views, [images[0, :, ::-1], images[1]])


@pytest.mark.parametrize("operation", RANDOM.values(), ids=RANDOM)
def test_a_view_depends_on_its_own_key_alone_under_jit_too(operation):
    images = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), np.uint8)
    jitted = jax.jit(operation)
    whole = np.asarray(jitted(keys(12), images))
    np.testing.assert_array_equal(jitted(keys(12)[3:5], images[3:5]), whole[3:5])
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_array_equal(jitted(keys(12)[order], images[order]), whole[order])
    assert np.any(whole != jitted(keys(12, seed=1), images))
    rounding = operation is RANDOM["resized"]  # of means that lie in the middle of two bytes
    assert np.abs(np.asarray(operation(keys(12), images), int) - whole).max() <= rounding
    floats = jnp.asarray(images, jnp.float16)
    assert jax.eval_shape(operation, keys(12), floats).dtype == jnp.float16


def torchvision_box(numbers, height, width, scale, ratio):
    """torchvision's algorithm, from given uniform numbers."""
    areas, ratios, (down, across) = numbers[:10], numbers[10:20], numbers[20:]
    low, high = (math.log(x) for x in ratio)
    for a, r in zip(areas, ratios, strict=True):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * a)
        shape = math.exp(low + (high - low) * r)
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            return int(down * (height - h + 1)), int(across * (width - w + 1)), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize(
    ("shape", "scale", "ratio"),
    [
        ((32, 32), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((28, 40), (0.7, 1.0), (3 / 4, 4 / 3)),
        ((96, 30), (0.9, 1.0), (3 / 4, 4 / 3)),
        ((30, 96), (0.9, 1.0), (3 / 4, 4 / 3)),
        ((224, 200), (0.2, 1.0), (1 / 2, 2.0)),
    ],
)
def test_boxes_are_those_of_torchvisions_ten_tries(shape, scale, ratio):
    drawn = np.asarray(draw_crops(keys(600), *shape, scale=scale, ratio=ratio))
    numbers = np.asarray(draws.uniforms(keys(600), 22), np.float64)
    expected = [torchvision_box(x, *shape, scale, ratio) for x in numbers]
    assert np.mean(np.all(drawn == expected, axis=1)) > 0.995  # float32 may round another way
    top, left, height, width = drawn.T
    assert drawn.min() >= 0
    assert np.all(top + height <= shape[0])
    assert np.all(left + width <= shape[1])


def test_areas_and_places_are_uniform():
    boxes = np.asarray(draw_crops(keys(4000), 512, 512, scale=(0.1, 0.4), ratio=(0.8, 1.25)))
    top, left, height, width = boxes.T
    assert uniform_distance((height * width / 512**2 - 0.1) / 0.3) < 1.95  # 0.999
    shape = np.log(width / height) / np.log(1.25)
    assert uniform_distance((shape + 1) / 2) < 1.95
    assert uniform_distance((top + 0.5) / (512 - height + 1)) < 1.95
    assert uniform_distance((left + 0.5) / (512 - width + 1)) < 1.95
    assert abs(np.corrcoef(np.stack([height * width, shape, top, left]))[0, 1]) < 0.06


@pytest.mark.parametrize("interpolation", PILLOW)
@pytest.mark.parametrize(
    ("shape", "size"), [((28, 28, 1), (28, 28)), ((32, 32, 3), (32, 24)), ((90, 80, 3), (40, 96))]
)
def test_a_crop_is_resized_as_by_pillow(shape, size, interpolation):
    images = 60 + smooth(6, *shape) // 2  # Pillow clips between the passes where bicubic overshoots
    boxes = np.array(draw_crops(keys(6), *shape[:2], scale=(0.1, 0.9)))
    boxes[0] = (0, 0, *shape[:2])
    jitted = jax.jit(crop_and_resize, static_argnums=2, static_argnames="interpolation")
    views = np.asarray(jitted(images, boxes, size, interpolation=interpolation))
    assert views.shape == (6, *size, shape[2])
    assert views.dtype == np.uint8
    for image, (top, left, height, width), view in zip(images, boxes, views, strict=True):
        cut = image[top : top + height, left : left + width].squeeze()
        expected = Image.fromarray(cut).resize(size[::-1], PILLOW[interpolation])
        difference = np.abs(np.asarray(expected, int).reshape(view.shape) - view)
        if interpolation == "nearest":  # where two are as near, Pillow's rounding chooses
            down, across = (
                (2 * np.arange(new) + 1) * old % (2 * new) != 0
                for old, new in zip((height, width), size, strict=True)
            )
            assert difference[down][:, across].max() == 0
        else:
            assert difference.max() <= 1


def test_few_pixels_become_many_and_no_images_are_fine():
    image = np.random.default_rng(0).random((1, 6, 7, 3), np.float32)
    large = jax.jit(lambda images: resize(images, (96, 70)))
    np.testing.assert_allclose(large(image)[0], cv2.resize(image[0], (70, 96)), atol=1e-5)
    assert jax.eval_shape(large, image[:0]).shape == (0, 96, 70, 3)


def test_large_images_are_resized_as_by_pillow():
    images = smooth(2, 256, 230, 3)
    boxes = np.array([[3, 5, 250, 220], [60, 100, 70, 90]])
    views = np.asarray(jax.jit(crop_and_resize, static_argnums=2)(images, boxes, 224), int)
    for image, (top, left, height, width), view in zip(images, boxes, views, strict=True):
        cut = Image.fromarray(image[top : top + height, left : left + width])
        expected = np.asarray(cut.resize((224, 224), Image.Resampling.BILINEAR), int)
        assert np.abs(expected - view).max() <= 1


def test_without_antialiasing_it_is_opencvs():
    images = smooth(2, 90, 64, 3).astype(np.float32) / 255
    jitted = jax.jit(
        lambda x, antialias: resize(x, (30, 40), antialias=antialias), static_argnums=1
    )
    expected = np.stack([cv2.resize(x, (40, 30)) for x in images])
    np.testing.assert_allclose(jitted(images, False), expected, atol=1e-5)
    assert np.abs(jitted(images, True) - expected).max() > 0.05


def test_a_large_crop_alone_is_that_in_its_batch_and_jit_changes_nothing():
    images = smooth(3, 76, 76, 3).astype(np.float32) / 255
    jitted = jax.jit(lambda keys, images: random_resized_crop(keys, images, 70))
    whole = jitted(keys(3), images)
    np.testing.assert_allclose(jitted(keys(3)[1:2], images[1:2])[0], whole[1], atol=1e-6)
    np.testing.assert_allclose(random_resized_crop(keys(3), images, 70), whole, atol=5e-6)


def test_halves_are_computed_in_single_precision_and_bicubic_stays_in_range():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 2, (3, 9, 9, 1)), jnp.bfloat16)
    jitted = jax.jit(lambda images: resize(images, 20, interpolation="bicubic"))
    views = np.asarray(jitted(images.astype(jnp.float32)))
    assert (views.min(), views.max()) == (0, 1)
    np.testing.assert_array_equal(jitted(images), views.astype(jnp.bfloat16))


def test_the_middle_is_cut_out():
    images = numbered(2, 7, 8, 3)
    np.testing.assert_array_equal(centre_crop(images, 4), images[:, 1:5, 2:6])
    np.testing.assert_array_equal(centre_crop(images, (7, 2)), images[:, :, 3:5])


IMAGES, BOXES = np.zeros((2, 6, 6, 3), np.uint8), np.zeros((2, 4), np.int32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pad_and_crop(keys(2), IMAGES, -1),
            "padding must be a whole number, at least 0, got -1.",
        ),
        (
            lambda: pad_and_crop(keys(2), IMAGES[0], 1),
            "images must have axes [B, H, W, c], got shape (6, 6, 3).",
        ),
        (
            lambda: flip_horizontally(keys(2), IMAGES[None]),
            "images must have axes [B, H, W, c], got shape (1, 2, 6, 6, 3).",
        ),
        (
            lambda: flip_horizontally(keys(2), IMAGES, 1.5),
            "probability must be in 0 ... 1, got 1.5.",
        ),
        (
            lambda: flip(IMAGES, np.zeros(3, bool)),
            "flipped must be one number, or one for each of 2 images, got shape (3,).",
        ),
        (
            lambda: draw_crops(keys(2), 6, 6, scale=(0, 1)),
            "scale must be (low, high) with 0 < low <= high, got (0, 1).",
        ),
        (
            lambda: draw_crops(keys(2), 6, 6, ratio=(2, 1)),
            "ratio must be (low, high) with 0 < low <= high, got (2, 1).",
        ),
        (
            lambda: draw_crops(keys(2), 6, 6, ratio=(1, 2, 3)),
            "ratio must be (low, high) with 0 < low <= high, got (1, 2, 3).",
        ),
        (
            lambda: crop_and_resize(IMAGES.astype(int), BOXES, 4),
            "images must be uint8, or floating in 0 ... 1, got int",
        ),
        (
            lambda: crop_and_resize(IMAGES, BOXES[:1], 4),
            "boxes must be integers (2, 4): top, left, height, width, got int32 (1, 4).",
        ),
        (
            lambda: crop_and_resize(IMAGES, BOXES.astype("f"), 4),
            "boxes must be integers (2, 4): top, left, height, width, got float32 (2, 4).",
        ),
        (
            lambda: crop_and_resize(IMAGES, BOXES, 0),
            "size must be a side or (height, width), above 0, got 0.",
        ),
        (
            lambda: resize(IMAGES, (3, 4, 5)),
            "size must be a side or (height, width), above 0, got (3, 4, 5).",
        ),
        (
            lambda: resize(IMAGES, 3, interpolation="area"),
            "interpolation must be one of nearest, bilinear, bicubic, got 'area'.",
        ),
        (
            lambda: centre_crop(IMAGES, (4, 7)),
            "a crop of 4 x 7 pixels needs images as large, got 6 x 6.",
        ),
    ],
)
def test_what_is_wrong_is_said(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
