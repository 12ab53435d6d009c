"""The parts that methods share which show one view of a batch to every network of a cohort."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import cohort, views
from mcl_jax.axes import Axes, pmean
from mcl_jax.cohort import Cohort, Output
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.methods import networks
from mcl_jax.methods.assembly import assemble
from mcl_jax.methods.method import Method, Setting
from mcl_jax.views import Recipe
from mcl_jax.views.draws import row_keys


class OneView(NamedTuple):
    """A cohort whose networks all see the same augmented images.

    The functions are those of `Method`: extras are ``{"batch_stats": ...}``, outputs an `Output`.
    """

    cohort: Cohort
    recipe: Recipe
    axes: Axes

    def init(self, key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Initialises M networks; of the batch only the shape matters."""
        images = self.recipe.plain(batch.images[:1])
        variables = cohort.init(self.cohort, key, images)
        return variables["params"], {"batch_stats": variables["batch_stats"]}

    def embed(
        self, params: Any, extras: Any, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[Output, Any]:
        """Runs the cohort on a view; the running statistics are averaged over devices."""
        if train:
            images = self.recipe.train(row_keys(key, batch.position), batch.images)
        else:
            images = self.recipe.plain(batch.images)
        variables = {"params": params, "batch_stats": extras["batch_stats"]}
        output, batch_stats = cohort.apply(
            self.cohort, variables, images, train=train, axis_name=self.axes.cohort
        )
        if train:
            batch_stats = averaged(batch_stats, extras["batch_stats"], self.axes.data)
        return output, {**extras, "batch_stats": batch_stats}

    def predict(self, params: Any, extras: Any, images: jax.Array) -> Output:
        """Output of [M, B, ...] for uint8 images [B, H, W, c], nothing random."""
        variables = {"params": params, "batch_stats": extras["batch_stats"]}
        return cohort.apply(self.cohort, variables, self.recipe.plain(images), train=False)[0]


def averaged(batch_stats: Any, before: Any, axis_name: str | None) -> Any:
    """Running statistics as all devices moved them together.

    It is the mean of the moves: statistics that do not move stay to the last bit.

    Args:
        batch_stats: as this device's rows moved them.
        before: as they were, the same on all devices.
        axis_name: mapped axis that the rows are split over, or None.
    """
    moves = pmean(jax.tree.map(jnp.subtract, batch_stats, before), axis_name)
    return jax.tree.map(jnp.add, before, moves)


def one_view(config: ConfigDict, setting: Setting) -> OneView:
    """Builds the cohort that ``config.model``, ``config.method`` and ``config.views`` describe.

    Raises:
        ConfigError: the networks cannot be built, or the views not made of the images.
    """
    cohort = networks.build(config, setting)
    shape, cropped = setting.image_shape, setting.cropped
    recipe = recipe_of(config, setting.mean, setting.std, shape, cropped=cropped)
    return OneView(cohort, recipe, setting.axes)


def recipe_of(
    config: ConfigDict,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    image_shape: tuple[int, int, int] | None,
    *,
    cropped: bool = False,
    field: str = "recipe",
    colour_space: str = "rgb",
) -> Recipe:
    """The recipe that ``config.views`` names, tried out on the shape of the images.

    Args:
        config: of the run.
        mean: [c], of the training images scaled to 0 ... 1, or of ``colour_space``.
        std: [c].
        image_shape: H, W, c; None leaves views at their recipe's own size and tries nothing.
        cropped: whether images come cropped already.
        field: of ``config.views``, that names the recipe.
        colour_space: in which views are given.

    Raises:
        ConfigError: there is no such recipe, a number is out of its range, or images of that shape
            do not suit it.
    """
    options = config.views
    size = options.size or (image_shape[:2] if image_shape else None)
    try:
        recipe = views.recipe(
            options[field],
            size=size,
            mean=mean,
            std=std,
            strength=options.strength,
            crop_scale=options.crop_scale,
            padding=options.padding if options[field] == "cifar" else None,
            flip=options.flip,
            colour_space=colour_space,
            mode=options.mode,
            dtype=jnp.dtype(config.model.dtype),
        )
        recipe = recipe.without_crop() if cropped else recipe
        if image_shape is not None:
            _try_out(recipe, options.size, image_shape)
    except ValueError as error:
        named, _, rest = str(error).partition(" ")
        if named == "recipe":
            raise ConfigError(f"views.{field} {rest}") from error
        raise ConfigError(
            f"views.{error}" if named in options else f"views.{field}: {error}"
        ) from error
    return recipe


def side_lengths(recipe: Recipe, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the views that a recipe makes of images [H, W, c].

    Raises:
        ValueError: it can make none of them.
    """
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    height, width = jax.eval_shape(recipe.train, keys, images).shape[1:3]
    return height, width


def _try_out(recipe: Recipe, size: int, image_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless views of a size can be made of images [H, W, c]."""
    height, width = side_lengths(recipe, image_shape)
    if size and (height, width) != (size, size):
        raise ValueError(
            f"size must be 0 for a recipe that leaves images as large as they are, "
            f"{height} x {width}, got {size}."
        )


def one_view_method(config: ConfigDict, setting: Setting, view: OneView, objective: Any) -> Method:
    """The method of a cohort of one view: all that learns descends one objective.

    Args:
        config: of the run.
        setting: what the method is built for.
        view: as `one_view` builds it.
        objective: as `Method` has it.
    """
    return assemble(
        config,
        setting,
        view.cohort,
        init=view.init,
        embed=view.embed,
        objective=objective,
        predict=view.predict,
        crop=view.recipe.crop,
    )
