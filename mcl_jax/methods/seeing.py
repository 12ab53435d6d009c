"""What networks get to see: one view of an image or several, all of each or a part."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import cohort, views
from mcl_jax.cohort import Cohort, Output
from mcl_jax.config import ConfigError
from mcl_jax.methods.dividing import Division, division
from mcl_jax.methods.method import Setting
from mcl_jax.methods.one_view import recipe_of, side_lengths
from mcl_jax.views import Recipe
from mcl_jax.views.draws import folded
from mcl_jax.views.steps import Crop

Numbers = Mapping[str, Any]
_CORNERS = 1000  # the draw of two patches, apart from those of views
_AGAIN = 1001  # another draw of the same view


class Seeing(NamedTuple):
    """Views of images for each group of networks.

    Attributes:
        recipes: one for each view, all of one size.
        division: what each group gets of a view.
        patch: side of the two patches of an image that views are made of; 0 has none.
        distance: pixels from one patch to the other, down and to the right.
    """

    recipes: tuple[Recipe, ...]
    division: Division
    patch: int = 0
    distance: int = 0

    @property
    def crop(self) -> Crop | tuple[Crop | None, ...] | None:
        """What the host is to cut out of images that it decodes, as `Method` has it."""
        if self.patch:
            return None
        crops = tuple(recipe.crop for recipe in self.recipes)
        return crops if len(crops) > 1 else crops[0]

    def numbers(self) -> dict[str, Any]:
        """What a sweep changes of views without changing their shapes, as arrays.

        Methods keep them in ``extras["views"]`` and pass them on where they show something, so that
        they are inputs of compiled programs: these stay the same when the numbers change.

        Returns:
            Shares of a crop and strengths of jitter of each view (`Recipe.numbers`), numbers of the
            division, and the distance of patches, as far as there are any.
        """
        found: dict[str, Any] = {
            f"view_{number}": recipe.numbers() for number, recipe in enumerate(self.recipes)
        }
        found["division"] = self.division.numbers()
        if self.patch:
            found["distance"] = jnp.asarray(float(self.distance))
        return {name: value for name, value in found.items() if jax.tree.leaves(value)}

    def train(
        self, keys: jax.Array, images: jax.Array, numbers: Numbers | None = None
    ) -> tuple[jax.Array, ...]:
        """Random views.

        Args:
            keys: [B], JAX random keys, one an image; view v draws from ``fold_in(key, v)``.
            images: [B, H, W, c], uint8; or [B, V, H, W, c], a crop for each view, as the host makes
                them of streamed images.
            numbers: as `numbers` gives them; None has them in the compiled program, with the same
                draws.

        Returns:
            For each group [B, V, height, width, c], normalised.
        """
        count = len(self.recipes)
        seen = jnp.stack([self._view(v, keys, images, numbers) for v in range(count)], axis=1)
        rows = self._divided(seen.reshape(-1, *seen.shape[2:]), numbers)
        return tuple(x.reshape(-1, count, *x.shape[1:]) for x in rows)

    def view(
        self, number: int, keys: jax.Array, images: jax.Array, numbers: Numbers | None = None
    ) -> tuple[jax.Array, ...]:
        """One of the views that `train` makes: for each group [B, height, width, c]."""
        return self._divided(self._view(number, keys, images, numbers), numbers)

    def _view(
        self, number: int, keys: jax.Array, images: jax.Array, numbers: Numbers | None
    ) -> jax.Array:
        """A view that is not divided."""
        crop = images[:, number] if images.ndim == 5 else images
        if self.patch:
            distance = self.distance if numbers is None else numbers["distance"]
            crop = views.two_patches(folded(keys, _CORNERS), crop, self.patch, distance)[number]
        own = None if numbers is None else numbers.get(f"view_{number}", {})
        return self.recipes[number].train(folded(keys, number), crop, own)

    def pair(self, keys: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Two views of each image that the method contrasts, for a meter of what they share.

        Of two recipes one each; of a single one two draws, since what an anchor meets was made of
        an earlier view. Where groups see different things: the first group's part of the first
        view and the last group's of the second. All crops are made here, those
        of the host too, of images as they come.

        Args:
            keys: [B], JAX random keys, one an image.
            images: [B, H, W, c], uint8, whole.

        Returns:
            [B, height, width, ...] twice.
        """
        whole = tuple(dataclasses.replace(recipe, cropped=False) for recipe in self.recipes)
        sight = self if self.patch else self._replace(recipes=whole)
        last = len(self.recipes) - 1
        again = keys if last else folded(keys, _AGAIN)
        return sight.view(0, keys, images)[0], sight.view(last, again, images)[-1]

    def plain(self, images: jax.Array, numbers: Numbers | None = None) -> tuple[jax.Array, ...]:
        """What evaluation shows: for each group [B, height, width, c], nothing random.

        Whatever networks are trained on of a view they see of this one too: its channels or its
        frequencies. Of networks that are trained on patches each sees the whole image.

        Args:
            images: [B, H, W, c], uint8; of [B, V, H, W, c] the first.
            numbers: as `train` has them.
        """
        first = images[:, 0] if images.ndim == 5 else images
        if self.patch:
            return self.finish(first, numbers)
        return self._divided(self.recipes[0].plain(first), numbers)

    def finish(self, pixels: jax.Array, numbers: Numbers | None = None) -> tuple[jax.Array, ...]:
        """Pixels that something else has made, as networks see them.

        Args:
            pixels: [B, H, W, c], uint8, or floating in 0 ... 1, of any size.
            numbers: as `train` has them.

        Returns:
            For each group [B, H, W, c], in its colour space, normalised and divided.
        """
        return self._divided(self.recipes[0].finish(pixels), numbers)

    def _divided(self, images: jax.Array, numbers: Numbers | None) -> tuple[jax.Array, ...]:
        """What each group sees of views [B, height, width, c]."""
        own = None if numbers is None else numbers.get("division", {})
        return self.division(images, own)


def seeing(config: ConfigDict, setting: Setting, networks: Cohort, number: int) -> Seeing:
    """What ``config.views`` shows to a cohort.

    Args:
        config: of the run.
        setting: what the method is built for.
        networks: as `networks.build` makes them.
        number: V, views of an image, at most 3; the third has the recipe of the first.

    Raises:
        ConfigError: a view cannot be made of the images, or the second differs in size; channels
            are to be divided that are not three, or among a number of networks that is odd; patches
            do not fit into the images.
    """
    second = "second_recipe" if config.views.get("second_recipe") else "recipe"
    recipes = tuple(
        recipe_of_view(
            config,
            setting.mean,
            setting.std,
            setting.image_shape,
            cropped=setting.cropped,
            field=field,
        )
        for field in ("recipe", second, "recipe")[:number]
    )
    patch, distance = (config.views.get(f"patch_{name}", 0) for name in ("size", "distance"))
    if patch and setting.image_shape is not None:
        _check_room(patch, distance, setting.image_shape)
    elif number > 1 and setting.image_shape is not None:
        _check_alike(recipes, setting.image_shape)
    return Seeing(recipes, division(config, networks, recipes[0]), patch, distance)


def embed(
    networks: Cohort, variables: Any, seen: tuple[jax.Array, ...], axis_name: str | None
) -> tuple[Output, Any]:
    """Runs the cohort, in training, on several views of each image at once.

    The views of an image stand side by side, so that batch statistics over runs of rows hold all
    views of theirs.

    Args:
        networks: the cohort.
        variables: its parameters and batch statistics.
        seen: for each group [B, V, height, width, c].
        axis_name: a mapped axis that the networks are split over, or None.

    Returns:
        Output of [M, B, V, ...], and the batch statistics.
    """
    number = seen[0].shape[1]
    rows = tuple(images.reshape(-1, *images.shape[2:]) for images in seen)
    output, batch_stats = cohort.apply(networks, variables, rows, train=True, axis_name=axis_name)
    return (
        jax.tree.map(lambda x: x.reshape(x.shape[0], -1, number, *x.shape[2:]), output),
        batch_stats,
    )


def predictor(networks: Cohort, seen: Seeing) -> Callable[[Any, Any, jax.Array], Output]:
    """What `Method` has as ``predict``: each network is shown what it sees, nothing random."""

    def predict(params: Any, extras: Any, images: jax.Array) -> Output:
        variables = {"params": params, "batch_stats": extras["batch_stats"]}
        shown = seen.plain(images, extras["views"])
        return cohort.apply(networks, variables, shown, train=False)[0]

    return predict


def recipe_of_view(
    config: ConfigDict,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    image_shape: tuple[int, int, int] | None,
    *,
    cropped: bool = False,
    field: str = "recipe",
) -> Recipe:
    """`recipe_of` in the colour space whose channels are divided, if they are.

    Patches stand in the place of its crop, if views are made of them.

    Raises:
        ConfigError: as `recipe_of`; channels are to be divided of images that have not three, or
            patches to stand in the place of a crop that there is not.
    """
    patch = config.views.get("patch_size", 0)
    if patch:
        image_shape = None if image_shape is None else (patch, patch, image_shape[-1])
        cropped = True
    space = config.views.get("channels") or "rgb"
    if config.views.get("channels") and image_shape is not None and image_shape[-1] != 3:
        raise ConfigError(
            f"views.channels {space} wants images of three channels, got {image_shape[-1]} in "
            f"{config.data.source}."
        )
    if space != "rgb":
        mean, std = views.SPACES[space]
    recipe = recipe_of(
        config, mean, std, image_shape, cropped=cropped, field=field, colour_space=space
    )
    if patch and recipe.crop is None:
        raise ConfigError(
            f"views.patch_size wants a views.{field} that begins with a crop, in whose place "
            f"patches stand, got {config.views[field]}."
        )
    return recipe


def _check_room(patch: int, distance: int, image_shape: tuple[int, ...]) -> None:
    """Raises ConfigError unless both patches fit into an image."""
    height, width = image_shape[:2]
    if min(height, width) < patch + distance:
        raise ConfigError(
            f"views.patch_size and views.patch_distance want images of {patch} + {distance} pixels "
            f"a side or more, got {height} x {width}."
        )


def _check_alike(recipes: tuple[Recipe, ...], image_shape: tuple[int, ...]) -> None:
    """Raises ConfigError unless views are of one size."""
    first, second = (side_lengths(recipe, image_shape) for recipe in recipes[:2])
    if first != second:
        raise ConfigError(
            f"views.second_recipe must give views of {first[0]} x {first[1]}, as the first one "
            f"does, got {second[0]} x {second[1]}."
        )
