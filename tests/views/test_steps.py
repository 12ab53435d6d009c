"""Steps of recipes: the library's operations, drawn and applied apart, and told in words."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import views
from mcl_jax.views import (
    Blur,
    Crop,
    Cutout,
    Flip,
    Gray,
    Jitter,
    PadCrop,
    RandAugment,
    Solarize,
)
from mcl_jax.views.rand_augment import CMC

JITTER = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1, "probability": 0.8}
AUGMENT = {"operations": CMC, "count": 1, "magnitude": 7.0, "spread": 1.0}
AUGMENT |= {"probability": 0.9, "fill": (1, 2, 3)}

# Each step, and the operation that it is.
STEPS = {
    "pad_crop": (PadCrop(2), lambda k, x: views.pad_and_crop(k, x, 2)),
    "crop": (
        Crop(7, (0.2, 0.9), (0.5, 2.0), "bicubic"),
        lambda k, x: views.random_resized_crop(
            k, x, 7, scale=(0.2, 0.9), ratio=(0.5, 2.0), interpolation="bicubic"
        ),
    ),
    "flip": (Flip(0.3), lambda k, x: views.flip_horizontally(k, x, 0.3)),
    "jitter": (Jitter(**JITTER), lambda k, x: views.colour_jitter(k, x, **JITTER)),
    "gray": (Gray(0.4), lambda k, x: views.random_grayscale(k, x, 0.4)),
    "blur": (Blur((0.5, 1.0), 0.7), lambda k, x: views.random_gaussian_blur(k, x, (0.5, 1.0), 0.7)),
    "solarize": (Solarize(0.4, 0.6), lambda k, x: views.random_solarize(k, x, 0.4, 0.6)),
    "randaugment": (
        RandAugment(CMC, 1, 7.0, 1.0, 0.9, (1, 2, 3)),
        lambda k, x: views.randaugment(
            k,
            x,
            operations=CMC,
            count=1,
            magnitude=7.0,
            spread=1.0,
            probability=0.9,
            fill=(1, 2, 3),
        ),
    ),
    "cutout": (Cutout(3), lambda k, x: views.cutout(k, x, 3)),
}
every_step = pytest.mark.parametrize(("step", "operation"), STEPS.values(), ids=STEPS)


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def done(step, keys, images):
    return step.apply(images, step.draw(keys, images.shape))


@every_step
def test_a_step_is_its_operation_follows_the_keys_of_its_rows_and_tells_them(step, operation):
    images = np.random.default_rng(0).uniform(0, 1, (10, 8, 9, 3)).astype(np.float32)

    @jax.jit
    def views_of(keys, images):
        drawn = step.draw(keys, images.shape)
        return step.apply(images, drawn), operation(keys, images), drawn

    result, expected, drawn = jax.device_get(views_of(keys(10), images))
    np.testing.assert_array_equal(result, expected)
    assert result.shape == step.shape(images.shape)
    order = np.random.default_rng(1).permutation(10)
    np.testing.assert_array_equal(views_of(keys(10)[order], images[order])[0], result[order])
    assert np.any(views_of(keys(10, seed=1), images)[0] != result)
    told = {step.told({name: x[row] for name, x in drawn.items()}) for row in range(10)}
    assert len(told) > 1


@every_step
def test_draws_have_a_row_an_image_and_dtypes_are_kept(step, operation):
    del operation
    for dtype in (jnp.uint8, jnp.float32):
        images = jax.ShapeDtypeStruct((5, 8, 9, 3), dtype)
        drawn, made = jax.eval_shape(
            lambda x: (step.draw(keys(5), x.shape), done(step, keys(5), x)), images
        )
        assert {x.shape[0] for x in drawn.values()} == {5}
        assert made.dtype == dtype


def test_bytes_that_only_move_are_the_bytes_of_the_image():
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 1), np.uint8)
    for step in (PadCrop(1), Flip(), Cutout(2)):
        assert step.moves
        assert np.isin(done(step, keys(6), images), [0, *images.ravel()]).all()
    assert done(PadCrop(0), keys(6), images) is images


ORDER = np.array([3, 1, 0, 2])
TOLD = [
    (PadCrop(2), {"top": 0, "left": 3}, "moved 2 down, 1 left"),
    (PadCrop(2), {"top": 4, "left": 2}, "moved 2 up, 0 right"),
    (Crop(8), {"box": np.array([1, 2, 3, 4])}, "crop 3 x 4 at row 1, column 2"),
    (Flip(), {"flipped": np.True_}, "mirrored"),
    (Flip(), {"flipped": np.False_}, "not mirrored"),
    (
        Jitter(1, 1, 1, 0.5),
        {"brightness": 1.5, "contrast": 0.25, "saturation": 2.0, "hue": -0.125, "order": ORDER},
        "hue -0.12, contrast x 0.25, brightness x 1.50, saturation x 2.00",
    ),
    (
        Jitter(1, 1, 1, 0.5),
        {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, "order": ORDER},
        "no jitter",
    ),
    (Gray(), {"gray": np.True_}, "made gray"),
    (Gray(), {"gray": np.False_}, "not made gray"),
    (Blur(), {"sigma": np.float32(0.5)}, "blurred by 0.50 pixels"),
    (Blur(), {"sigma": np.float32(0)}, "not blurred"),
    (Solarize(), {"solarized": np.True_}, "solarised"),
    (Solarize(), {"solarized": np.False_}, "not solarised"),
    (
        RandAugment(),
        {
            "operation": np.array([12, 5, 0, 2]),
            "level": np.array([9.5, 3.25, 7.0, 1.0]),
            "negative": np.array([True, True, False, True]),
            "bicubic": np.array([True, True, False, False]),
        },
        "shear_x -9.5 bicubic, solarize 3.2, equalize",
    ),
    (
        RandAugment(),
        {name: np.array([0]) for name in ("operation", "level", "negative", "bicubic")},
        "no operation",
    ),
    (Cutout(3), {"middle": np.array([4, 5])}, "black square around row 4, column 5"),
]


@pytest.mark.parametrize(("step", "drawn", "text"), TOLD, ids=lambda x: str(x)[:30])
def test_what_was_drawn_in_words(step, drawn, text):
    assert step.told(drawn) == text


WORDS = [
    (PadCrop(2), "pad 2 black pixels on each side, cut the old size out anywhere"),
    (PadCrop(0), "no random crop"),
    (
        Crop((8, 9), (0.25, 1.0)),
        "crop 25 to 100 % of the area, width / height 0.75 to 1.33, scaled to 8 x 9, bilinear",
    ),
    (Flip(1.0), "mirror left to right"),
    (
        Jitter(0.4, 0.3, 0.2, 0.1, 0.8),
        "jitter brightness 0.4, contrast 0.3, saturation 0.2, hue 0.1, any order, probability 0.8",
    ),
    (Gray(), "make gray, probability 0.2"),
    (Blur(), "blur by a Gaussian of 0.1 to 2 pixels, probability 0.5"),
    (Solarize(), "invert values from 0.5 on, probability 0.2"),
    (
        RandAugment(),
        "2 of 15 RandAugment operations, level 10 with spread 0.5, probability 0.5 each",
    ),
    (Cutout(3), "blacken a square of 3 pixels"),
]


@pytest.mark.parametrize(("step", "text"), WORDS, ids=lambda x: str(x)[:30])
def test_steps_in_words(step, text):
    assert step.words() == text


MISTAKES = [
    (lambda: PadCrop(-1), "padding must be a whole number, at least 0, got -1."),
    (
        lambda: PadCrop(4).draw(keys(1), (1, 4, 5, 1)),
        "padding must be below the side of the images, 4, got 4.",
    ),
    (lambda: Crop(0), "size must be a side or (height, width), above 0, got 0."),
    (
        lambda: Crop(8, (0.0, 1.0)),
        "scale must be (low, high) with 0 < low <= high, got (0.0, 1.0).",
    ),
    (lambda: Crop(8, (0.5, 1.5)), "scale must be in 0 ... 1, got 1.5."),
    (
        lambda: Crop(8, ratio=(2.0, 1.0)),
        "ratio must be (low, high) with 0 < low <= high, got (2.0, 1.0).",
    ),
    (
        lambda: Crop(8, interpolation="cubic"),
        "interpolation must be one of nearest, bilinear, bicubic, got 'cubic'.",
    ),
    (lambda: Flip(1.5), "probability must be in 0 ... 1, got 1.5."),
    (lambda: Jitter(-1, 0, 0, 0), "brightness must be at least 0, got -1."),
    (lambda: Jitter(0, -1, 0, 0), "contrast must be at least 0, got -1."),
    (lambda: Jitter(0, 0, -1, 0), "saturation must be at least 0, got -1."),
    (lambda: Jitter(0, 0, 0, 0.6), "hue must be in 0 ... 0.5, got 0.6."),
    (lambda: Jitter(0, 0, 0, 0, -0.5), "probability must be in 0 ... 1, got -0.5."),
    (lambda: Gray(2), "probability must be in 0 ... 1, got 2."),
    (lambda: Blur((2.0, 1.0)), "sigma must be (low, high) with 0 <= low <= high, got (2.0, 1.0)."),
    (lambda: Blur(probability=2), "probability must be in 0 ... 1, got 2."),
    (lambda: Blur(radius=-1), "radius must be at least 0, got -1."),
    (lambda: Solarize(1.5), "threshold must be in 0 ... 1, got 1.5."),
    (lambda: Solarize(0.5, 1.5), "probability must be in 0 ... 1, got 1.5."),
    (lambda: RandAugment(count=0), "count must be at least 1, got 0."),
    (lambda: RandAugment(probability=2), "probability must be in 0 ... 1, got 2."),
    (
        lambda: RandAugment(fill=(1, 2)),
        "fill must be one byte or three, each in 0 ... 255; got (1, 2).",
    ),
    (lambda: Cutout(0), "size must be at least 1, got 0."),
]


@pytest.mark.parametrize(("make", "sentence"), MISTAKES, ids=[text[:40] for _, text in MISTAKES])
def test_a_mistake_is_answered_when_the_step_is_made(make, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}(\n|$)"):
        make()
