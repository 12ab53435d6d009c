"""What networks get to see: one view of an image or several, all of its channels or some."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import cohort, views
from mcl_jax.cohort import Cohort, Output
from mcl_jax.config import ConfigError
from mcl_jax.methods.method import Setting
from mcl_jax.methods.one_view import recipe_of, side_lengths
from mcl_jax.views import Recipe
from mcl_jax.views.draws import folded
from mcl_jax.views.steps import Crop


class Seeing(NamedTuple):
    """Views of images for each group of networks.

    Attributes:
        recipes: one for each view, all of one size.
        groups: of the cohort.
        first_groups: so many groups see the first channel alone, the others the other two; 0 where
            all see all channels.
    """

    recipes: tuple[Recipe, ...]
    groups: int
    first_groups: int = 0

    @property
    def crop(self) -> Crop | tuple[Crop | None, ...] | None:
        """What the host is to cut out of images that it decodes, as `Method` has it."""
        crops = tuple(recipe.crop for recipe in self.recipes)
        return crops if len(crops) > 1 else crops[0]

    def train(self, keys: jax.Array, images: jax.Array) -> tuple[jax.Array, ...]:
        """Random views.

        Args:
            keys: [B], JAX random keys, one an image; view v draws from ``fold_in(key, v)``.
            images: [B, H, W, c], uint8; or [B, V, H, W, c], a crop for each view, as the host makes
                them of streamed images.

        Returns:
            For each group [B, V, height, width, c], normalised.
        """
        seen = [self._view(v, keys, images) for v in range(len(self.recipes))]
        return self._divided(jnp.stack(seen, axis=1))

    def view(self, number: int, keys: jax.Array, images: jax.Array) -> tuple[jax.Array, ...]:
        """One of the views that `train` makes: for each group [B, height, width, c]."""
        return self._divided(self._view(number, keys, images))

    def _view(self, number: int, keys: jax.Array, images: jax.Array) -> jax.Array:
        """A view with all its channels."""
        crop = images[:, number] if images.ndim == 5 else images
        return self.recipes[number].train(folded(keys, number), crop)

    def plain(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """What evaluation shows: for each group [B, height, width, c], nothing random.

        Args:
            images: [B, H, W, c], uint8; of [B, V, H, W, c] the first.
        """
        return self._divided(self.recipes[0].plain(images[:, 0] if images.ndim == 5 else images))

    def _divided(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """The channels that each group sees."""
        if not self.first_groups:
            return (images,) * self.groups
        first, rest = images[..., :1], images[..., 1:]
        return tuple(first if group < self.first_groups else rest for group in range(self.groups))


def seeing(config: ConfigDict, setting: Setting, networks: Cohort, number: int) -> Seeing:
    """What ``config.views`` shows to a cohort.

    Args:
        config: of the run.
        setting: what the method is built for.
        networks: as `networks.build` makes them.
        number: V, views of an image.

    Raises:
        ConfigError: a view cannot be made of the images, or the second differs in size; channels
            are to be divided that are not three, or among a number of networks that is odd.
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
        for field in ("recipe", second)[:number]
    )
    if number > 1 and setting.image_shape is not None:
        _check_alike(recipes, setting.image_shape)
    if not config.views.get("channels"):
        return Seeing(recipes, len(networks.groups))
    count = networks.size
    if count % 2:
        raise ConfigError(
            f"views.channels wants an even number of method.networks, half of which see the first "
            f"channel, got {count}."
        )
    firsts, before = 0, 0
    for group in networks.groups:
        firsts, before = firsts + (2 * before < count), before + group.size
    return Seeing(recipes, len(networks.groups), firsts)


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
        return cohort.apply(networks, variables, seen.plain(images), train=False)[0]

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

    Raises:
        ConfigError: as `recipe_of`; channels are to be divided of images that have not three.
    """
    space = config.views.get("channels") or "rgb"
    if config.views.get("channels") and image_shape is not None and image_shape[-1] != 3:
        raise ConfigError(
            f"views.channels {space} wants images of three channels, got {image_shape[-1]} in "
            f"{config.data.source}."
        )
    if space != "rgb":
        mean, std = views.SPACES[space]
    return recipe_of(
        config, mean, std, image_shape, cropped=cropped, field=field, colour_space=space
    )


def _check_alike(recipes: tuple[Recipe, ...], image_shape: tuple[int, ...]) -> None:
    """Raises ConfigError unless views are of one size."""
    first, second = (side_lengths(recipe, image_shape) for recipe in recipes)
    if first != second:
        raise ConfigError(
            f"views.second_recipe must give views of {first[0]} x {first[1]}, as the first one "
            f"does, got {second[0]} x {second[1]}."
        )
