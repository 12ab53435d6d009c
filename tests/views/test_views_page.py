"""What the page of views shows: views with their draws, figures and words."""

import dataclasses

import jax
import numpy as np
import pytest

from mcl_jax.views import Crop, Flip, Gray, Jitter, PadCrop, Recipe, Solarize
from mcl_jax.views.page import look, notes, told, words

CROPPED = Recipe((Crop(6), Flip(), Solarize(0.5, 1.0)), (0.5,), (0.25,))
PADDED = Recipe((PadCrop(1), Flip()), (0.2,), (0.5,))


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def seen():
    return look(PADDED, jax.random.key(1), noise(2, 4, 5, 1), noise(12, 4, 5, 1), 3)


def test_each_view_is_made_of_what_is_told_of_it(seen):
    images = noise(2, 4, 5, 1)
    assert [len(views) for views in seen.views] == [3, 3]
    for image, views in zip(images, seen.views, strict=True):
        for view in views:
            moved, mirrored = view.told
            down, right = (
                int(words[-2]) * (-1 if words[-1] in ("up", "left") else 1)
                for words in (part.split() for part in moved.split(", "))
            )
            expected = np.pad(image, ((1, 1), (1, 1), (0, 0)))[1 - down :, 1 - right :][:4, :5]
            expected = expected[:, ::-1] if mirrored == "mirrored" else expected
            np.testing.assert_array_equal(view.pixels, expected)


def test_views_of_an_image_differ_and_repeat(seen):
    again = look(PADDED, jax.random.key(1), noise(2, 4, 5, 1), noise(12, 4, 5, 1), 3)
    jax.tree.map(np.testing.assert_array_equal, again.views[1][2].pixels, seen.views[1][2].pixels)
    assert again.figures == seen.figures
    assert len({tuple(view.told) for views in seen.views for view in views}) > 1


def test_figures_are_of_the_sample(seen):
    plain, views = seen.figures
    sample = noise(12, 4, 5, 1)
    assert plain.black == np.mean(sample == 0)
    assert plain.white == np.mean(sample == 255)
    np.testing.assert_allclose(plain.mean, [(np.mean(sample / 255) - 0.2) / 0.5], rtol=1e-5)
    np.testing.assert_allclose(plain.std, [np.std(sample / 255) / 0.5], rtol=1e-5)
    assert views.black > plain.black  # of the padding
    np.testing.assert_allclose(views.mean[0], plain.mean[0], atol=0.5)
    assert seen.difference is None


def test_the_fused_mode_is_compared_with_the_exact_one():
    recipe = dataclasses.replace(CROPPED, mode="fused")
    seen = look(recipe, jax.random.key(1), noise(1, 8, 8, 1), noise(2, 8, 8, 1), 2)
    average, most = seen.difference
    assert 0 <= average <= most < 1e-5  # crop and flip are exact
    assert seen.views[0][0].pixels.shape == (6, 6, 1)
    assert seen.views[0][0].told[2] == "solarised"


def test_nothing_is_told_of_a_crop_that_the_host_has_made():
    recipe = CROPPED.without_crop()
    drawn = recipe.draw(jax.random.split(jax.random.key(0), 2), (2, 6, 6, 1))
    assert told(recipe, drawn, 1)[1:] == ["solarised"]
    assert len(told(recipe, drawn, 1)) == 2


def test_the_recipe_in_words():
    assert words(PADDED) == [
        "pad 1 black pixels on each side, cut the old size out anywhere",
        "mirror left to right, probability 0.5",
        "subtract the mean 0.2 and divide by the spread 0.5",
    ]
    three = {"mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 1.0)}
    said = words(dataclasses.replace(CROPPED, mode="fused", colour_space="lab", **three))
    assert [text.endswith("(fused)") for text in said] == [True, True, False, False, False]
    assert said[3:] == [
        "convert to lab",
        "subtract the mean 0.1, 0.2, 0.3 and divide by the spread 1, 1, 1",
    ]


def test_gray_images_have_notes_where_steps_are_of_colour():
    recipe = Recipe((Jitter(0.4, 0.4, 0.4, 0.1), Gray()), (0.5,), (0.5,))
    assert len(notes(recipe, 1)) == 2
    assert notes(recipe, 3) == notes(PADDED, 1) == []
