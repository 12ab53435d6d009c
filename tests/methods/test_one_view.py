"""The recipe of a run: what the fields of views make, and what is said of those that do not fit."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest
from ml_collections import ConfigDict

from mcl_jax import config as config_lib
from mcl_jax import views
from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.methods import Setting
from mcl_jax.methods.one_view import one_view, recipe_of
from mcl_jax.views import Crop, Flip, PadCrop

STATISTICS = (0.5, 0.4, 0.3), (0.2, 0.3, 0.1)
SHAPE = (28, 28, 3)


def config(**changes: object) -> ConfigDict:
    made = config_lib.default()
    made.views.update(changes)
    return made


def recipe(shape=SHAPE, *, cropped=False, **changes):
    return recipe_of(config(**changes), *STATISTICS, shape, cropped=cropped)


def test_fields_make_the_recipe():
    mean, std = STATISTICS
    assert recipe() == views.Recipe((PadCrop(4), Flip()), mean, std)
    assert recipe(padding=1, flip=False).steps == (PadCrop(1),)
    made = recipe(recipe="simclr", strength=0.5, crop_scale=(0.2, 1.0), mode="fused", flip=False)
    expected = views.recipe("simclr", size=SHAPE[:2], strength=0.5, crop_scale=(0.2, 1.0))
    assert made.steps == tuple(step for step in expected.steps if step != Flip())
    assert (made.mode, made.mean, made.std) == ("fused", mean, std)
    half = config()
    half.model.dtype = "bfloat16"
    assert recipe_of(half, *STATISTICS, SHAPE).dtype == jnp.bfloat16


def test_views_are_as_large_as_the_images_or_as_asked_for():
    assert recipe((30, 20, 3), recipe="imagenet").steps[0] == Crop((30, 20))
    assert recipe(recipe="imagenet", size=40).steps[0] == Crop(40)
    assert recipe(None, recipe="imagenet").steps[0] == Crop(224)
    assert recipe(size=28).steps == (PadCrop(4), Flip())


def test_images_that_come_cropped_are_not_cropped_again():
    assert recipe(recipe="imagenet", cropped=True).cropped
    assert not recipe(cropped=True).cropped
    setting = Setting(4, *STATISTICS, Axes(), 1, optax.sgd(0.1), image_shape=SHAPE, cropped=True)
    view = one_view(config(recipe="imagenet"), setting)
    images = jax.ShapeDtypeStruct((2, *SHAPE), jnp.uint8)
    assert view.recipe.draw(jax.random.split(jax.random.key(0), 2), images.shape)[0] == {}


MISTAKES = [
    (
        {"recipe": "moco"},
        SHAPE,
        f"views.recipe must be one of {', '.join(views.RECIPES)}, got 'moco'; did you mean "
        "moco_v2?",
    ),
    (
        {"padding": 28},
        SHAPE,
        "views.padding must be below the side of the images, 28, got 28.",
    ),
    (
        {"size": 32},
        SHAPE,
        "views.size must be 0 for a recipe that leaves images as large as they are, 28 x 28, got "
        "32.",
    ),
    (
        {"strength": 0.5},
        SHAPE,
        "views.strength must be 1 for cifar, which has no jitter, got 0.5.",
    ),
    (
        {"recipe": "imagenet", "crop_scale": (0.5, 0.2)},
        SHAPE,
        "views.crop_scale must be (low, high) with 0 < low <= high <= 1, got (0.5, 0.2).",
    ),
    (
        {"mode": "fused"},
        SHAPE,
        "views.mode must be exact for a recipe that does not begin with a Crop, on which the fused "
        "form is built; this one begins with PadCrop.",
    ),
    (
        {"recipe": "simclr"},
        (28, 28, 1),
        "views.recipe: images must have 3 channels, one for each number of mean, got 1.",
    ),
]


@pytest.mark.parametrize(("changes", "shape", "sentence"), MISTAKES, ids=lambda x: str(x)[:40])
def test_a_mistake_is_answered_with_its_field(changes, shape, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        recipe(shape, **changes)


def test_streamed_images_are_as_large_as_their_views():
    sentence = "views.size must be that of images that come cropped, 28 x 28, got 40."
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        recipe(recipe="imagenet", size=40, cropped=True)
