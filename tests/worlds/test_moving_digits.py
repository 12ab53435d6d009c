"""Pairs of moving digits share the chosen factors and nothing else."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mcl_jax.worlds import Factors, Material, draw_pairs

SIDE = 32
SUBSETS = list(itertools.product([False, True], repeat=3))
KEYS = jax.random.split(jax.random.key(3), 400)

# What one sees is what was drawn: a digit is known by its brightness, a background by its blue.
DIGITS = np.linspace(60, 255, 40).astype(np.uint8)
BLUES = np.arange(50, dtype=np.uint8)
PLAIN = Material(
    np.broadcast_to(DIGITS[:, None, None, None], (40, 8, 8, 1)),
    np.arange(40, dtype=np.int32) % 10,
    BLUES[:, None, None, None] * np.array([0, 0, 5], np.uint8) * np.ones((1, SIDE, SIDE, 1), "u1"),
    np.arange(50, dtype=np.int32) % 7,
)


@pytest.fixture(scope="module")
def drawn():
    """All subsets' pairs of the same keys, by one program."""
    draw = jax.jit(lambda flags: draw_pairs(KEYS, PLAIN, flags))
    pairs = {
        flags: jax.tree.map(np.asarray, draw(Factors(*map(jnp.asarray, flags))))
        for flags in SUBSETS
    }
    assert draw._cache_size() == 1
    return pairs


def seen(image):
    """Digit, background and centre that images [B, S, S, 3] show."""
    red = image[..., 0].astype(np.float64)  # without background
    digit = np.abs(red.max((1, 2))[:, None] * 255 - DIGITS).argmin(1)
    background = np.abs(image[..., 2].min((1, 2))[:, None] * 3 * 255 - 5.0 * BLUES).argmin(1)
    places = np.arange(SIDE)
    mass = red.sum((1, 2))
    centre = [(red.sum(axis) * places).sum(1) / mass for axis in (2, 1)]
    return digit, background, np.stack(centre, axis=1)


def frame(pairs, number):
    return pairs.first[..., 3 * number : 3 * number + 3]


def test_the_first_view_is_the_same_whatever_is_shared(drawn):
    first = drawn[SUBSETS[0]]
    for pairs in drawn.values():
        np.testing.assert_array_equal(pairs.first, first.first)
        jax.tree.map(np.testing.assert_array_equal, pairs.labels, first.labels)


def test_the_digit_moves_in_a_straight_line_over_a_background_that_stays(drawn):
    pairs = drawn[True, True, True]
    shown = [seen(frame(pairs, t)) for t in range(4)] + [seen(pairs.second)]
    for digit, background, _ in shown:
        np.testing.assert_array_equal(digit, shown[0][0])
        np.testing.assert_array_equal(background, shown[0][1])
    centres = np.stack([centre for _, _, centre in shown])  # the later image goes on
    np.testing.assert_allclose(np.diff(centres, 2, axis=0), 0, atol=0.35)  # as pixels tell
    assert np.abs(np.diff(centres, axis=0)).max() > 2


def test_labels_say_what_is_seen(drawn):
    pairs = drawn[True, True, True]
    digit, background, centre = seen(frame(pairs, 3))
    np.testing.assert_array_equal(pairs.labels.digit, PLAIN.digit_labels[digit])
    np.testing.assert_array_equal(pairs.labels.background, PLAIN.background_labels[background])
    np.testing.assert_allclose(pairs.labels.position, centre, atol=0.09)


@pytest.mark.parametrize("flags", SUBSETS)
def test_what_is_shared_is_the_same_and_the_rest_is_drawn_anew(drawn, flags):
    own, other = seen(drawn[True, True, True].second), seen(drawn[False, False, False].second)
    found = seen(drawn[flags].second)
    for number, shared in enumerate(flags):
        np.testing.assert_allclose(found[number], (own if shared else other)[number], atol=1e-3)
    # Draws of which nothing is shared agree as seldom as chance has it.
    assert abs(np.mean(own[0] == other[0]) - 1 / 40) < 0.03
    assert abs(np.mean(own[1] == other[1]) - 1 / 50) < 0.03
    assert np.abs(np.corrcoef(own[2].T, other[2].T)[:2, 2:]).max() < 0.15


def test_a_digit_never_leaves_the_image_and_reaches_all_of_it(drawn):
    pairs = drawn[False, False, False]
    for image in (frame(pairs, 0), pairs.second):
        red = image[..., 0]
        np.testing.assert_allclose(red.sum((1, 2)) / red.max((1, 2)), 12**2, rtol=0.02)
        centres = seen(image)[2]
        assert 6.1 < centres.min() < 7
        assert 24 < centres.max() < 24.9


def test_digits_are_interpolated_and_laid_over_darkened_backgrounds():
    rng = np.random.default_rng(0)
    digit = rng.integers(0, 256, (1, 8, 8, 1), np.uint8)
    behind = rng.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    zero = np.zeros(1, np.int32)
    pairs = draw_pairs(KEYS[:3], Material(digit, zero, behind, zero), Factors(True, True, True))
    for row in range(3):
        centre = np.asarray(pairs.labels.position[row])
        places = [(np.arange(SIDE) - x) / 1.5 + 3.5 for x in centre]
        grid = np.meshgrid(*places, indexing="ij")
        white = ndimage.map_coordinates(
            np.pad(digit[0, :, :, 0] / 255, 1), [x + 1 for x in grid], order=1, mode="constant"
        )[..., None]
        expected = behind[0] / 255 / 3 * (1 - white) + white
        np.testing.assert_allclose(pairs.first[row, ..., 9:], expected, atol=1e-5)


def test_a_row_depends_on_its_key_alone(drawn):
    whole = drawn[True, False, True]
    some = draw_pairs(KEYS[5:7], PLAIN, Factors(True, False, True))  # not jitted, plain booleans
    np.testing.assert_allclose(some.first, whole.first[5:7], atol=1e-5)
    np.testing.assert_allclose(some.second, whole.second[5:7], atol=1e-5)


def test_material_of_other_shapes_is_refused():
    flags = Factors(True, True, True)
    with pytest.raises(ValueError, match=r"digits must be \[N, 8, 8, 1\], got shape \(40, 8, 8\)"):
        draw_pairs(KEYS, PLAIN._replace(digits=PLAIN.digits[..., 0]), flags)
    with pytest.raises(ValueError, match=r"backgrounds must be .* got shape \(50, 8, 8, 3\)"):
        draw_pairs(KEYS, PLAIN._replace(backgrounds=PLAIN.backgrounds[:, :8, :8]), flags)
    with pytest.raises(ValueError, match=r"digit_labels must have shape \(40,\), got \(3,\)"):
        draw_pairs(KEYS, PLAIN._replace(digit_labels=np.zeros(3, np.int32)), flags)
