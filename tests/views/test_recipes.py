"""Recipes: the operations in their order, each with randomness of its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.views import Recipe, normalize

MEAN, STD = (0.2, 0.4), (0.3, 0.1)


def keys(rows: int) -> jax.Array:
    return jax.random.split(jax.random.key(3), rows)


def possible_views(image: np.ndarray, padding: int, flip: bool) -> np.ndarray:
    """Every view [n, H, W, c] of one image: unmirrored ones first, by row and column of the cut."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    places = range(2 * padding + 1)
    windows = [padded[y : y + height, x : x + width] for y in places for x in places]
    return np.stack(windows + [window[:, ::-1] for window in windows] * flip)


def drawn(recipe: Recipe, rows: int) -> np.ndarray:
    """Which of the `possible_views` of one image each of ``rows`` keys gets."""
    image = np.random.default_rng(0).integers(1, 256, (4, 5, 2), np.uint8)
    views = np.asarray(recipe.train(keys(rows), np.repeat(image[None], rows, axis=0)))
    normalised = (possible_views(image, recipe.padding, recipe.flip) / 255 - MEAN) / STD
    is_view = np.all(np.abs(views[:, None] - normalised) < 1e-5, axis=(2, 3, 4))
    np.testing.assert_array_equal(is_view.sum(axis=1), 1)
    return is_view.argmax(axis=1)


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_training_shows_every_crop_and_flip_of_black_borders_and_nothing_else(padding, flip):
    seen = drawn(Recipe(MEAN, STD, padding, flip), 500)
    assert len(np.unique(seen)) == (2 * padding + 1) ** 2 * (1 + flip)


def test_crops_and_flips_are_independent():
    counts = np.bincount(drawn(Recipe(MEAN, STD, padding=1, flip=True), 3600), minlength=18)
    assert np.sum((counts - 200) ** 2 / 200) < 40.8  # chi-square, 17 degrees of freedom, 0.999


def test_the_plain_view_is_normalised_and_nothing_else():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 2), np.uint8)
    plain = Recipe(MEAN, STD, padding=2, flip=True).plain(images)
    np.testing.assert_array_equal(plain, normalize(images, jnp.array(MEAN), jnp.array(STD)))
    without = Recipe(MEAN, STD, padding=0, flip=False)
    np.testing.assert_array_equal(without.train(keys(6), images), plain)


def test_a_view_depends_on_its_own_key_alone_under_jit_too():
    recipe = Recipe(MEAN, STD, padding=2)
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 2), np.uint8)
    whole = recipe.train(keys(10), images)
    first, rest = (recipe.train(keys(10)[x], images[x]) for x in (slice(3), slice(3, 10)))
    np.testing.assert_array_equal(whole, np.concatenate([first, rest]))
    jitted = jax.jit(recipe.train)(keys(10), images)
    np.testing.assert_allclose(jitted, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_views_have_the_dtype_of_the_recipe(dtype):
    recipe, images = Recipe(MEAN, STD, padding=1, dtype=dtype), np.zeros((2, 4, 4, 2), np.uint8)
    assert recipe.train(keys(2), images).dtype == dtype
    assert recipe.plain(images).dtype == dtype
