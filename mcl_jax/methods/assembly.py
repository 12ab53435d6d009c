"""A cohort's functions put together to a method, with what all methods have in common."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax.cohort import Cohort
from mcl_jax.methods import networks, pretrained
from mcl_jax.methods.method import Method, Setting, Specs, Update
from mcl_jax.views.steps import Crop

_BEYOND_NETWORKS = 1000  # there are fewer


def assemble(
    config: ConfigDict,
    setting: Setting,
    cohort: Cohort,
    *,
    init: Callable[..., Any],
    embed: Callable[..., Any],
    objective: Callable[..., Any],
    predict: Callable[..., Any],
    crop: Crop | tuple[Crop | None, ...] | None,
    extras: Mapping[str, Any] | None = None,
    **more: Any,
) -> Method:
    """The method of a cohort all of which descends one objective, but for what is frozen.

    Args:
        config: of the run.
        setting: what the method is built for.
        cohort: the networks; parameters and ``extras["batch_stats"]`` are theirs.
        init: as `Method` has it; and so on.
        embed: the same.
        objective: the same.
        predict: the same.
        crop: the same.
        extras: how other extras lie over the mesh, by their keys.
        **more: further fields of `Method`.
    """
    update = Update(setting.optimizer, moves=lambda path: networks.learns(cohort, path))
    spread = spread_networks(setting)
    return Method(
        init,
        embed,
        objective,
        predict,
        (update,),
        specs=Specs(params=spread, extras={"batch_stats": spread, **(extras or {})}),
        read=lambda: pretrained.read(config, setting),
        crop=crop,
        **{"load": pretrained.load, **more},
    )


def key_beside_networks(key: jax.Array) -> jax.Array:
    """The key that queues and banks are drawn from; that of network a is ``fold_in(key, a)``."""
    return jax.random.fold_in(key, _BEYOND_NETWORKS)


def spread_networks(setting: Setting) -> PartitionSpec:
    """How networks lie over the mesh: as the cohort axis divides them, if there is one."""
    return PartitionSpec(setting.axes.cohort) if setting.axes.cohort else PartitionSpec()
