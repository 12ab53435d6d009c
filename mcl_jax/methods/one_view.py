"""The parts that methods share which show one view of a batch to every network of a cohort."""

import difflib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import cohort, models
from mcl_jax.axes import pmean, positions
from mcl_jax.cohort import Output
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.methods.method import Setting
from mcl_jax.views import Recipe


class OneView(NamedTuple):
    """A cohort of like networks that all see the same augmented images.

    The functions are those of `Method`: extras are ``{"batch_stats": ...}``, outputs an `Output`.
    """

    network: cohort.Network
    networks: int
    recipe: Recipe
    axis_name: str | None

    def init(self, key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Initialises M networks; of the batch only the shape matters."""
        images = self.recipe.plain(batch.images[:1])
        variables = cohort.init(self.network, self.networks, key, images)
        return variables["params"], {"batch_stats": variables["batch_stats"]}

    def embed(
        self, params: Any, extras: Any, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[Output, Any]:
        """Runs the cohort on a view; the running statistics are averaged over devices."""
        if train:
            # A key for each row of the whole batch: a view does not depend on the device.
            rows = positions(batch.images.shape[0], self.axis_name)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
            images = self.recipe.train(keys, batch.images)
        else:
            images = self.recipe.plain(batch.images)
        variables = {"params": params, "batch_stats": extras["batch_stats"]}
        output, batch_stats = cohort.apply(self.network, variables, images, train=train)
        if train:
            batch_stats = pmean(batch_stats, self.axis_name)
        return output, {**extras, "batch_stats": batch_stats}

    def predict(self, params: Any, extras: Any, images: jax.Array) -> Output:
        """Output of [M, B, ...] for uint8 images [B, H, W, c], nothing random."""
        variables = {"params": params, "batch_stats": extras["batch_stats"]}
        return cohort.apply(self.network, variables, self.recipe.plain(images), train=False)[0]


def one_view(config: ConfigDict, setting: Setting) -> OneView:
    """Builds the cohort that ``config.model``, ``config.method`` and ``config.views`` describe.

    Raises:
        ConfigError: no encoder has that name, or float64 is asked of a JAX that is without it.
    """
    name, known = config.model.name, models.names()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise ConfigError(f"model.name must be one of {', '.join(known)}, got {name!r}{hint}")
    dtype = jnp.dtype(config.model.dtype)
    if dtype == jnp.float64 and jnp.result_type(float) != dtype:
        raise ConfigError("model.dtype float64 wants JAX_ENABLE_X64=1 in the environment.")
    # float64 is for checking equalities; parameters are float32 otherwise, whatever is computed in.
    param_dtype = jnp.float64 if dtype == jnp.float64 else jnp.float32
    norm = config.model.norm
    encoder = models.create(
        config.model.name,
        num_classes=setting.num_classes,
        dtype=dtype,
        param_dtype=param_dtype,
        convolution=config.model.convolution,
        norm_axis_name=setting.axes.data if norm == "sync" else None,
        norm_groups=config.model.norm_groups // setting.devices if norm == "grouped" else 1,
    )
    network = cohort.network(
        encoder, config.method.embedding_dim, dtype=dtype, param_dtype=param_dtype
    )
    recipe = Recipe(setting.mean, setting.std, config.views.padding, config.views.flip, dtype)
    return OneView(network, config.method.networks, recipe, setting.axes.data)
