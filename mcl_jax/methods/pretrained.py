"""Weights that a run starts from, read from the files of ``config.model.weights``."""

import pathlib
from typing import Any

import flax.traverse_util
from ml_collections import ConfigDict

from mcl_jax import cohort, interop
from mcl_jax.config import ConfigError
from mcl_jax.methods.method import Setting
from mcl_jax.methods.networks import names

_OF_SOME = ("jigsaw", "predictor")  # parts that networks of some methods have


def read(config: ConfigDict, setting: Setting) -> dict[str, Any] | None:
    """The weights that files hold for some of the networks.

    An ``.npz`` file, as `mcl_jax.cohort.save_member` writes it, holds a whole network. A
    ``.safetensors`` file holds an encoder, with its head and classifier if `mcl_jax.interop` wrote
    them; a classifier of another number of classes is left out, and so is that of a file from
    elsewhere.

    Returns:
        ``{"1": {"params": ..., "batch_stats": ...}}`` for network 1 and so on; None where no file
        is named.

    Raises:
        ConfigError: a file is missing, damaged or of another network, or lacks what a frozen
            network needs.
    """
    found: dict[str, Any] = {}
    for number, (name, file) in enumerate(zip(names(config), config.model.weights, strict=False)):
        if not file:
            continue
        try:
            path = pathlib.Path(file)
            found[str(number)] = _read_file(config, setting, number, name, path)
        except OSError as error:
            raise ConfigError(
                f"model.weights of network {number}: {file} cannot be read: {error.strerror}."
            ) from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"model.weights of network {number}: {error}") from error
    for number in config.method.frozen:
        _check_frozen(config, number, found.get(str(number)))
    return found or None


def load(params: Any, extras: Any, weights: dict[str, Any]) -> tuple[Any, Any]:
    """Puts weights that were read in the place of those that were drawn.

    Args:
        params: of a cohort.
        extras: with its ``batch_stats``.
        weights: as `read` returns them; what a file lacks stays as it was drawn, and its jigsaw
            head or predictor is left out where the network has none.

    Raises:
        ConfigError: a file's weights are of another network.
    """
    variables = {"params": params, "batch_stats": extras["batch_stats"]}
    for number, found in weights.items():
        drawn = flax.traverse_util.flatten_dict(cohort.select(variables, int(number)))
        parts = {path[:2] for path in drawn}
        stored = flax.traverse_util.flatten_dict(found)
        kept = {x: leaf for x, leaf in stored.items() if x[1] not in _OF_SOME or x[:2] in parts}
        member = drawn | kept
        try:
            variables = cohort.replace(
                variables, int(number), flax.traverse_util.unflatten_dict(member)
            )
        except ValueError as error:
            raise ConfigError(f"model.weights of network {number}: {error}") from error
    return variables["params"], {**extras, "batch_stats": variables["batch_stats"]}


def _read_file(
    config: ConfigDict, setting: Setting, number: int, name: str, file: pathlib.Path
) -> Any:
    """What a file holds of a network, as the network has it; network a is that of a cohort's."""
    if file.suffix == ".npz":
        return cohort.load_member(file)
    if file.suffix != ".safetensors":
        raise ValueError(f"a file must end in .safetensors or .npz, got {file}.")
    stored = interop.describe(file)
    if stored:
        chosen = number if len(stored) > 1 else 0
        one = stored[min(chosen, len(stored) - 1)]
        variables = interop.load_safetensors(
            file, name, network=chosen, classifier=one.classes == setting.num_classes
        )
        if one.head:
            return variables
    else:
        norm = "group" if config.model.norm == "group" else "batch"
        options = {"width": config.model.width, "stem": config.model.stem, "norm": norm}
        variables = interop.load_safetensors(file, name, classifier=False, **options)
    return {collection: {"encoder": tree} for collection, tree in variables.items()}


def _check_frozen(config: ConfigDict, number: int, found: Any) -> None:
    """What is not in the file of a frozen network would stay as it was drawn."""
    if found is None:
        raise ConfigError(
            f"method.frozen holds {number}, for which model.weights names no file: it would stay "
            f"as it was drawn."
        )
    if config.method.frozen_heads and "head" not in found["params"]:
        raise ConfigError(
            f"model.weights of network {number} have no head, which would stay as it was drawn, "
            f"since method.frozen holds {number}; method.frozen_heads=false lets it learn."
        )
    if (
        config.method.frozen_heads
        and "predictor_width" in config.method
        and "predictor" not in found["params"]
    ):
        raise ConfigError(
            f"model.weights of network {number} have no predictor, which would stay as it was "
            f"drawn, since method.frozen holds {number}; method.frozen_heads=false lets it learn."
        )
    classifiers = set(interop.CLASSIFIERS) & found["params"]["encoder"].keys()
    weights = config.method.get("weights", {})
    taught = [name for name in ("logit_distillation", "deep_mutual") if weights.get(name)]
    if taught and not classifiers:
        raise ConfigError(
            f"model.weights of network {number} have no classifier for these classes, and "
            f"method.frozen holds {number}; method.weights.{taught[0]} would distil what was drawn."
        )
