"""Colour spaces against scikit-image, there and back."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import color

from mcl_jax.views.colour_spaces import SPACES, convert, convert_back

SPACE_NAMES = ("lab", "ydbdr", "yiq", "ycbcr", "hsv")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """The colour cube in steps of 1/16, its corners and grays among them, in float32."""
    steps = np.linspace(0, 1, 17)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    return cube.reshape(1, 17, 17 * 17, 3).astype(np.float32)


@pytest.fixture(scope="module")
def converted(images) -> dict[str, np.ndarray]:
    run = jax.jit(lambda x: {space: convert(x, space) for space in SPACE_NAMES})
    return jax.tree.map(np.asarray, run(images))


@pytest.mark.parametrize("space", SPACE_NAMES)
def test_there_is_scikit_images_conversion(images, converted, space):
    expected = getattr(color, f"rgb2{space}")(images.astype(np.float64))
    scale = np.ptp(expected)
    np.testing.assert_allclose(converted[space], expected, atol=2e-6 * scale, rtol=0)


@pytest.mark.parametrize("space", SPACE_NAMES)
def test_back_is_scikit_images_conversion_and_undoes_the_way_there(images, converted, space):
    back = np.asarray(convert_back(converted[space], space))
    np.testing.assert_allclose(back, images, atol=2e-5, rtol=0)
    expected = getattr(color, f"{space}2rgb")(converted[space].astype(np.float64))
    np.testing.assert_allclose(back, expected, atol=1e-4, rtol=0)


def test_colours_that_no_screen_has_are_clipped():
    wild = jnp.array([[60.0, 90.0, -100.0], [100.0, 50.0, 0.0]]).reshape(1, 1, 2, 3)
    back = np.asarray(convert_back(wild, "lab"))
    np.testing.assert_allclose(back, color.lab2rgb(np.asarray(wild, np.float64)), atol=1e-4)
    assert back.min() >= 0
    assert back.max() == 1


@pytest.mark.parametrize(("space", "within"), [("lab", 0.003), ("yiq", 0.003), ("hsv", 0.03)])
def test_constants_of_a_range_bring_it_to_one_around_zero(converted, space, within):
    mean, std = SPACES[space]
    normalised = (converted[space] - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(normalised.max(axis=(0, 1, 2)), 1, atol=within)
    np.testing.assert_allclose(normalised.min(axis=(0, 1, 2)), -1, atol=within)


@pytest.mark.parametrize("space", ["ydbdr", "ycbcr"])
def test_published_spreads_are_half_the_range(converted, space):
    half = np.ptp(converted[space], axis=(0, 1, 2)) / 2
    np.testing.assert_allclose(SPACES[space].std, half, rtol=2e-3)


def test_rgb_is_left_alone(images):
    np.testing.assert_array_equal(convert(images, "rgb"), images)
    np.testing.assert_array_equal(convert_back(images, "rgb"), images)


@pytest.mark.parametrize("space", SPACE_NAMES)
def test_the_dtype_is_kept_and_halves_are_computed_in_float32(images, space):
    half = jnp.asarray(images[:, :4], jnp.bfloat16)
    run = jax.jit(convert, static_argnums=1)
    views = run(half, space)
    assert views.dtype == jnp.bfloat16
    expected = run(half.astype(jnp.float32), space).astype(jnp.bfloat16)
    np.testing.assert_array_equal(views.astype(jnp.float32), expected.astype(jnp.float32))


def test_jit_changes_nothing_but_rounding(images, converted):
    for space in SPACE_NAMES:
        scale = np.ptp(converted[space])
        np.testing.assert_allclose(convert(images, space), converted[space], atol=2e-6 * scale)


@pytest.mark.parametrize("operation", [convert, convert_back])
@pytest.mark.parametrize(
    ("shape", "dtype", "space", "message"),
    [
        (
            (2, 4, 4, 3),
            jnp.float32,
            "luv",
            "space must be one of rgb, lab, ydbdr, yiq, ycbcr, hsv; got 'luv'.",
        ),
        (
            (2, 4, 4, 1),
            jnp.float32,
            "lab",
            "colour spaces are of images with three channels, got 1.",
        ),
        (
            (2, 4, 4, 3),
            jnp.uint8,
            "lab",
            "images must be floating in 0 ... 1 to change their colour space, got uint8.",
        ),
        ((4, 4, 3), jnp.float32, "lab", "images must have axes [B, H, W, c], got shape (4, 4, 3)."),
    ],
)
def test_what_cannot_be_converted_is_named(operation, shape, dtype, space, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        operation(jnp.zeros(shape, dtype), space)
