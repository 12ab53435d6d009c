"""Affine warps against Pillow."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mcl_jax.views.affine import warp

RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
compiled = jax.jit(warp, static_argnames=("interpolation", "fill"))
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]], np.float32)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def matrices(rows: int, height: int, width: int) -> np.ndarray:
    """Maps near the identity, in float32."""
    random = np.random.default_rng(1)
    linear = np.eye(2) + random.uniform(-0.5, 0.5, (rows, 2, 2))
    shift = random.uniform(-0.4, 0.4, (rows, 2, 1)) * np.array([[width], [height]])
    return np.concatenate([linear, shift], axis=2).astype(np.float32)


def by_pillow(image: np.ndarray, matrix: np.ndarray, interpolation: str, fill) -> np.ndarray:
    height, width, channels = image.shape
    plain = Image.fromarray(image[..., 0] if channels == 1 else image)
    warped = plain.transform(
        (width, height),
        Image.Transform.AFFINE,
        matrix.astype(np.float64).ravel().tolist(),
        resample=RESAMPLE[interpolation],
        fillcolor=fill,
    )
    return np.asarray(warped).reshape(image.shape)


@pytest.mark.parametrize("interpolation", RESAMPLE)
@pytest.mark.parametrize(
    ("shape", "fill"), [((12, 28, 28, 1), 117), ((12, 33, 46, 3), (124, 116, 104))]
)
def test_a_warp_of_bytes_is_pillows(shape, fill, interpolation):
    images, maps = noise(*shape), matrices(*shape[:3])
    views = np.asarray(compiled(images, maps, interpolation=interpolation, fill=fill)).astype(int)
    expected = np.stack(
        [by_pillow(*pair, interpolation, fill) for pair in zip(images, maps, strict=True)]
    )
    difference = np.abs(views - expected)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 3e-3
    assert np.all(np.any(views != images, axis=(1, 2, 3)))


def test_each_image_may_have_an_interpolation_of_its_own_and_jit_changes_nothing():
    images, maps = noise(6, 9, 8, 3), matrices(6, 9, 8)
    bicubic = np.array([True, False, True, True, False, False])
    mixed = np.asarray(warp(images, maps, interpolation=bicubic, fill=7))
    alone = [compiled(images, maps, interpolation=name, fill=7) for name in ("bilinear", "bicubic")]
    chosen = np.where(bicubic[:, None, None, None], alone[1], alone[0])
    assert np.abs(mixed.astype(int) - chosen).max() <= 1
    assert np.mean(mixed != chosen) < 1e-2
    assert np.any(alone[0] != alone[1])
    jitted = np.asarray(jax.jit(warp)(images, maps, interpolation=bicubic, fill=7))
    assert np.abs(mixed.astype(int) - jitted).max() <= 1
    assert np.mean(mixed != jitted) < 1e-2


def test_floats_are_neither_rounded_nor_cut_off_but_clipped():
    images, maps = noise(5, 11, 10, 3), matrices(5, 11, 10)
    floats = jnp.asarray(images, jnp.float32) / 255
    for name in RESAMPLE:
        views = np.asarray(compiled(floats, maps, interpolation=name, fill=0.25))
        bytes_ = np.asarray(compiled(images, maps, interpolation=name, fill=0)).astype(float)
        filled = np.asarray(compiled(np.ones_like(floats), maps, interpolation=name, fill=0)) == 0
        assert np.any(filled)
        assert np.all(views[filled] == 0.25)
        above = (255 * views - bytes_)[~filled]
        assert above.min() > -2e-3
        assert above.max() < 1 + 1e-3
        assert abs(above.mean() - 0.5) < 0.05
        assert views.min() >= 0
        assert views.max() <= 1


@pytest.mark.parametrize("interpolation", RESAMPLE)
def test_whole_shifts_move_pixels_and_the_identity_none(interpolation):
    images = noise(2, 6, 7, 3)
    maps = np.stack([IDENTITY, IDENTITY + np.array([[0, 0, 2], [0, 0, -1]], np.float32)])
    views = np.asarray(compiled(images, maps, interpolation=interpolation, fill=9))
    np.testing.assert_array_equal(views[0], images[0])
    np.testing.assert_array_equal(views[1, 1:, :5], images[1, :-1, 2:])
    assert np.all(views[1, 0] == 9)
    assert np.all(views[1, :, 5:] == 9)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32, jnp.bfloat16])
def test_the_dtype_is_kept(dtype):
    images = jnp.zeros((2, 4, 5, 1), dtype)
    views = jax.eval_shape(warp, images, jnp.asarray(IDENTITY)[None].repeat(2, 0))
    assert (views.shape, views.dtype) == (images.shape, dtype)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrices": np.zeros((2, 3))}, "matrices must be [2, 2, 3], got shape (2, 3)."),
        (
            {"interpolation": "cubic"},
            "interpolation must be 'bilinear', 'bicubic' or an array [B], got 'cubic'.",
        ),
        (
            {"interpolation": np.zeros(3, bool)},
            "interpolation must be one value an image, [2], got shape (3,).",
        ),
        ({"fill": (1, 2)}, "fill must be one value or 3, got shape (2,)."),
        (
            {"images": np.zeros((4, 4, 3))},
            "images must have axes [B, H, W, c], got shape (4, 4, 3).",
        ),
        (
            {"images": np.zeros((2, 4, 4, 3), np.int32)},
            "images must be uint8, or floating in 0 ... 1, got int32.",
        ),
    ],
)
def test_what_cannot_be_warped_is_named(arguments, message):
    right = {"images": np.zeros((2, 4, 4, 3), np.uint8), "matrices": np.stack([IDENTITY] * 2)}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        warp(**(right | arguments))
