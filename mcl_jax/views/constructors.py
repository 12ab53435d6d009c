"""View constructors: from a batch of images to what each network, or each term, compares.

Where a constructor applies a recipe, that is any function ``(keys [B], images [B, H, W, c]) ->
views [B, ...]`` whose rows depend on their own key and image alone. View v draws from each image's
key folded with v.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.views.blur import gaussian_blur
from mcl_jax.views.colour_spaces import convert
from mcl_jax.views.draws import chances, folded, uniforms, whole
from mcl_jax.views.geometry import crop_and_resize, draw_crops, flip
from mcl_jax.views.pixels import check_axes, check_number, check_whole, to_float

Recipe = Callable[[jax.Array, jax.Array], jax.Array]
"""Keys [B] and images [B, H, W, c] to views [B, ...]."""


def two_crops(
    keys: jax.Array, images: jax.Array, first: Recipe, second: Recipe | None = None
) -> jax.Array:
    """Two views of each image, of one recipe or of two (BYOL's, arXiv 2006.07733).

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c].
        first: recipe of the first view.
        second: recipe of the second; None takes ``first`` again.

    Returns:
        [2, B, ...].

    Raises:
        ValueError: the recipes' views differ in shape or dtype (`multi_crop` takes such recipes).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> two_crops(keys, jnp.zeros((4, 8, 8, 3)), lambda keys, images: images).shape
        (2, 4, 8, 8, 3)
    """
    if second is None:
        return multi_crop(keys, images, [(first, 2)])[0]
    views = multi_crop(keys, images, [(first, 1), (second, 1)])
    kinds = [(view.shape[1:], view.dtype) for view in views]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"the two recipes must give views of one shape and dtype, got {kinds[0][0]} "
            f"{kinds[0][1]} and {kinds[1][0]} {kinds[1][1]}."
        )
    return jnp.concatenate(views)


def multi_crop(
    keys: jax.Array, images: jax.Array, recipes: Sequence[tuple[Recipe, int]]
) -> tuple[jax.Array, ...]:
    """Several views of each image from several recipes, as large and small crops.

    SwAV, arXiv 2006.09882: two crops at 224 pixels and six at 96. The views of a recipe are made in
    one call, of a batch that many times as large. Views are counted through all recipes, so that
    no two draw alike.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c].
        recipes: pairs of a recipe and the number of its views, at least 1.

    Returns:
        One array [count, B, ...] a recipe.

    Raises:
        ValueError: there is no recipe, or a count is below 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> large, small = lambda keys, images: images, lambda keys, images: images[:, :4, :4]
        >>> keys = jax.random.split(jax.random.key(0), 5)
        >>> views = multi_crop(keys, jnp.zeros((5, 8, 8, 3)), [(large, 2), (small, 6)])
        >>> [view.shape for view in views]
        [(2, 5, 8, 8, 3), (6, 5, 4, 4, 3)]
    """
    check_axes(images)
    if not recipes:
        raise ValueError("recipes must hold at least one recipe, got none.")
    views, seen = [], 0
    for recipe, count in recipes:
        check_whole("count of views", count, 1)
        own = [folded(keys, seen + v) for v in range(count)]
        made = recipe(jnp.concatenate(own), jnp.concatenate([images] * count))
        views.append(made.reshape(count, -1, *made.shape[1:]))
        seen += count
    return tuple(views)


def per_network(
    keys: jax.Array, images: jax.Array, constructors: Sequence[Recipe], *, shared: bool = True
) -> tuple[jax.Array, ...]:
    """A view for each network, of its own constructor: network a sees L, network b sees ab.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c].
        constructors: one a network, ``(keys, images) -> view``.
        shared: whether all get the same keys, and so, from the same recipe, the same crop (CMC,
            arXiv 1906.05849); else network m's keys are folded with m, as where views are learned
            (arXiv 2005.10243: channel 1 of one crop, channels 2 and 3 of another).

    Returns:
        One view a network, whatever its constructor gives.

    Raises:
        ValueError: there is no constructor.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> first = lambda keys, images: channel_split(images)[0]
        >>> rest = lambda keys, images: channel_split(images)[1]
        >>> views = per_network(keys, jnp.zeros((4, 8, 8, 3)), [first, rest])
        >>> [view.shape for view in views]
        [(4, 8, 8, 1), (4, 8, 8, 2)]
    """
    if not constructors:
        raise ValueError("constructors must hold one for each network, got none.")
    return tuple(
        constructor(keys if shared else folded(keys, network), images)
        for network, constructor in enumerate(constructors)
    )


def channel_split(images: jax.Array, space: str | None = None) -> tuple[jax.Array, jax.Array]:
    """The first channel and the other two: L and ab, Y and DbDr.

    Args:
        images: [B, H, W, 3]; to be converted, floating in 0 ... 1.
        space: colour space to convert to, of `colour_spaces.SPACES`, not normalised; None splits
            channels as they are, such as those of a recipe that has converted them.

    Returns:
        [B, H, W, 1] and [B, H, W, 2], dtype of ``images``.

    Raises:
        ValueError: ``images`` have not three channels, are not floating but have to be converted,
            or ``space`` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> split = lambda images: channel_split(images, "ydbdr")
        >>> first, rest = jax.eval_shape(split, jnp.zeros((2, 8, 8, 3)))
        >>> first.shape, rest.shape
        ((2, 8, 8, 1), (2, 8, 8, 2))
    """
    check_axes(images)
    if images.shape[-1] != 3:
        raise ValueError(f"a channel split is of three channels, got {images.shape[-1]}.")
    if space is not None:
        images = convert(images, space)
    return images[..., :1], images[..., 1:]


def frequency_split(images: jax.Array, sigma: float | jax.Array) -> tuple[jax.Array, jax.Array]:
    """Low and high frequencies: the image blurred, and what the blur took away.

    What Makes for Good Views, arXiv 2005.10243: ``Blur(x, sigma)`` and ``x - Blur(x, sigma)``.

    Args:
        images: [B, H, W, c], floating in 0 ... 1, or normalised: blurring is linear.
        sigma: of the Gaussian, in pixels, above 0; an array [] or [B] may change without the
            program being compiled anew, and has all pixels of the image count (`gaussian_blur`).

    Returns:
        [B, H, W, c] in 0 ... 1, and [B, H, W, c] in -1 ... 1, dtype of ``images``; of normalised
        images both in units of their spread, the second without their mean.

    Raises:
        ValueError: ``images`` are not floating [B, H, W, c], or ``sigma``, as a Python
            number, is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> split = lambda images: frequency_split(images, 1.0)
        >>> blurred, residue = jax.eval_shape(split, jnp.ones((2, 8, 8, 3)))
        >>> blurred.shape, residue.shape
        ((2, 8, 8, 3), (2, 8, 8, 3))
    """
    check_axes(images)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images must be floating, for a residue is below 0 in places; got {images.dtype}."
        )
    if isinstance(sigma, int | float) and not sigma > 0:
        raise ValueError(f"sigma must be above 0, got {sigma}.")
    wide = to_float(images)  # a difference of halves would lose what the blur took away
    blurred = gaussian_blur(wide, sigma)
    return blurred.astype(images.dtype), (wide - blurred).astype(images.dtype)


def split_2x2(images: jax.Array) -> jax.Array:
    """The four quarters of each image, the local views of arXiv 2306.15930.

    Args:
        images: [B, H, W, c], H and W even.

    Returns:
        [4, B, H / 2, W / 2, c]: top left, top right, bottom left, bottom right.

    Raises:
        ValueError: ``images`` is not [B, H, W, c], or a side is odd.

    Example:
        >>> import jax.numpy as jnp
        >>> split_2x2(jnp.zeros((2, 32, 32, 3))).shape
        (4, 2, 16, 16, 3)
    """
    check_axes(images)
    rows, height, width, channels = images.shape
    if height % 2 or width % 2:
        raise ValueError(f"images must have even sides to be split, got {height} x {width}.")
    quarters = images.reshape(rows, 2, height // 2, 2, width // 2, channels)
    return quarters.transpose(1, 3, 0, 2, 4, 5).reshape(4, rows, height // 2, width // 2, channels)


def combinations(parts: jax.Array, size: int = 2) -> jax.Array:
    """Means over every choice of some parts, as of the embeddings of an image's four quarters.

    Multi-network contrast of global and local representations, arXiv 2306.15930 (Fast-MoCo's
    combination): six pairs of four quarters, averaged before the projector.

    Args:
        parts: [P, B, ...], floating.
        size: parts averaged at a time, 1 ... P.

    Returns:
        [C, B, ...], C = P over ``size``, in the order of ``itertools.combinations``; dtype of
        ``parts``.

    Raises:
        ValueError: ``size`` is not in 1 ... P.

    Example:
        >>> import jax.numpy as jnp
        >>> combinations(jnp.array([[0.0], [1.0], [2.0], [3.0]])).ravel().tolist()
        [0.5, 1.0, 1.5, 1.5, 2.0, 2.5]
    """
    check_number("size", size, 1, parts.shape[0])
    chosen = list(itertools.combinations(range(parts.shape[0]), size))
    return jnp.asarray(parts)[jnp.array(chosen)].mean(axis=1)


def two_patches(
    keys: jax.Array, images: jax.Array, size: int, distance: int | jax.Array
) -> jax.Array:
    """Two patches of each image, one ``distance`` pixels below and to the right of the other.

    What Makes for Good Views, arXiv 2005.10243: patches at (x, y) and (x + d, y + d) share the less
    the greater d is. The first corner is uniform over all that leave both patches in the image.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c].
        size: pixels a side of a patch, at least 1.
        distance: pixels in both directions, at least 0; an array [] may change without the program
            being compiled anew, and is not compared with the images' sides.

    Returns:
        [2, B, size, size, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c] or smaller than ``size + distance``, or a number
            is out of its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> cut = lambda keys, images: two_patches(keys, images, 8, 16)
        >>> jax.eval_shape(cut, keys, jnp.zeros((2, 32, 32, 3))).shape
        (2, 2, 8, 8, 3)
    """
    check_axes(images)
    return _patches(
        images, draw_two_patches(keys, images.shape[1], images.shape[2], size, distance), size
    )


def draw_two_patches(
    keys: jax.Array, height: int, width: int, size: int, distance: int | jax.Array
) -> jax.Array:
    """Draws where `two_patches` cuts: int32 [B, 2, 2], row and column of each patch."""
    check_number("size", size, 1)
    least = size
    if isinstance(distance, int):
        check_number("distance", distance, 0)
        least += distance
    if min(height, width) < least:
        raise ValueError(
            f"images must have sides of at least size + distance = {least} pixels, "
            f"got {height} x {width}."
        )
    distance = jnp.asarray(distance).astype(jnp.int32)
    corners = whole(uniforms(keys, 2), jnp.array([height, width]) - size - distance + 1)
    return jnp.stack([corners, corners + distance], axis=1)


class Jigsaw(NamedTuple):
    """What `draw_jigsaw` drew for each image.

    Attributes:
        boxes: int32 [B, 4], top, left, height and width of the crop.
        flipped: bool [B].
        corners: int32 [B, 9, 2], row and column of each patch in the resized crop.
    """

    boxes: jax.Array
    flipped: jax.Array
    corners: jax.Array


def jigsaw_sides(side: int) -> tuple[int, int]:
    """Cell and patch for a network whose images have a ``side``: 85 and 64 at 224 pixels.

    A patch has ``8 max(1, side // 28)`` pixels, two sevenths of the side in steps of 8, and a cell
    ``85 patch // 64``: 10 and 8 at 32 pixels, 31 and 24 at 96. The crop has three cells a side.

    Args:
        side: pixels, at least 1.

    Returns:
        Pixels a side of a cell and of a patch.

    Raises:
        ValueError: ``side`` is below 1.

    Example:
        >>> [jigsaw_sides(side) for side in (224, 96, 32, 28)]
        [(85, 64), (31, 24), (10, 8), (10, 8)]
    """
    check_number("side", side, 1)
    patch = 8 * max(1, side // 28)
    return 85 * patch // 64, patch


def draw_jigsaw(
    keys: jax.Array,
    height: int,
    width: int,
    *,
    cell: int,
    patch: int,
    scale: tuple[float, float] = (0.6, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip_probability: float = 0.5,
) -> Jigsaw:
    """Draws what `apply_jigsaw` cuts.

    Args:
        keys: [B], JAX random keys, one an image.
        height: of the images.
        width: of the images.
        cell: pixels a side of a cell.
        patch: pixels a side of a patch, 1 ... ``cell``.
        scale: area of the crop as a share of the image.
        ratio: width of the crop over its height.
        flip_probability: that the crop is mirrored.

    Returns:
        What was drawn; each patch lies uniformly in its cell.

    Raises:
        ValueError: a number is out of its range.

    Example:
        >>> import jax
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> draw = lambda keys: draw_jigsaw(keys, 32, 32, cell=10, patch=8)
        >>> jax.eval_shape(draw, keys).corners.shape
        (2, 9, 2)
    """
    check_number("cell", cell, 1)
    check_number("patch", patch, 1, cell)
    boxes = draw_crops(folded(keys, 0), height, width, scale=scale, ratio=ratio)
    flipped = chances(folded(keys, 1), flip_probability)
    inside = whole(uniforms(folded(keys, 2), 18).reshape(-1, 9, 2), cell - patch + 1)
    cells = jnp.stack(jnp.divmod(jnp.arange(9, dtype=jnp.int32), 3), axis=-1) * cell
    return Jigsaw(boxes, flipped, cells + inside)


def apply_jigsaw(images: jax.Array, drawn: Jigsaw, *, cell: int, patch: int) -> jax.Array:
    """Nine patches of each image: crop, mirror, and one patch out of each of 3 x 3 cells.

    Args:
        images: [B, H, W, c], uint8 or floating.
        drawn: of `draw_jigsaw`.
        cell: pixels a side of a cell; the crop is resized to three of them.
        patch: pixels a side of a patch.

    Returns:
        [9, B, patch, patch, c], cells row by row, dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c] of pixels.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> numbers = jnp.zeros((2, 9, 2), jnp.int32)
        >>> drawn = Jigsaw(jnp.array([[0, 0, 32, 32]] * 2), jnp.array([True, False]), numbers)
        >>> cut = lambda images: apply_jigsaw(images, drawn, cell=10, patch=8)
        >>> jax.eval_shape(cut, jnp.zeros((2, 32, 32, 3))).shape
        (9, 2, 8, 8, 3)
    """
    crops = flip(crop_and_resize(images, drawn.boxes, 3 * cell), drawn.flipped)
    return _patches(crops, drawn.corners, patch)


def jigsaw(
    keys: jax.Array,
    images: jax.Array,
    *,
    side: int | None = None,
    scale: tuple[float, float] = (0.6, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip_probability: float = 0.5,
) -> jax.Array:
    """PIRL's jigsaw patches of each image, arXiv 1912.01991, as InfoMin uses them.

    Nothing changes the colours; patches are in the order of their cells (PyContrast goes down the
    columns), and a head permutes them.

    Args:
        keys: [B], JAX random keys, one an image.
        images: [B, H, W, c], uint8 or floating.
        side: of the images that the network sees otherwise, which sets the patches' size
            (`jigsaw_sides`); None takes the shorter side of ``images``.
        scale: area of the crop as a share of the image.
        ratio: width of the crop over its height.
        flip_probability: that the crop is mirrored.

    Returns:
        [9, B, patch, patch, c], dtype of ``images``.

    Raises:
        ValueError: ``images`` is not [B, H, W, c] of pixels, or a number is out of its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> jax.eval_shape(jigsaw, keys, jnp.zeros((2, 224, 224, 3), jnp.uint8)).shape
        (9, 2, 64, 64, 3)
    """
    check_axes(images)
    _, height, width, _ = images.shape
    cell, patch = jigsaw_sides(min(height, width) if side is None else side)
    drawn = draw_jigsaw(
        keys,
        height,
        width,
        cell=cell,
        patch=patch,
        scale=scale,
        ratio=ratio,
        flip_probability=flip_probability,
    )
    return apply_jigsaw(images, drawn, cell=cell, patch=patch)


def _patches(images: jax.Array, corners: jax.Array, size: int) -> jax.Array:
    """Squares at ``corners`` [B, P, 2] of the images: [P, B, size, size, c]."""

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        first = jnp.zeros_like(corner[0])  # of one dtype with the corner, whatever the widest is
        return lax.dynamic_slice(image, (*corner, first), (size, size, image.shape[-1]))

    of_one = jax.vmap(cut, in_axes=(None, 0))
    return jax.vmap(of_one, out_axes=1)(images, corners)
