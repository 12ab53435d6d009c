"""View constructors against NumPy; recipes here are small functions of keys and images."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.views import constructors
from mcl_jax.views.blur import gaussian_blur
from mcl_jax.views.colour_spaces import convert
from mcl_jax.views.constructors import (
    apply_jigsaw,
    channel_split,
    combinations,
    draw_jigsaw,
    frequency_split,
    jigsaw,
    jigsaw_sides,
    multi_crop,
    per_network,
    split_2x2,
    two_crops,
    two_patches,
)
from mcl_jax.views.geometry import crop_and_resize


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def numbered(rows: int, height: int, width: int) -> np.ndarray:
    """The same image in every row: a pixel holds its row and its column."""
    pixels = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    return np.repeat(pixels[None].astype(np.uint8), rows, axis=0)


def dim(keys: jax.Array, images: jax.Array) -> jax.Array:
    """A recipe: each image times a number of its key."""
    factor = jax.vmap(jax.random.uniform)(keys)
    return images * factor[:, None, None, None]


def small(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Another, whose views are smaller."""
    return dim(keys, images)[:, ::2, ::2]


def folded(keys: jax.Array, view: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, view)


def test_crops_are_recipes_of_folded_keys():
    images = jnp.asarray(noise(5, 4, 6, 3), jnp.float32)
    large, little = multi_crop(keys(5), images, [(dim, 2), (small, 3)])
    assert large.shape == (2, 5, 4, 6, 3)
    assert little.shape == (3, 5, 2, 3, 3)
    for view in range(2):
        np.testing.assert_allclose(large[view], dim(folded(keys(5), view), images), rtol=1e-6)
    for view in range(3):
        expected = small(folded(keys(5), 2 + view), images)
        np.testing.assert_allclose(little[view], expected, rtol=1e-6)


def test_two_crops_are_of_one_recipe_or_of_two():
    images = jnp.asarray(noise(5, 4, 6, 3), jnp.float32)
    same, jitted = two_crops(keys(5), images, dim), jax.jit(two_crops, static_argnums=2)
    np.testing.assert_array_equal(same, jitted(keys(5), images, dim))
    np.testing.assert_array_equal(same, multi_crop(keys(5), images, [(dim, 2)])[0])
    assert np.all(np.any(same[0] != same[1], axis=(1, 2, 3)))
    np.testing.assert_array_equal(same[:, 1:3], two_crops(keys(5)[1:3], images[1:3], dim))
    pair = two_crops(keys(5), images, dim, lambda keys, images: -dim(keys, images))
    np.testing.assert_array_equal(pair, same * jnp.array([1, -1]).reshape(2, 1, 1, 1, 1))


def test_networks_share_a_crop_or_take_one_each():
    images = jnp.asarray(noise(5, 4, 6, 3), jnp.float32)
    networks = [
        lambda keys, images: channel_split(dim(keys, images))[0],
        lambda keys, images: channel_split(dim(keys, images))[1],
    ]
    first, rest = per_network(keys(5), images, networks)
    np.testing.assert_array_equal(jnp.concatenate([first, rest], axis=-1), dim(keys(5), images))
    views = per_network(keys(5), images, networks, shared=False)
    for network, (view, part) in enumerate(zip(views, (slice(1), slice(1, 3)), strict=True)):
        np.testing.assert_array_equal(view, dim(folded(keys(5), network), images)[..., part])


@pytest.mark.parametrize("space", [None, "lab", "ydbdr"])
def test_channels_are_split_one_and_two(space):
    images = jnp.asarray(noise(2, 3, 4, 3), jnp.float32) / 255
    whole = images if space is None else convert(images, space)
    first, rest = channel_split(images, space)
    assert first.shape == (2, 3, 4, 1)
    np.testing.assert_array_equal(jnp.concatenate([first, rest], axis=-1), whole)


def test_frequencies_add_up_to_the_image():
    images = jnp.asarray(noise(3, 12, 9, 3), jnp.float32) / 255
    both = jax.jit(lambda images: (frequency_split(images, 0.7), gaussian_blur(images, 0.7)))
    (blurred, residue), expected = both(images)
    np.testing.assert_array_equal(blurred, expected)
    np.testing.assert_allclose(blurred + residue, images, atol=1e-6)
    assert residue.min() < 0
    assert np.var(blurred) < np.var(images)
    # A sigma that is an array has all pixels count, of which those beyond four sigma hardly do.
    (low, _), _ = jax.jit(lambda x, s: (frequency_split(x, s), 0))(images, 0.7)
    np.testing.assert_allclose(low, blurred, atol=1e-3)


def test_quarters_are_the_corners():
    images = noise(3, 6, 8, 2)
    quarters = split_2x2(images)
    cuts = [np.s_[:, y : y + 3, x : x + 4] for y in (0, 3) for x in (0, 4)]
    np.testing.assert_array_equal(quarters, np.stack([images[cut] for cut in cuts]))


@pytest.mark.parametrize(("size", "choices"), [(1, 4), (2, 6), (3, 4), (4, 1)])
def test_combinations_are_means_of_every_choice(size, choices):
    parts = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    found = np.asarray(combinations(parts, size))
    assert found.shape == (choices, 5, 3)
    sums = {tuple(np.round(parts[list(c)].mean(axis=0).ravel(), 4)) for c in SUBSETS[size]}
    assert {tuple(np.round(x.ravel(), 4)) for x in found} == sums


SUBSETS = {
    1: [(0,), (1,), (2,), (3,)],
    2: [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)],
    3: [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)],
    4: [(0, 1, 2, 3)],
}


def test_patches_lie_at_a_distance_anywhere_in_the_image():
    rows, size, distance = 3000, 3, 2
    images = numbered(rows, 8, 9)
    cut = jax.jit(functools.partial(two_patches, size=size, distance=distance))
    views = np.asarray(cut(keys(rows), images))
    assert views.shape == (2, rows, 3, 3, 2)
    given = jax.jit(functools.partial(two_patches, size=size))
    np.testing.assert_array_equal(views, given(keys(rows), images, distance=jnp.array(distance)))
    corners = views[0, :, 0, 0].astype(int)
    np.testing.assert_array_equal(views[1, :, 0, 0], corners + distance)
    inside = np.stack(np.meshgrid(np.arange(3), np.arange(3), indexing="ij"), axis=-1)
    for view, corner in zip(views, (corners, corners + distance), strict=True):
        np.testing.assert_array_equal(view, corner[:, None, None] + inside)
    counts = np.bincount(5 * corners[:, 0] + corners[:, 1], minlength=20)
    assert len(counts) == 20  # 4 rows and 5 columns leave both patches in 8 x 9 pixels
    assert np.sum((counts - 150) ** 2 / 150) < 43.8  # chi-square, 19 degrees of freedom, 0.999


def test_a_jigsaw_is_nine_cuts_of_a_mirrored_crop():
    images, (cell, patch) = noise(6, 40, 33, 3), (10, 8)
    sides = {"cell": cell, "patch": patch}
    draw = jax.jit(functools.partial(draw_jigsaw, height=40, width=33, **sides))
    drawn = draw(keys(6))
    assert set(np.asarray(drawn.flipped)) == {True, False}
    crops = np.array(jax.jit(functools.partial(crop_and_resize, size=30))(images, drawn.boxes))
    crops[drawn.flipped] = crops[drawn.flipped][:, :, ::-1]
    views = np.asarray(jax.jit(functools.partial(apply_jigsaw, **sides))(images, drawn))
    assert views.shape == (9, 6, 8, 8, 3)
    for row, corners in enumerate(np.asarray(drawn.corners)):
        for number, (y, x) in enumerate(corners):
            np.testing.assert_array_equal(views[number, row], crops[row, y : y + 8, x : x + 8])
    part = jax.jit(functools.partial(jigsaw, side=32))(keys(6)[2:5], images[2:5])
    np.testing.assert_array_equal(views[:, 2:5], part)


def test_patches_lie_uniformly_in_their_cells_and_areas_in_their_range():
    draw = functools.partial(draw_jigsaw, height=64, width=64, cell=10, patch=8)
    boxes, flipped, corners = jax.tree.map(np.asarray, jax.jit(draw)(keys(1000)))
    inside = corners - 10 * np.stack(np.divmod(np.arange(9), 3), axis=-1)
    counts = np.bincount(np.ravel(3 * inside[..., 0] + inside[..., 1]), minlength=9)
    assert len(counts) == 9
    assert np.sum((counts - 1000) ** 2 / 1000) < 26.1  # chi-square, 8 degrees of freedom, 0.999
    areas = boxes[:, 2] * boxes[:, 3] / 64**2
    assert areas.min() > 0.58
    assert areas.max() > 0.95
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / 1000**0.5


@pytest.mark.parametrize(
    ("side", "cell", "patch"),
    [(224, 85, 64), (96, 31, 24), (64, 21, 16), (32, 10, 8), (28, 10, 8), (20, 10, 8)],
)
def test_sides_of_a_jigsaw(side, cell, patch):
    assert jigsaw_sides(side) == (cell, patch)
    views = jax.eval_shape(jigsaw, keys(2), jnp.zeros((2, side, side + 3, 1), jnp.uint8))
    assert (views.shape, views.dtype) == ((9, 2, patch, patch, 1), jnp.uint8)


IMAGES = np.zeros((2, 8, 8, 3), np.float32)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "two_crops",
            (keys(2), IMAGES, dim, small),
            "the two recipes must give views of one shape",
        ),
        ("multi_crop", (keys(2), IMAGES, []), "recipes must hold at least one recipe, got none."),
        (
            "multi_crop",
            (keys(2), IMAGES, [(dim, 0)]),
            "count of views must be a whole number, at least 1, got 0.",
        ),
        (
            "per_network",
            (keys(2), IMAGES, []),
            "constructors must hold one for each network, got none.",
        ),
        (
            "channel_split",
            (IMAGES[..., :1],),
            "a channel split is of three channels, got 1.",
        ),
        (
            "frequency_split",
            (IMAGES.astype(np.uint8), 1.0),
            "images must be floating, for a residue is below 0 in places; got uint8.",
        ),
        ("frequency_split", (IMAGES, 0.0), "sigma must be above 0, got 0.0."),
        ("split_2x2", (IMAGES[:, :7],), "images must have even sides to be split, got 7 x 8."),
        ("combinations", (IMAGES, 3), "size must be in 1 ... 2, got 3."),
        ("two_patches", (keys(2), IMAGES, 0, 1), "size must be at least 1, got 0."),
        ("two_patches", (keys(2), IMAGES, 1, -1), "distance must be at least 0, got -1."),
        (
            "two_patches",
            (keys(2), IMAGES, 5, 4),
            "images must have sides of at least size + distance = 9 pixels, got 8 x 8.",
        ),
        ("jigsaw_sides", (0,), "side must be at least 1, got 0."),
    ],
)
def test_what_cannot_be_made_is_named(name, arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        getattr(constructors, name)(*arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda images: two_crops(keys(2), images, dim),
        lambda images: channel_split(images),
        lambda images: frequency_split(images, 1.0),
        split_2x2,
        lambda images: two_patches(keys(2), images, 2, 2),
        lambda images: jigsaw(keys(2), images),
    ],
)
def test_images_have_four_axes(make):
    message = "images must have axes [B, H, W, c], got shape (8, 8, 3)."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(IMAGES[0])


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"cell": 0, "patch": 1}, "cell must be at least 1, got 0."),
        ({"cell": 4, "patch": 5}, "patch must be in 1 ... 4, got 5."),
    ],
)
def test_a_patch_fits_into_its_cell(sides, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        draw_jigsaw(keys(2), 32, 32, **sides)
