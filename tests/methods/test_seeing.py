"""Views of images: several of each, and channels divided among networks."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcl_jax import config as config_lib
from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.methods import Setting, networks
from mcl_jax.methods.seeing import seeing
from mcl_jax.views import RECIPES, SPACES


def sight(count=2, shape=(8, 8, 3), method="moco", cropped=False, **changes):
    config = config_lib.default(method)
    config.method.networks = count
    config.views.update({"recipe": "cifar", "padding": 2} | changes)
    statistics = (0.5,) * shape[-1], (0.2,) * shape[-1]
    setting = Setting(4, *statistics, Axes(), 1, optax.sgd(0.1), image_shape=shape, cropped=cropped)
    return seeing(config, setting, networks.build(config, setting), 2)


def test_views_of_an_image_are_drawn_apart_and_each_of_its_crop():
    rng = np.random.default_rng(0)
    crops = jnp.asarray(rng.integers(0, 256, (4, 2, 8, 8, 3), np.uint8))
    keys = jax.random.split(jax.random.key(0), 4)
    shown = sight()
    (both,) = shown.train(keys, crops)
    assert both.shape == (4, 2, 8, 8, 3)
    for v in (0, 1):
        (one,) = shown.view(v, keys, crops)
        assert np.array_equal(both[:, v], one)
        draws = jax.vmap(jax.random.fold_in, (0, None))(keys, v)
        assert np.array_equal(one, shown.recipes[v].train(draws, crops[:, v]))
    (same,) = shown.train(keys, crops[:, 0])
    assert np.array_equal(same[:, 0], both[:, 0])
    assert not np.array_equal(same[:, 0], same[:, 1])
    assert np.array_equal(shown.plain(crops)[0], shown.plain(crops[:, 0])[0])


def test_half_of_the_networks_see_the_first_channel_and_half_the_rest():
    shown = sight(4, channels="lab")
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8))
    first, rest = shown.plain(images)
    whole = shown.recipes[0].plain(images)
    assert np.array_equal(jnp.concatenate([first, rest], axis=-1), whole)
    assert (first.shape[-1], rest.shape[-1]) == (1, 2)
    assert shown.recipes[0].mean == SPACES["lab"].mean


def test_a_pair_is_of_two_views_and_of_both_halves():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8))
    keys = jax.random.split(jax.random.key(0), 4)
    shown = sight()
    pair = shown.pair(keys, images)
    for v in (0, 1):
        assert np.array_equal(pair[v], shown.view(v, keys, images)[0])
    halves = sight(channels="lab")
    first, second = halves.pair(keys, images)
    assert np.array_equal(first, halves.view(0, keys, images)[0])
    assert np.array_equal(second, halves.view(1, keys, images)[1])
    # A single view is drawn twice; crops of the host are made here.
    one = sight(recipe="imagenet", cropped=True)
    one = one._replace(recipes=one.recipes[:1])
    drawn = one.pair(keys, images)
    assert not np.array_equal(*drawn)
    assert np.array_equal(one.pair(keys, images)[0], drawn[0])


def test_the_host_crops_as_each_view_wants():
    second = {"recipe": "imagenet", "second_recipe": "moco_v1"}
    crops = sight(cropped=True, **second).crop
    assert [crop.scale for crop in crops] == [(0.08, 1.0), (0.2, 1.0)]
    assert sight().crop == (None, None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"second_recipe": "simclr", "shape": (8, 8, 1), "channels": "lab"},
            "views.channels lab wants images of three channels, got 1 in fashion_mnist.",
        ),
        (
            {"count": 3, "channels": "lab"},
            "views.channels wants an even number of method.networks, half of which see the first "
            "channel, got 3.",
        ),
        (
            {"recipe": "imagenet", "second_recipe": "cifar", "size": 6},
            "views.size must be 0 for a recipe that leaves images as large as they are, 8 x 8, got "
            "6.",
        ),
        (
            {"second_recipe": "simclrr"},
            f"views.second_recipe must be one of {', '.join(RECIPES)}, got 'simclrr'; did you mean "
            "simclr?",
        ),
    ],
)
def test_what_cannot_be_seen_is_refused(options, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        sight(**options)
