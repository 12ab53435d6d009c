"""RandAugment: each operation against Pillow, and the distributions of what is drawn."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mcl_jax.views.rand_augment import (
    CMC,
    OPERATIONS,
    RGB,
    Drawn,
    apply_randaugment,
    draw_randaugment,
    randaugment,
)

EXACT = {name for name in OPERATIONS[:11] if name != "autocontrast"}  # whole numbers throughout
# Images, the fill asked for, and what Pillow is to fill with.
CASES = {
    (192, 28, 28, 1): ((124, 116, 104), 117),
    (192, 31, 44, 3): ((124, 116, 104), (124, 116, 104)),
    (16, 224, 224, 3): (9, (9, 9, 9)),
}
apply = jax.jit(apply_randaugment, static_argnames="fill")


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def pictures(rows: int, height: int, width: int, channels: int) -> np.ndarray:
    """Slopes with noise, each within a range of values of its own."""
    random = np.random.default_rng(0)
    slope = random.normal(size=(rows, 1, 1, channels)) * np.linspace(-1, 1, width)[:, None]
    slope = (
        slope
        + random.normal(size=(rows, 1, 1, channels)) * np.linspace(-1, 1, height)[:, None, None]
    )
    values = slope + random.normal(0, 0.3, (rows, height, width, channels))
    middle, spread = (
        random.uniform(40, 215, (rows, 1, 1, 1)),
        random.uniform(5, 80, (rows, 1, 1, 1)),
    )
    return np.clip(middle + spread * values, 0, 255).astype(np.uint8)


def one_operation_each(rows: int) -> Drawn:
    """Every operation in turn, in one slot, at the highest level and at others."""
    random = np.random.default_rng(1)
    level = np.where(random.random(rows) < 0.4, 10, random.uniform(0, 10, rows))
    drawn = (np.arange(rows) % len(OPERATIONS), level, *(random.random((2, rows)) < 0.5))
    kinds = (jnp.int32, jnp.float32, bool, bool)
    return Drawn(*(jnp.asarray(x, kind)[:, None] for x, kind in zip(drawn, kinds, strict=True)))


def by_pillow(image: Image.Image, name: str, level: float, sign: int, **how) -> Image.Image:
    """The operation as PyContrast calls it."""
    share, factor, bands = level / 10, level / 10 * 1.8 + 0.1, len(image.getbands())
    affine = functools.partial(image.transform, image.size, Image.Transform.AFFINE)
    across, down = (sign * share * 0.45 * side for side in image.size)
    added, bits = int(share * 110), int(share * 4)
    table = [min(255, i + added) if i < 128 else i for i in range(256)] * bands
    return {
        "identity": lambda: image,
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
        "posterize": lambda: ImageOps.posterize(image, bits) if bits else image.point(lambda _: 0),
        "solarize": lambda: ImageOps.solarize(image, int(share * 256)),
        "solarize_add": lambda: image.point(table),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
        "colour": lambda: ImageEnhance.Color(image).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
        "rotate": lambda: image.rotate(sign * share * 30, **how),
        "shear_x": lambda: affine((1, sign * share * 0.3, 0, 0, 1, 0), **how),
        "shear_y": lambda: affine((1, 0, 0, sign * share * 0.3, 1, 0), **how),
        "translate_x": lambda: affine((1, 0, across, 0, 1, 0), **how),
        "translate_y": lambda: affine((1, 0, 0, 0, 1, down), **how),
    }[name]()


@pytest.fixture(scope="module", params=CASES, ids=str)
def views(request) -> tuple[np.ndarray, np.ndarray, Drawn, int | tuple]:
    """Images, views of one operation each, which, and the fill for Pillow."""
    images, drawn = pictures(*request.param), one_operation_each(request.param[0])
    fill, pillows_fill = CASES[request.param]
    return images, np.asarray(apply(images, drawn, fill=fill)), drawn, pillows_fill


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_pillows(views, name):
    images, got, drawn, fill = views
    differences = []
    for i in np.flatnonzero(drawn.operation[:, 0] == OPERATIONS.index(name)):
        image = Image.fromarray(images[i, ..., 0] if images.shape[-1] == 1 else images[i])
        resample = Image.Resampling.BICUBIC if drawn.bicubic[i, 0] else Image.Resampling.BILINEAR
        sign = -1 if drawn.negative[i, 0] else 1
        how = {"resample": resample, "fillcolor": fill}
        expected = np.asarray(by_pillow(image, name, float(drawn.level[i, 0]), sign, **how))
        differences.append(np.abs(got[i].astype(int) - expected.reshape(images[i].shape)))
    assert np.max(differences) <= (0 if name in EXACT else 1)
    # A shift by 100.8 pixels makes one mean in five a whole number; Pillow's may fall short of it.
    assert np.mean(np.array(differences) > 0) < (0.1 if name.startswith("translate") else 0.01)


def test_slots_follow_one_another():
    images = pictures(12, 9, 10, 3)
    first, second = one_operation_each(12), one_operation_each(24)
    second = Drawn(*(part[7:19] for part in second))
    both = Drawn(*(jnp.concatenate(pair, axis=1) for pair in zip(first, second, strict=True)))
    np.testing.assert_array_equal(apply(images, both), apply(apply(images, first), second))


def test_floats_are_bytes_over_255():
    images, drawn = pictures(12, 9, 10, 3), one_operation_each(12)
    floats = images.astype(np.float32) / 255
    near = floats + np.random.default_rng(0).uniform(-0.001, 0.001, floats.shape).astype(np.float32)
    views = apply(near, drawn)
    assert views.dtype == jnp.float32
    expected = np.asarray(apply(images, drawn)).astype(np.float32) / 255
    np.testing.assert_allclose(views, expected, atol=1e-6)
    half = jax.eval_shape(apply_randaugment, jnp.asarray(floats, jnp.bfloat16), drawn)
    assert half.dtype == jnp.bfloat16


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """Three slots for 6000 images; operations fire three times in five."""
    draw = functools.partial(draw_randaugment, count=3, probability=0.6)
    return jax.tree.map(np.asarray, jax.jit(draw)(keys(6000)))


def chi_square(counts: np.ndarray, expected: np.ndarray | float) -> float:
    return float(np.sum((counts - expected) ** 2 / expected))


def test_operations_fire_with_their_probability_and_are_uniform(drawn):
    counts = np.stack([np.bincount(slot, minlength=len(OPERATIONS)) for slot in drawn.operation.T])
    assert counts.shape == (3, 16)
    fired = 6000 - counts[:, 0]
    assert np.all(np.abs(fired / 6000 - 0.6) < 4 * (0.6 * 0.4 / 6000) ** 0.5)
    for row, total in zip(counts[:, 1:], fired, strict=True):
        assert chi_square(row, total / 15) < 36.1  # 14 degrees of freedom, 0.999


def test_slots_are_independent(drawn):
    pairs = np.bincount(16 * drawn.operation[:, 0] + drawn.operation[:, 1], minlength=256)
    shares = np.array([0.4, *[0.6 / 15] * 15])
    assert chi_square(pairs, 6000 * np.outer(shares, shares).ravel()) < 330.5  # 255, 0.999
    fires = (drawn.operation > 0).astype(float)
    others = (drawn.level, drawn.negative, drawn.bicubic)
    columns = np.concatenate([fires, *(np.asarray(x, float) for x in others)], axis=1)
    correlations = np.corrcoef(columns.T) - np.eye(12)
    assert np.abs(correlations).max() < 4.5 / 6000**0.5


def test_levels_are_normal_and_cut_off(drawn):
    assert drawn.level.max() == 10
    at_the_top = drawn.level == 10
    assert abs(at_the_top.mean() - 0.5) < 4 * 0.5 / at_the_top.size**0.5
    below = np.sort(10 - drawn.level[~at_the_top]) / 0.5
    half_normal = np.array([0.2533, 0.6745, 1.2816])  # quantiles of 0.2, 0.5 and 0.8 of |N(0, 1)|
    found = np.mean(below[:, None] < half_normal, axis=0)
    np.testing.assert_allclose(found, [0.2, 0.5, 0.8], atol=4 * 0.5 / below.size**0.5)


def test_signs_and_interpolations_are_fair(drawn):
    for part in (drawn.negative, drawn.bicubic):
        assert np.all(np.abs(part.mean(axis=0) - 0.5) < 4 * 0.5 / 6000**0.5)


def test_operations_are_those_asked_for_and_levels_stay_in_range():
    draw = functools.partial(draw_randaugment, operations=CMC, magnitude=1.0, spread=5.0)
    drawn = jax.jit(draw)(keys(2000))
    found = np.bincount(np.ravel(drawn.operation), minlength=16)
    assert {OPERATIONS[i] for i in np.flatnonzero(found)} == set(CMC)
    expected = np.array([4000 * 0.5 / 8] * 8)
    expected[0] += 2000  # what does not fire is the identity too
    order = [OPERATIONS.index(name) for name in ("identity", *(n for n in CMC if n != "identity"))]
    assert chi_square(found[order], expected) < 24.3  # 7 degrees of freedom, 0.999
    assert np.min(drawn.level) == 0
    assert np.max(drawn.level) == 10


def test_sure_levels_and_sure_operations():
    sure = functools.partial(draw_randaugment, operations=["rotate"], magnitude=4, spread=0)
    always, never = jax.jit(lambda keys: (sure(keys, probability=1), sure(keys, probability=0)))(
        keys(50)
    )
    assert np.all(always.operation == OPERATIONS.index("rotate"))
    assert np.all(always.level == 4)
    assert np.all(never.operation == 0)


@pytest.fixture
def usual_compiler():
    """Programs as users run them: fused and reordered."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def test_a_view_depends_on_its_own_key_alone_however_it_is_compiled(usual_compiler):
    images = pictures(12, 9, 10, 3)
    operation = jax.jit(functools.partial(randaugment, probability=1.0))
    whole = np.asarray(operation(keys(12), images))
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_array_equal(whole[order], operation(keys(12)[order], images[order]))
    assert np.any(whole != operation(keys(12, seed=1), images))
    jax.config.update("jax_disable_most_optimizations", True)
    draw = jax.jit(functools.partial(draw_randaugment, probability=1.0))
    np.testing.assert_array_equal(whole, apply(images, draw(keys(12))))


def test_the_sets_are_those_of_the_paper():
    assert len(RGB) == 15
    assert "identity" not in RGB
    assert len(CMC) == 8
    colours = {"equalize", "invert", "posterize", "solarize", "solarize_add"}
    colours |= {"brightness", "contrast", "colour"}
    assert set(RGB) - set(CMC) == colours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operations": ()}, "operations must name at least one operation, got none."),
        (
            {"operations": ("rotate", "twirl")},
            f"operations must be of {', '.join(OPERATIONS)}; got 'twirl'.",
        ),
        ({"count": 0}, "count must be at least 1, got 0."),
        ({"magnitude": 11}, "magnitude must be in 0 ... 10.0, got 11."),
        ({"spread": -1}, "spread must be at least 0, got -1."),
        ({"probability": 1.5}, "probability must be in 0 ... 1, got 1.5."),
    ],
)
def test_what_cannot_be_drawn_is_named(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        draw_randaugment(keys(2), **arguments)


@pytest.mark.parametrize(
    ("shape", "fill", "message"),
    [
        (
            (2, 4, 4, 3),
            (1, 2),
            "fill must be one byte or three, each in 0 ... 255; got (1, 2).",
        ),
        ((2, 4, 4, 3), 256, "fill must be one byte or three, each in 0 ... 255; got 256."),
        ((2, 4, 4, 2), 0, "images must have 1 channel (gray) or 3 (red, green, blue), got 2."),
        ((3, 4, 4, 3), 0, "drawn must be of 3 images, [3, S]; got shape (2, 1)."),
    ],
)
def test_what_cannot_be_augmented_is_named(shape, fill, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        apply_randaugment(np.zeros(shape, np.uint8), one_operation_each(2), fill=fill)
