"""What the page of views shows: a few images, their views, what was drawn, and figures of them."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax.views.composition import Recipe
from mcl_jax.views.draws import row_keys
from mcl_jax.views.pixels import to_dtype, to_float
from mcl_jax.views.steps import Gray, Jitter


class View(NamedTuple):
    """A view as pixels uint8 [H, W, c], and what each step of the recipe has drawn for it."""

    pixels: np.ndarray
    told: list[str]


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
    recipe: Recipe, key: jax.Array, images: np.ndarray, sample: np.ndarray, count: int
) -> Look:
    """Makes views of a few images, and figures of a sample of others.

    Args:
        recipe: of the views.
        key: a JAX random key; view v of image i has the key of row ``count i + v``.
        images: uint8 [N, H, W, c], those that are shown.
        sample: uint8 [n N count, H, W, c], those that figures are of, one view each.
        count: views of each image.

    Returns:
        What the page shows.

    Raises:
        ValueError: the images do not suit the recipe.
    """
    size = len(images) * count  # of all batches, so that one program makes them all
    keys = row_keys(key, jnp.arange(size + len(sample)))
    made = jax.jit(lambda keys, images: _made(recipe, keys, images))
    drawn, pixels, _ = jax.device_get(made(keys[:size], jnp.repeat(images, count, axis=0)))
    views = [
        View(np.asarray(to_dtype(pixels[row], jnp.uint8)), told(recipe, drawn, row))
        for row in range(size)
    ]
    batches = [
        jax.device_get(made(keys[size + first : 2 * size + first], sample[first : first + size]))
        for first in range(0, len(sample), size)
    ]
    plain = jax.device_get(recipe.plain(jnp.asarray(sample)))
    figures = [
        _figures("images as they are", sample / np.float32(255), plain),
        _figures("views", *(np.concatenate([x[i] for x in batches]) for i in (1, 2))),
    ]
    grouped = [views[first : first + count] for first in range(0, size, count)]
    return Look(grouped, figures, _difference(recipe, keys[:size], sample[:size]))


def told(recipe: Recipe, drawn: tuple[Any, ...], row: int) -> list[str]:
    """What each step has drawn for one image, in words; nothing of a crop that is passed over."""
    steps = zip(recipe.steps, drawn, strict=True)
    return [
        step.told({name: values[row] for name, values in draws.items()})
        for step, draws in steps
        if draws
    ]


def words(recipe: Recipe) -> list[str]:
    """The recipe in words, a sentence a step."""
    said = [step.words() for step in recipe.steps]
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


def _made(recipe: Recipe, keys: jax.Array, images: jax.Array) -> tuple[Any, jax.Array, jax.Array]:
    """What is drawn, the pixels in 0 ... 1, and the normalised views."""
    drawn = recipe.draw(keys, images.shape)
    return drawn, to_float(recipe.pixels(images, drawn)), recipe.apply(images, drawn)


def _figures(name: str, pixels: np.ndarray, normalized: np.ndarray) -> Figures:
    wide = np.asarray(normalized, np.float32)
    mean, std = (f(wide, axis=(0, 1, 2)).tolist() for f in (np.mean, np.std))
    return Figures(name, float(np.mean(pixels == 0)), float(np.mean(pixels == 1)), mean, std)


def _difference(recipe: Recipe, keys: jax.Array, images: np.ndarray) -> tuple[float, float] | None:
    """How far the fused mode is from the exact one."""
    if recipe.mode == "exact":
        return None
    exact = dataclasses.replace(recipe, mode="exact")

    @jax.jit
    def gap(keys: jax.Array, images: jax.Array) -> jax.Array:
        drawn = recipe.draw(keys, images.shape)
        return jnp.abs(recipe.pixels(images, drawn) - exact.pixels(images, drawn))

    gaps = gap(keys, images)
    return float(jnp.mean(gaps)), float(jnp.max(gaps))
