"""The parts that methods share which show one view of a batch to every network of a cohort."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import cohort
from mcl_jax.axes import Axes, pmean
from mcl_jax.cohort import Cohort, Output
from mcl_jax.data import Batch
from mcl_jax.methods import networks, pretrained
from mcl_jax.methods.method import Method, Setting, Specs, Update
from mcl_jax.views import Recipe


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
            # A key for each row of the whole batch: a view does not depend on the device.
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch.position)
            images = self.recipe.train(keys, batch.images)
        else:
            images = self.recipe.plain(batch.images)
        variables = {"params": params, "batch_stats": extras["batch_stats"]}
        output, batch_stats = cohort.apply(
            self.cohort, variables, images, train=train, axis_name=self.axes.cohort
        )
        if train:
            # The mean of the moves: statistics that do not move stay to the last bit.
            before = extras["batch_stats"]
            moves = pmean(jax.tree.map(jnp.subtract, batch_stats, before), self.axes.data)
            batch_stats = jax.tree.map(jnp.add, before, moves)
        return output, {**extras, "batch_stats": batch_stats}

    def predict(self, params: Any, extras: Any, images: jax.Array) -> Output:
        """Output of [M, B, ...] for uint8 images [B, H, W, c], nothing random."""
        variables = {"params": params, "batch_stats": extras["batch_stats"]}
        return cohort.apply(self.cohort, variables, self.recipe.plain(images), train=False)[0]


def one_view(config: ConfigDict, setting: Setting) -> OneView:
    """Builds the cohort that ``config.model``, ``config.method`` and ``config.views`` describe.

    Raises:
        ConfigError: the networks cannot be built.
    """
    dtype = jnp.dtype(config.model.dtype)
    recipe = Recipe(setting.mean, setting.std, config.views.padding, config.views.flip, dtype)
    return OneView(networks.build(config, setting), recipe, setting.axes)


def one_view_method(config: ConfigDict, setting: Setting, view: OneView, objective: Any) -> Method:
    """The method of a cohort of one view: all that learns descends one objective.

    Args:
        config: of the run.
        setting: what the method is built for.
        view: as `one_view` builds it.
        objective: as `Method` has it.
    """
    update = Update(setting.optimizer, moves=lambda path: networks.learns(view.cohort, path))
    spread = PartitionSpec(setting.axes.cohort) if setting.axes.cohort else PartitionSpec()
    return Method(
        view.init,
        view.embed,
        objective,
        view.predict,
        (update,),
        specs=Specs(params=spread, extras={"batch_stats": spread}),
        read=lambda: pretrained.read(config, setting),
        load=pretrained.load,
    )
