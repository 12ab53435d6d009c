"""Recipes: the papers' steps by name, at every size, in their order, each with its own draws."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import views
from mcl_jax.views import (
    RECIPES,
    SPACES,
    Blur,
    Crop,
    Flip,
    Gray,
    Jitter,
    PadCrop,
    RandAugment,
    Recipe,
    Solarize,
    recipe,
)
from mcl_jax.views.colour import Jitter as JitterDrawn
from mcl_jax.views.rand_augment import CMC

MEAN, STD = (0.2, 0.4, 0.3), (0.3, 0.1, 0.2)
GRAY = {"mean": (0.2,), "std": (0.3,)}


def keys(rows: int) -> jax.Array:
    return jax.random.split(jax.random.key(3), rows)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def shapes(made: Recipe, *shape: int) -> tuple[int, ...]:
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    return jax.eval_shape(lambda x: made.train(keys(len(x)), x), images).shape


# The papers' numbers, at 224 pixels, and at 32 for CIFAR's.
WEAK = Jitter(0.4, 0.4, 0.4, 0.1, 0.8)
STRONG = Jitter(0.8, 0.8, 0.8, 0.2, 0.8)
SHIFTY = Jitter(0.4, 0.4, 0.4, 0.4)
BYOL = Jitter(0.4, 0.4, 0.2, 0.1, 0.8)
WIDE, NARROW = Crop(224, (0.08, 1.0)), Crop(224, (0.2, 1.0))
CUBIC = Crop(224, (0.08, 1.0), interpolation="bicubic")
BLUR = Blur((0.1, 2.0), 0.5)
PAPERS = {
    "pycontrast_a": (WIDE, Flip(0.5), SHIFTY, Gray(0.2)),
    "pycontrast_b": (NARROW, Flip(0.5), WEAK, Gray(0.2), BLUR),
    "pycontrast_c": (WIDE, Flip(0.5), Jitter(0.4, 0.4, 0.4, 0.1)),
    "pycontrast_d": (NARROW, Flip(0.5), STRONG, BLUR, RandAugment(), Gray(0.2)),
    "pycontrast_e": (NARROW, Flip(0.5), WEAK, BLUR, RandAugment(CMC)),
    "moco_v1": (NARROW, Gray(0.2), SHIFTY, Flip(0.5)),
    "moco_v2": (NARROW, WEAK, Gray(0.2), BLUR, Flip(0.5)),
    "simclr": (CUBIC, Flip(0.5), STRONG, Gray(0.2), BLUR),
    "byol_1": (CUBIC, Flip(0.5), BYOL, Gray(0.2), Blur((0.1, 2.0), 1.0)),
    "byol_2": (CUBIC, Flip(0.5), BYOL, Gray(0.2), Blur((0.1, 2.0), 0.1), Solarize(0.5, 0.2)),
    "instance_discrimination": (NARROW, Gray(0.2), SHIFTY, Flip(0.5)),
    "cifar": (PadCrop(4), Flip(0.5)),
    "imagenet": (WIDE, Flip(0.5)),
}


def test_every_recipe_is_the_papers():
    assert {name: recipe(name).steps for name in RECIPES} == PAPERS


def test_small_images_get_smaller_blurs_and_then_none():
    for name, steps in PAPERS.items():
        at_56, at_32 = recipe(name, size=56).steps, recipe(name, size=32).steps
        blurred = [step for step in steps if isinstance(step, Blur)]
        smaller = [step for step in at_56 if isinstance(step, Blur)]
        assert [x.sigma for x in smaller] == [(0.025, 0.5)] * len(blurred)
        assert [x.probability for x in smaller] == [x.probability for x in blurred]
        rest = [step for step in steps[1:] if not isinstance(step, Blur)]
        if name == "instance_discrimination":
            rest.remove(Flip(0.5))
        assert list(at_32[1:]) == rest
        if name != "cifar":
            assert at_32[0] == dataclasses.replace(steps[0], size=32)
    assert recipe("cifar", size=32).steps[0] == PadCrop(4)
    assert recipe("simclr", size=48).steps[-1] != recipe("simclr", size=47).steps[-1] == Gray(0.2)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is_and_takes_gray_images(name):
    assert re.match(r"[A-Z].*(image|size)", views.describe(name))
    assert shapes(recipe(name, size=28, **GRAY), 3, 28, 28, 1) == (3, 28, 28, 1)


@pytest.mark.parametrize("mode", ["exact", "fused"])
@pytest.mark.parametrize("name", RECIPES)
def test_draws_are_float32_whatever_jax_defaults_to(name, mode):
    if mode == "fused" and recipe(name, size=28).crop is None:
        pytest.skip("begins with no crop")
    keys, images = jax.random.split(jax.random.key(0), 2), np.zeros((2, 32, 32, 3), np.uint8)
    found = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            made = recipe(name, size=28, mode=mode)
            found.append(jax.device_get(made.draw(keys, images.shape)))
            assert jax.eval_shape(made.train, keys, images).dtype == jnp.float32
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), *found)
    assert all(jax.tree.leaves(same))


def test_views_of_a_size_are_made_of_images_of_any_size():
    for name in ("simclr", "imagenet"):
        assert shapes(recipe(name, size=24), 2, 9, 40, 3) == (2, 24, 24, 3)
        assert shapes(recipe(name, size=(24, 16)), 2, 28, 28, 3) == (2, 24, 16, 3)
    assert shapes(recipe("cifar", size=32), 2, 28, 20, 3) == (2, 28, 20, 3)


def test_options_change_what_they_name():
    stronger = recipe("moco_v2", strength=2.0).steps
    assert stronger[1] == Jitter(0.8, 0.8, 0.8, 0.2, 0.8)
    assert stronger[2:] == PAPERS["moco_v2"][2:]
    assert recipe("imagenet", crop_scale=(0.3, 0.5)).steps == (Crop(224, (0.3, 0.5)), Flip())
    assert recipe("moco_v2", flip=False).steps == PAPERS["moco_v2"][:-1]
    assert recipe("cifar", padding=3, flip=False).steps == (PadCrop(3),)
    made = recipe("pycontrast_c", colour_space="ydbdr", dtype=jnp.bfloat16)
    assert (made.mean, made.std) == SPACES["ydbdr"]
    assert made.dtype == jnp.bfloat16
    assert (recipe("cifar").mean, recipe("cifar").std) == SPACES["rgb"]


MISTAKES = [
    (
        lambda: recipe("simlcr"),
        f"recipe must be one of {', '.join(RECIPES)}, got 'simlcr'; did you mean simclr?",
    ),
    (
        lambda: recipe("MoCoV2"),
        f"recipe must be one of {', '.join(RECIPES)}, got 'MoCoV2'; did you mean moco_v2?",
    ),
    (lambda: recipe("x"), f"recipe must be one of {', '.join(RECIPES)}, got 'x'."),
    (
        lambda: recipe("simclr", size=0),
        "size must be a side or (height, width), above 0, got 0.",
    ),
    (lambda: recipe("simclr", strength=-1), "strength must be at least 0, got -1."),
    (
        lambda: recipe("simclr", strength=3),
        "strength must be at most 2.5 for simclr, where the hue then turns by up to half the "
        "wheel, got 3.",
    ),
    (
        lambda: recipe("cifar", strength=0.5),
        "strength must be 1 for cifar, which has no jitter, got 0.5.",
    ),
    (
        lambda: recipe("cifar", crop_scale=(0.2, 1.0)),
        "crop_scale must be empty for cifar, which crops otherwise, got (0.2, 1.0).",
    ),
    *(
        (
            lambda scale=scale: recipe("simclr", crop_scale=scale),
            f"crop_scale must be (low, high) with 0 < low <= high <= 1, got {scale}.",
        )
        for scale in ((0.2,), (0.0, 1.0), (0.5, 0.2), (0.2, 1.5))
    ),
    (
        lambda: recipe("simclr", padding=2),
        "padding must be None for simclr, which does not pad, got 2.",
    ),
    (lambda: recipe("cifar", padding=-1), "padding must be a whole number, at least 0, got -1."),
    (
        lambda: recipe("cifar", mode="fused"),
        "mode must be exact for a recipe that does not begin with a Crop, on which the fused form "
        "is built; this one begins with PadCrop.",
    ),
    (lambda: recipe("simclr", mode="fast"), "mode must be exact or fused, got 'fast'."),
    (
        lambda: recipe("simclr", colour_space="lsd"),
        f"colour_space must be one of {', '.join(SPACES)}, got 'lsd'.",
    ),
    (
        lambda: recipe("simclr", mean=(0.5,)),
        "mean and std must have one number a channel each, got 1 and 3.",
    ),
    (lambda: Recipe((Flip(),), MEAN, (0.2, 0, 1)), "std must be above 0, got (0.2, 0, 1)."),
    (
        lambda: Recipe((Flip(),), MEAN, STD, cropped=True),
        "cropped must be False for a recipe that does not begin with a Crop.",
    ),
    (
        lambda: Recipe((Flip(), Crop(8)), MEAN, STD),
        "steps must have their Crop first: later ones work at its size.",
    ),
    (
        lambda: recipe("cifar", size=32, padding=8).train(keys(2), noise(2, 8, 9, 3)),
        "padding must be below the side of the images, 8, got 8.",
    ),
    (
        lambda: recipe("cifar").plain(noise(2, 8, 8, 1)),
        "images must have 3 channels, one for each number of mean, got 1.",
    ),
    (
        lambda: recipe("cifar", padding=0, colour_space="lab", **GRAY).plain(noise(2, 8, 8, 1)),
        "colour spaces are of images with three channels, got 1.",
    ),
    (
        lambda: recipe("simclr", size=8).without_crop().draw(keys(2), (2, 9, 8, 3)),
        "size must be that of images that come cropped, 9 x 8, got 8.",
    ),
    (
        lambda: recipe("cifar").train(keys(2), noise(8, 8, 3)),
        "images must have axes [B, H, W, c], got shape (8, 8, 3).",
    ),
]


@pytest.mark.parametrize(("make", "sentence"), MISTAKES, ids=[text[:50] for _, text in MISTAKES])
def test_a_mistake_is_answered_in_one_sentence(make, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        make()


# The recipe of CIFAR, whose views were made by the two lines of this formula before recipes had
# names: runs repeat to the last bit.


def formula(keys: jax.Array, images: jax.Array, padding: int, flip: bool) -> jax.Array:
    keys = jax.vmap(jax.random.split)(keys)
    if padding:
        images = views.pad_and_crop(keys[:, 0], images, padding)
    if flip:
        flipped = jax.vmap(jax.random.bernoulli)(keys[:, 1])
        images = jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)
    return views.normalize(images, jnp.array(MEAN), jnp.array(STD))


@pytest.mark.parametrize(("padding", "flip"), [(2, True), (0, True), (4, False)])
def test_the_views_of_cifar_are_those_of_its_formula_bit_for_bit(padding, flip):
    made = recipe("cifar", mean=MEAN, std=STD, padding=padding, flip=flip)

    def both(keys, images):
        return made.train(keys, images), formula(keys, images, padding, flip)

    for function in (both, jax.jit(both)):
        ours, theirs = function(keys(9), noise(9, 6, 5, 3))
        np.testing.assert_array_equal(ours, theirs)
    alone = jax.jit(made.train)(keys(9), noise(9, 6, 5, 3))
    before = jax.jit(lambda k, x: formula(k, x, padding, flip))(keys(9), noise(9, 6, 5, 3))
    np.testing.assert_array_equal(alone, before)


def possible_views(image: np.ndarray, padding: int, flip: bool) -> np.ndarray:
    """Every view [n, H, W, c] of one image: unmirrored ones first, by row and column of the cut."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    places = range(2 * padding + 1)
    windows = [padded[y : y + height, x : x + width] for y in places for x in places]
    return np.stack(windows + [window[:, ::-1] for window in windows] * flip)


def test_crops_and_flips_of_cifar_are_independent_and_all_there_are():
    image, rows = np.random.default_rng(0).integers(1, 256, (4, 5, 3), np.uint8), 3600
    made = recipe("cifar", mean=MEAN, std=STD, padding=1)
    seen = np.asarray(made.train(keys(rows), np.repeat(image[None], rows, axis=0)))
    normalised = (possible_views(image, 1, True) / 255 - MEAN) / STD
    is_view = np.all(np.abs(seen[:, None] - normalised) < 1e-5, axis=(2, 3, 4))
    np.testing.assert_array_equal(is_view.sum(axis=1), 1)
    counts = is_view.sum(axis=0)
    assert len(counts) == 18
    assert np.sum((counts - 200) ** 2 / 200) < 40.8  # chi-square, 17 degrees of freedom, 0.999


# Any recipe.

MIXED = Recipe(
    (Crop(6, (0.3, 1.0)), Flip(), WEAK, Blur((0.5, 1.0)), Solarize(0.3, 0.5), Gray(0.5)),
    MEAN,
    STD,
)


def test_step_i_draws_from_the_keys_folded_with_i_at_the_size_that_it_meets():
    steps = (Crop(6), Flip(), views.Cutout(2))
    drawn = Recipe(steps, MEAN, STD).draw(keys(40), (40, 50, 60, 3))
    for number, (step, shape) in enumerate(zip(steps, [(50, 60), (6, 6), (6, 6)], strict=True)):
        own = jax.vmap(jax.random.fold_in, (0, None))(keys(40), number)
        expected = step.draw(own, (40, *shape, 3))
        jax.tree.map(np.testing.assert_array_equal, drawn[number], expected)
    assert drawn[2]["middle"].max() == 5


@pytest.mark.parametrize("mode", ["exact", "fused"])
def test_a_view_depends_on_its_own_key_alone(mode):
    made, images = dataclasses.replace(MIXED, mode=mode), noise(10, 8, 9, 3)
    train = jax.jit(made.train)
    order = np.random.default_rng(1).permutation(10)
    mixed = train(keys(10)[order], images[order])
    np.testing.assert_allclose(mixed, train(keys(10), images)[order], rtol=1e-5, atol=1e-5)


def test_the_fused_mode_is_the_fused_operation_on_the_same_draws_and_the_rest_after_it():
    images, made = noise(8, 12, 10, 3), dataclasses.replace(MIXED, mode="fused")
    assert (made.fused_steps, MIXED.fused_steps) == (4, 0)

    @jax.jit
    def both(keys, images):
        drawn = MIXED.draw(keys, images.shape)
        crop, flip, jitter, blur, solarize, gray = drawn
        expected = views.fused(
            images,
            size=6,
            boxes=crop["box"],
            flipped=flip["flipped"],
            sigma=blur["sigma"],
            jitter=JitterDrawn(**jitter),
            radius=4,
        )
        expected = MIXED.steps[4].apply(expected, solarize)
        expected = MIXED.steps[5].apply(expected, gray)
        return made.pixels(images, drawn), expected, MIXED.pixels(images, drawn)

    fused, expected, exact = both(keys(8), images)
    np.testing.assert_allclose(fused, expected, atol=1e-6)
    assert 0 < np.abs(fused - exact).mean() < 0.1


def test_grays_and_what_comes_twice_end_the_fused_part():
    def count(*steps):
        return Recipe((Crop(6), *steps), MEAN, STD, mode="fused").fused_steps

    assert count(Gray(), WEAK, Flip(), BLUR) == 5
    assert count(Flip(), Flip()) == 2
    assert count(WEAK, Solarize(), Gray()) == 2
    assert count() == 1


@pytest.mark.parametrize("mode", ["exact", "fused"])
def test_without_its_crop_a_recipe_does_the_rest_with_the_same_draws(mode):
    whole = dataclasses.replace(MIXED, mode=mode)
    rest, images = whole.without_crop(), noise(5, 6, 6, 3)
    assert (whole.crop, rest.crop) == (Crop(6, (0.3, 1.0)),) * 2
    drawn = rest.draw(keys(5), images.shape)
    assert drawn[0] == {}
    other = whole.draw(keys(5), (5, 20, 30, 3))
    jax.tree.map(np.testing.assert_array_equal, drawn[1:], other[1:])
    boxed = ({"box": jnp.tile(jnp.array([0, 0, 6, 6]), (5, 1))}, *drawn[1:])
    pixels = jax.jit(lambda: (rest.pixels(images, drawn), whole.pixels(images, boxed)))
    np.testing.assert_allclose(*pixels(), atol=1e-6)
    cifar = recipe("cifar")
    assert cifar.crop is None
    assert cifar.without_crop() == cifar


def test_views_can_be_of_another_colour_space():
    images, made = noise(3, 6, 6, 3), recipe("pycontrast_c", size=6, colour_space="ydbdr")

    @jax.jit
    def both(keys):
        drawn = made.draw(keys, images.shape)
        return made.apply(images, drawn), views.convert(made.pixels(images, drawn), "ydbdr")

    seen, converted = both(keys(3))
    expected = (converted - np.array(SPACES["ydbdr"].mean)) / np.array(SPACES["ydbdr"].std)
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_the_plain_view_is_normalised_and_of_the_size_of_the_views():
    images = noise(4, 6, 6, 3)
    expected = views.normalize(images, jnp.array(MEAN), jnp.array(STD))
    for made in (recipe("cifar", mean=MEAN, std=STD), MIXED, MIXED.without_crop()):
        np.testing.assert_array_equal(made.plain(images), expected)
    wide = noise(4, 12, 20, 3)
    plain, scaled = jax.jit(
        lambda x: (MIXED.plain(x), views.resize(x / jnp.float32(255), (6, 10)))
    )(wide)
    expected = (scaled[:, :, 2:8] - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(plain, expected, atol=1e-5)


def test_steps_of_colour_leave_gray_images_as_they_are():
    made = Recipe((Jitter(0, 0, 0.8, 0.5), Gray(0.5)), (0.5,), (0.25,))
    images = noise(6, 4, 4, 1)
    np.testing.assert_allclose(jax.jit(made.train)(keys(6), images), made.plain(images), atol=1e-6)


def test_views_have_the_dtype_of_the_recipe():
    made = recipe("simclr", size=4, dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 4, 4, 3), jnp.uint8)
    train, plain = jax.eval_shape(lambda x: (made.train(keys(2), x), made.plain(x)), images)
    assert train.dtype == plain.dtype == jnp.bfloat16
