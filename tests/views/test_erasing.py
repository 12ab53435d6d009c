"""Cutout against NumPy, and where the squares lie."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.views.erasing import blank, cutout, draw_cutout


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


@pytest.mark.parametrize("size", [1, 4, 5, 20])
@pytest.mark.parametrize(("channels", "fill"), [(1, 9), (3, (1, 2, 3))])
def test_a_square_around_the_middle_is_filled(size, channels, fill):
    images = np.full((63, 7, 9, channels), 77, np.uint8)
    middles = np.stack(np.meshgrid(np.arange(7), np.arange(9)), axis=-1).reshape(63, 2)
    expected = images.copy()
    for image, (row, column) in zip(expected, middles - size // 2, strict=True):
        image[max(row, 0) : max(row + size, 0), max(column, 0) : max(column + size, 0)] = fill
    views = jax.jit(functools.partial(blank, size=size, fill=fill))(images, middles)
    assert views.dtype == jnp.uint8
    np.testing.assert_array_equal(views, expected)


def test_middles_are_uniform_over_the_pixels():
    middles = np.asarray(draw_cutout(keys(6000), 4, 6))
    counts = np.bincount(6 * middles[:, 0] + middles[:, 1], minlength=24)
    assert len(counts) == 24
    assert np.sum((counts - 250) ** 2 / 250) < 49.7  # chi-square, 23 degrees of freedom, 0.999


def test_a_view_depends_on_its_own_key_alone():
    images = jnp.ones((12, 8, 7, 3))
    operation = jax.jit(functools.partial(cutout, size=4, fill=0.5))
    whole = np.asarray(operation(keys(12), images))
    assert set(np.unique(whole)) == {0.5, 1.0}
    np.testing.assert_array_equal(whole, blank(images, draw_cutout(keys(12), 8, 7), 4, fill=0.5))
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(whole[order], operation(keys(12)[order], images))
    np.testing.assert_array_equal(whole[3:8], operation(keys(12)[3:8], images[3:8]))
    assert np.any(whole != operation(keys(12, seed=1), images))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be a whole number, at least 1, got 0."),
        ({"middles": np.zeros((2, 3), int)}, "middles must be [2, 2], got shape (2, 3)."),
        ({"fill": (1, 2)}, "fill must be one value or 3, got shape (2,)."),
        (
            {"images": np.zeros((4, 4, 3))},
            "images must have axes [B, H, W, c], got shape (4, 4, 3).",
        ),
    ],
)
def test_what_is_out_of_range_is_named(arguments, message):
    right = {"images": np.zeros((2, 4, 4, 3)), "middles": np.zeros((2, 2), int), "size": 2}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        blank(**(right | arguments))
