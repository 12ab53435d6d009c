"""What halves of the networks see of a view, patches, and numbers that no program depends on."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcl_jax import config as config_lib
from mcl_jax import methods, views
from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.methods import Setting, networks
from mcl_jax.methods.dividing import Frequencies
from mcl_jax.methods.seeing import seeing
from mcl_jax.training import state

SIDE = 16
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)


def keys():
    return jax.random.split(jax.random.key(0), len(IMAGES))


def configured(method, count=2, **changes):
    config = config_lib.default(method)
    config.method.networks = count
    config.views.update({"recipe": "simclr"} | changes)
    config.data.batch_size = len(IMAGES)
    for name in ("queue_size", "negatives"):
        if name in config.method:
            config.method[name] = 8
    return config


def setting(image_shape=IMAGES.shape[1:]):
    labels = np.arange(8, dtype=np.int32) % 4
    return Setting(4, MEAN, STD, Axes(), 1, optax.sgd(0.1), image_shape=image_shape, labels=labels)


def sight(count=2, number=2, shape=IMAGES.shape[1:], **changes):
    config = configured("simclr", count, **changes)
    made = setting(shape)
    return seeing(config, made, networks.build(config, made), number)


def test_frequencies_of_normalised_views_are_those_of_their_pixels():
    shown = sight(4, frequency=0.7)
    pixels = IMAGES / np.float32(255)
    blurred = views.gaussian_blur(jnp.asarray(pixels), 0.7)
    low, high = jax.jit(shown.finish)(IMAGES, shown.numbers())
    np.testing.assert_allclose(low, (blurred - np.array(MEAN)) / np.array(STD), atol=2e-3)
    np.testing.assert_allclose(high, (pixels - blurred) / np.array(STD), atol=2e-3)
    np.testing.assert_allclose(low + high, (pixels - MEAN) / STD, atol=1e-5)
    # Evaluation shows each network the frequencies that it was trained on.
    for part, plain in zip((low, high), shown.plain(IMAGES), strict=True):
        np.testing.assert_allclose(part, plain, atol=1e-5)
    each = Frequencies(3, 1, 0.7)(jnp.asarray(pixels))
    assert each[1] is each[2]
    np.testing.assert_array_equal(*(jax.jit(Frequencies(2, 1, 0.7))(pixels)[0], each[0]))


def test_numbers_at_run_time_are_those_of_the_recipe():
    """Draws to the last bit; and other numbers are those of another configuration."""
    wide = sight(strength=0.5, crop_scale=(0.13, 0.97))
    narrow = sight(strength=0.3, crop_scale=(0.5, 0.6))
    run = jax.jit(lambda numbers: wide.train(keys(), IMAGES, numbers))
    draw = jax.jit(lambda numbers: wide.recipes[0].draw(keys(), IMAGES.shape, numbers))
    for shown in (wide, narrow):
        (given,) = run(shown.numbers())
        np.testing.assert_allclose(given, jax.jit(shown.train)(keys(), IMAGES)[0], atol=1e-5)
        recipe = shown.recipes[0]
        drawn = draw(shown.numbers()["view_0"])
        expected = jax.jit(lambda recipe=recipe: recipe.draw(keys(), IMAGES.shape))()
        jax.tree.map(np.testing.assert_array_equal, drawn, expected)
    assert not np.array_equal(drawn[0]["box"], draw(wide.numbers()["view_0"])[0]["box"])


def test_views_are_patches_in_the_place_of_the_crop():
    shown = sight(patch_size=6, patch_distance=8, recipe="imagenet", flip=False)
    far = sight(patch_size=6, patch_distance=10, recipe="imagenet", flip=False)
    (both,) = jax.jit(shown.train)(keys(), IMAGES, shown.numbers())
    corners = jax.vmap(jax.random.fold_in, (0, None))(keys(), 1000)
    patches = views.two_patches(corners, jnp.asarray(IMAGES), 6, 8)
    expected = views.normalize(jnp.concatenate(patches), jnp.array(MEAN), jnp.array(STD))
    np.testing.assert_allclose(both.swapaxes(0, 1).reshape(expected.shape), expected, atol=1e-6)
    (given,) = jax.jit(shown.train)(keys(), IMAGES, far.numbers())
    np.testing.assert_array_equal(given, jax.jit(far.train)(keys(), IMAGES)[0])
    assert shown.crop is None  # the host cuts the middle out of what it decodes
    (plain,) = shown.plain(IMAGES)
    np.testing.assert_array_equal(plain, shown.finish(IMAGES)[0])
    assert plain.shape == IMAGES.shape


@functools.cache
def programs(method, **changes):
    """The text of a step, of a prediction and of the first state."""
    config = configured(method, **changes)
    config_lib.check(config)
    made = methods.create(config, setting())
    rows = jnp.arange(len(IMAGES), dtype=jnp.int32)
    batch = Batch(jnp.asarray(IMAGES), rows, rows, rows)
    key = jax.random.key(0)

    def step(params, extras):
        begun, dealt = made.begin(params, extras, batch)
        outputs, after = made.embed(params, begun, dealt, key, True)
        return made.objective(outputs, after, dealt, key)

    def begin(key, given):
        begun = state.create(made, key, batch, None, given)
        return begun.params, begun.extras

    params, extras = jax.eval_shape(begin, key, made.given())
    first = jax.jit(begin).lower(key, made.given())
    lowered = first, jax.jit(step).lower(params, extras)
    return [x.as_text() for x in (*lowered, jax.jit(made.predict).lower(params, extras, IMAGES))]


SWEEPS = [
    ("simclr", {}, {"crop_scale": (0.5, 0.9), "strength": 0.3}),
    ("simclr", {"patch_size": 6}, {"patch_size": 6, "patch_distance": 8}),
    ("moco", {"frequency": 0.7}, {"frequency": 2.0, "crop_scale": (0.1, 0.2), "strength": 0.1}),
    ("instance_discrimination", {"frequency": 0.7}, {"frequency": 0.3, "strength": 0.1}),
]


@pytest.mark.parametrize(("method", "one", "other"), SWEEPS)
def test_no_program_changes_with_the_numbers_of_a_sweep(method, one, other):
    assert programs(method, **one) == programs(method, **other)


def test_what_is_no_number_changes_the_step():
    assert programs("simclr")[1] != programs("simclr", flip=False)[1]


REFUSED = [
    (
        {"count": 3, "frequency": 0.7},
        "views.frequency wants an even number of method.networks, half of which see the blurred "
        "image, got 3.",
    ),
    (
        {"patch_size": 8, "patch_distance": 9},
        "views.patch_size and views.patch_distance want images of 8 + 9 pixels a side or more, got "
        "16 x 16.",
    ),
    (
        {"patch_size": 8, "recipe": "cifar"},
        "views.patch_size wants a views.recipe that begins with a crop, in whose place patches "
        "stand, got cifar.",
    ),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED)
def test_what_cannot_be_divided_or_cut_is_refused(options, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        sight(**options)


CONTRADICTIONS = [
    (
        {"channels": "lab", "frequency": 0.7},
        "views.channels and views.frequency each divide a view among networks, got both: lab and "
        "0.7.",
    ),
    (
        {"patch_distance": 3},
        "views.patch_distance is for a views.patch_size above 0, got 3.",
    ),
    (
        {"patch_size": 8, "size": 12},
        "views.size must be 0 with views.patch_size, whose patches are not cropped or scaled, got "
        "12.",
    ),
    (
        {"patch_size": 8, "crop_scale": (0.2, 1.0)},
        "views.crop_scale must be empty with views.patch_size, whose patches are not cropped or "
        "scaled, got (0.2, 1.0).",
    ),
]


@pytest.mark.parametrize(("options", "sentence"), CONTRADICTIONS)
def test_contradictions_of_views_are_refused(options, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        config_lib.check(configured("moco", **options))


def test_unlike_networks_cannot_be_split_over_devices():
    config = configured("moco", frequency=0.7)
    config.parallel.cohort_devices = 2
    sentence = "parallel.cohort_devices above 1 wants no views.frequency"
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        config_lib.check(config)


def test_patches_are_refused_to_encoders_of_one_image_size():
    config = configured("moco", patch_size=8)
    config.model.name = "vit_tiny"
    sentence = "views.patch_size wants encoders that see images of any size"
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        config_lib.check(config)
