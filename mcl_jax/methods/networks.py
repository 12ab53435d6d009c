"""The networks that a configuration describes: alike or not, frozen, with weights from files."""

import difflib
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from mcl_jax import losses, models
from mcl_jax.cohort import Cohort, Group, Network
from mcl_jax.config import ConfigError, looks_of_networks
from mcl_jax.methods.dividing import parts
from mcl_jax.methods.method import Setting
from mcl_jax.models.blocks import Layers


def build(config: ConfigDict, setting: Setting) -> Cohort:
    """The cohort of ``config.model`` and ``config.method``; consecutive like networks are a group.

    Networks that see different parts of a view (`parts`), or look at images in different ways, are
    in different ones.

    Raises:
        ConfigError: no encoder has that name, it does not take an option, or float64 is asked of a
            JAX that is without it.
    """
    count = config.method.networks
    frozen = [number in config.method.frozen for number in range(count)]
    runs = itertools.groupby(
        zip(names(config), frozen, parts(config), looks_of_networks(config), strict=True)
    )
    groups = [
        Group(_network(config, setting, name, held), len(list(run)), config.model.shared_stages)
        for (name, held, *_), run in runs
    ]
    stages: Any = groups[0].network.encoder
    if config.model.shared_stages > stages.stages:
        raise ConfigError(
            f"model.shared_stages must be at most {stages.stages}, the stages of "
            f"{config.model.name}, got {config.model.shared_stages}."
        )
    return Cohort(tuple(groups))


def names(config: ConfigDict) -> list[str]:
    """The encoder of each network."""
    given = config.model.name.split(",")
    return given * (config.method.networks // len(given))


def encoder(config: ConfigDict, setting: Setting, name: str, field: str) -> nn.Module:
    """An encoder by its name, as `build` gives it to networks, without a head.

    Args:
        config: of the run.
        setting: what the method is built for.
        name: of the encoder.
        field: that the name is from.

    Raises:
        ConfigError: as `build`.
    """
    return _network(config, setting, name, frozen=False, field=field).encoder


def plain_head(config: ConfigDict) -> nn.Module:
    """A linear head without normalisation, for scores that have no bound."""
    dtype, param_dtype = _types(config)
    return models.PlainHead(config.method.embedding_dim, dtype, param_dtype)


def _network(
    config: ConfigDict, setting: Setting, name: str, frozen: bool, field: str = "model.name"
) -> Network:
    """One network of that encoder."""
    dtype, param_dtype = _types(config)
    norm = config.model.norm
    parts = setting.devices * config.training.micro_batches
    options: dict[str, Any] = {
        "dtype": dtype,
        "param_dtype": param_dtype,
        "norm": "group" if norm == "group" else "batch",
        "norm_axis_name": setting.axes.data if norm == "sync" else None,
        "norm_groups": config.model.norm_groups // parts if norm == "grouped" else 1,
    }
    known = models.names()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise ConfigError(f"{field} must be one of {', '.join(known)}, got {name!r}{hint}")
    try:
        encoder = models.create(
            name,
            num_classes=setting.num_classes,
            convolution=config.model.convolution,
            remat=config.model.remat,
            zero_residual=config.model.zero_residual,
            **_shape(config, name),
            **options,
        )
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    own: dict[str, Any] = {}
    if "predictor_width" in config.method:
        own = {"width": config.method.head_width, "unit": False}
    head = models.create_head(config.method.head, config.method.embedding_dim, **own, **options)
    predictor = _predictor(config, options)
    heads = ("head",) if predictor is None else ("head", "predictor")
    held = ("encoder", *heads) if config.method.frozen_heads else ("encoder",)
    return Network(encoder, head, held if frozen else (), _jigsaw_head(config), predictor)


def _predictor(config: ConfigDict, options: dict[str, Any]) -> models.Predictor | None:
    """From projection to projection, for methods that have one; BYOL's ends without a bias."""
    width = config.method.get("predictor_width")
    if width is None:
        return None
    kinds = {"dtype": options["dtype"], "param_dtype": options["param_dtype"]}
    layers = Layers(
        normalization=options["norm"],
        norm_axis_name=options["norm_axis_name"],
        norm_groups=options["norm_groups"],
        **kinds,
    )
    return models.Predictor(
        config.method.embedding_dim, width, config.method.head != "byol", layers
    )


def _jigsaw_head(config: ConfigDict) -> models.JigsawHead | None:
    """With a hidden layer where the head has one."""
    if not config.method.get("jigsaw"):
        return None
    dtype, param_dtype = _types(config)
    layers = Layers(dtype=dtype, param_dtype=param_dtype)
    return models.JigsawHead(config.method.embedding_dim, config.method.head != "linear", layers)


def _shape(config: ConfigDict, name: str) -> dict[str, Any]:
    """Width and stem for the networks that take them, if any of them does."""
    wanted = {"width": config.model.width, "stem": config.model.stem}
    takes = set(models.WITH_WIDTH_AND_STEM)
    return wanted if name in takes or not takes & set(names(config)) else {}


def _types(config: ConfigDict) -> tuple[DTypeLike, DTypeLike]:
    """What is computed in, and what parameters are."""
    dtype = jnp.dtype(config.model.dtype)
    if dtype == jnp.float64 and jnp.result_type(float) != dtype:
        raise ConfigError("model.dtype float64 wants JAX_ENABLE_X64=1 in the environment.")
    # float64 is for checking equalities; parameters are float32 otherwise, whatever is computed in.
    return dtype, jnp.float64 if dtype == jnp.float64 else jnp.float32


def learns(networks: Cohort, path: str) -> bool:
    """Whether a parameter moves, by its path ``"networks_0_to_1/encoder/conv1/kernel"``.

    Those of frozen parts stay.
    """
    key, part = path.split("/")[:2]
    return part not in dict(networks.items())[key].network.frozen


def pair_weights(config: ConfigDict) -> jax.Array | None:
    """[M, M]: what network a learns from network b; None where every weight is 1."""
    networks, options = config.method.networks, config.method
    if options.pair_weights:
        return jnp.array(options.pair_weights, jnp.float32).reshape(networks, networks)
    if options.topology == "all":
        return None
    return losses.topology(options.topology, networks, teacher=options.teacher)
