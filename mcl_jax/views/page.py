"""What the page of views shows: a few images, their views, what was drawn, and figures of them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax.views.composition import Recipe
from mcl_jax.views.constructors import draw_two_patches, two_patches
from mcl_jax.views.draws import folded, row_keys
from mcl_jax.views.pixels import to_dtype, to_float
from mcl_jax.views.steps import Gray, Jitter


class View(NamedTuple):
    """A view as it is shown.

    Attributes:
        pixels: uint8 [H, W, c].
        told: what each step of the recipe has drawn for it.
        parts: what groups of networks see of it, where these see different things: for each group
            pictures uint8 [H, W, 1 or 3].
    """

    pixels: np.ndarray
    told: list[str]
    parts: list[list[np.ndarray]]


class Patch(NamedTuple):
    """Which of two patches a view is made of, as `two_patches` cuts them.

    Attributes:
        number: 0 or 1.
        size: pixels a side.
        distance: pixels from the first to the second, down and to the right.
    """

    number: int
    size: int
    distance: int

    def cut(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        """The patch of each image."""
        return two_patches(keys, images, self.size, self.distance)[self.number]

    def words(self) -> str:
        """The patch for a reader."""
        first = f"cut a patch of {self.size} x {self.size} out anywhere"
        if not self.number:
            return first
        return f"{first}, {self.distance} pixels below and to the right of the first view's"

    def told(self, keys: jax.Array, shape: tuple[int, ...]) -> list[str]:
        """Where each lies."""
        corners = draw_two_patches(keys, shape[1], shape[2], self.size, self.distance)[
            :, self.number
        ]
        return [f"patch at row {row}, column {column}" for row, column in corners.tolist()]


class Figures(NamedTuple):
    """Figures of some images.

    Attributes:
        name: what they are.
        black: share of the values that are 0.
        white: share of the values that are 1.
        mean: of each channel, normalised.
        std: of each channel, normalised.
    """

    name: str
    black: float
    white: float
    mean: list[float]
    std: list[float]


class Look(NamedTuple):
    """All that is shown of a recipe.

    Attributes:
        views: for each image its views.
        figures: of images as evaluation takes them, the baseline, and of views.
        difference: mean and largest difference of the fused mode's values from those of the exact
            one with the same draws; None in exact mode.
    """

    views: list[list[View]]
    figures: list[Figures]
    difference: tuple[float, float] | None


def look(
    recipe: Recipe,
    key: jax.Array,
    images: np.ndarray,
    sample: np.ndarray,
    count: int,
    *,
    division: Callable[[jax.Array], tuple[jax.Array, ...]] | None = None,
    patch: Patch | None = None,
) -> Look:
    """Makes views of a few images, and figures of a sample of others.

    Args:
        recipe: of the views.
        key: a JAX random key; view v of image i has the key of row ``count i + v``.
        images: uint8 [N, H, W, c], those that are shown.
        sample: uint8 [n N count, H, W, c], those that figures are of, one view each.
        count: views of each image.
        division: normalised views to what groups of networks see of them; None shows no parts.
        patch: what of an image views are made of; None is all of it.

    Returns:
        What the page shows.

    Raises:
        ValueError: the images do not suit the recipe.
    """
    size = len(images) * count  # of all batches, so that one program makes them all
    keys = row_keys(key, jnp.arange(size + len(sample)))
    made = jax.jit(lambda keys, images: _made(recipe, patch, keys, images))
    shown, repeated = keys[:size], jnp.repeat(images, count, axis=0)
    drawn, pixels, normalized = jax.device_get(made(shown, repeated))
    places = [[text] for text in patch.told(shown, repeated.shape)] if patch else [[]] * size
    parts = _parts(division, normalized)
    views = [
        View(
            np.asarray(to_dtype(pixels[row], jnp.uint8)),
            places[row] + told(recipe, drawn, row),
            [[channel[row] for channel in part] for part in parts],
        )
        for row in range(size)
    ]
    batches = [
        jax.device_get(made(keys[size + first : 2 * size + first], sample[first : first + size]))
        for first in range(0, len(sample), size)
    ]
    as_it_is = recipe.finish if patch else recipe.plain
    plain = jax.device_get(as_it_is(jnp.asarray(sample)))
    figures = [
        _figures("images as they are", sample / np.float32(255), plain),
        _figures("views", *(np.concatenate([x[i] for x in batches]) for i in (1, 2))),
    ]
    grouped = [views[first : first + count] for first in range(0, size, count)]
    return Look(grouped, figures, _difference(recipe, patch, shown, sample[:size]))


def told(recipe: Recipe, drawn: tuple[Any, ...], row: int) -> list[str]:
    """What each step has drawn for one image, in words; nothing of a crop that is passed over."""
    steps = zip(recipe.steps, drawn, strict=True)
    return [
        step.told({name: values[row] for name, values in draws.items()})
        for step, draws in steps
        if draws
    ]


def words(recipe: Recipe, patch: Patch | None = None) -> list[str]:
    """The recipe in words, a sentence a step; a patch stands in the place of its crop."""
    said = [step.words() for step in recipe.steps]
    if patch:
        said[0] = patch.words()
    if recipe.mode == "fused":
        count = recipe.fused_steps
        said = [f"{text}{' (fused)' if i < count else ''}" for i, text in enumerate(said)]
    if recipe.colour_space != "rgb":
        said.append(f"convert to {recipe.colour_space}")
    means, stds = (", ".join(f"{x:.3g}" for x in values) for values in (recipe.mean, recipe.std))
    return [*said, f"subtract the mean {means} and divide by the spread {stds}"]


def notes(recipe: Recipe, channels: int) -> list[str]:
    """What a reader should know before the views surprise."""
    said = []
    if channels == 1 and any(isinstance(step, Jitter) for step in recipe.steps):
        said.append("These images are gray: jitter leaves their saturation and hue as they are.")
    if channels == 1 and any(isinstance(step, Gray) for step in recipe.steps):
        said.append("These images are gray: making them gray changes nothing.")
    return said


def _made(
    recipe: Recipe, patch: Patch | None, keys: jax.Array, images: jax.Array
) -> tuple[Any, jax.Array, jax.Array]:
    """What is drawn, the pixels in 0 ... 1, and the normalised views."""
    images, keys = (
        (patch.cut(keys, images), folded(keys, patch.number)) if patch else (images, keys)
    )
    drawn = recipe.draw(keys, images.shape)
    return drawn, to_float(recipe.pixels(images, drawn)), recipe.apply(images, drawn)


def _parts(
    division: Callable[[jax.Array], tuple[jax.Array, ...]] | None, normalized: np.ndarray
) -> list[list[np.ndarray]]:
    """Pictures of what groups see: for each [n, H, W, 3] of three channels, else [n, H, W, 1] each.

    Values from the 1st to the 99th percentile of a part go from black to white.
    """
    if division is None:
        return []
    parts = jax.device_get(jax.jit(division)(jnp.asarray(normalized)))
    pictures = []
    for part in (np.asarray(x, np.float32) for x in parts):
        low, high = np.percentile(part, (1, 99))
        scaled = np.clip((part - low) / max(high - low, 1e-6), 0, 1)
        pixels = np.round(255 * scaled).astype(np.uint8)
        split = [pixels] if part.shape[-1] == 3 else np.split(pixels, part.shape[-1], axis=-1)
        pictures.append(split)
    return pictures


def _figures(name: str, pixels: np.ndarray, normalized: np.ndarray) -> Figures:
    wide = np.asarray(normalized, np.float32)
    mean, std = (f(wide, axis=(0, 1, 2)).tolist() for f in (np.mean, np.std))
    return Figures(name, float(np.mean(pixels == 0)), float(np.mean(pixels == 1)), mean, std)


def _difference(
    recipe: Recipe, patch: Patch | None, keys: jax.Array, images: np.ndarray
) -> tuple[float, float] | None:
    """How far the fused mode is from the exact one."""
    if recipe.mode == "exact":
        return None
    exact = dataclasses.replace(recipe, mode="exact")

    @jax.jit
    def gap(keys: jax.Array, images: jax.Array) -> jax.Array:
        images = patch.cut(keys, images) if patch else images
        drawn = recipe.draw(keys, images.shape)
        return jnp.abs(recipe.pixels(images, drawn) - exact.pixels(images, drawn))

    gaps = gap(keys, images)
    return float(jnp.mean(gaps)), float(jnp.max(gaps))
