"""The configuration of a run: every field with its default, and what may go together.

A file in ``configs/`` starts from `default` and changes what differs. ``--config.key=value``
overrides a field on the command line.
"""

import json
import math
import pathlib
import re
from typing import Any

from ml_collections import ConfigDict

from mcl_jax import atomic


class ConfigError(ValueError):
    """A configuration that cannot be run: one sentence that names the field."""


def default() -> ConfigDict:
    """Every field of a run, with a comment on what it means."""
    return ConfigDict(
        {
            "name": "default",  # of the run; its results go to runs/<name> without --workdir
            "seed": 0,  # of parameters, batches and views; data.seed splits the data
            "method": {
                "name": "supervised_mcl",
                "networks": 2,  # M; 1 is the solo baseline
                "embedding_dim": 128,  # D
                "temperature": 0.1,  # of the contrastive softmax
                "soft_temperature": 3.0,  # T of the KL terms
                "numerator": "mean_log",  # or "log_sum": how several positives are joined
                "soft_self": True,  # the anchor's own column in soft terms, as the authors have it
                "distillation_students": "all",  # or "last", the authors' for more than two
                "weights": {
                    "vcl": 0.1,  # the authors' alpha
                    "soft_vcl": 1.0,  # gamma
                    "icl": 0.1,  # beta
                    "soft_icl": 1.0,  # lambda
                    "logit_distillation": 0.0,  # from the ensemble's mean logits
                    "deep_mutual": 0.0,  # from each other network's logits
                },
            },
            "model": {
                "name": "small_resnet",
                "dtype": "float32",  # computed in; or "bfloat16"; "float64" checks equalities
                "convolution": "per_network",  # or "plain", which has second derivatives
                "norm": "local",  # statistics per device; or "sync", or "grouped". Rows of a class
                # stand together, so few devices see all classes: prefer "sync" on several
                "norm_groups": 1,  # groups in the whole batch, for "grouped"
            },
            "data": {
                "name": "fashion_mnist",  # or photographs, digits, tfds:NAME, npz:PATH
                "data_dir": "",  # of TFDS; empty is its own default
                "seed": 0,  # of the splits
                "train_size": 0,  # class-balanced subset of the training rows; 0 is all
                "validation_size": 2000,  # rows cut from the official training rows; may be 0
                "batch_size": 100,  # B, over all devices
                "sampler": "per_class",  # or "shuffled"
                "images_per_class": 2,  # in a batch, for "per_class"
                "image_size": 0,  # side that streamed images are cropped to
                "mean": (),  # [c]; empty measures the training images
                "std": (),  # [c]
            },
            "views": {
                "padding": 4,  # pixels added on each side before the random crop
                "flip": True,  # left to right, one time in two
            },
            "optimizer": {
                "learning_rate": 0.1,
                "momentum": 0.9,
                "nesterov": True,
                "weight_decay": 5e-4,
                "decay_exclude": (),  # patterns of parameter names that do not decay
                "clip_norm": 0.0,  # largest gradient norm of a network; 0 does not clip
                "schedule": "cosine",  # or "step", "constant"
                "warmup_epochs": 0.0,
                "milestones": (),  # epochs, for "step"
                "gamma": 0.1,  # factor at a milestone
                "per_epoch": False,  # moves the rate at epochs alone, as the authors do
            },
            "training": {
                "epochs": 60,  # passes over the training rows
                "steps": 0,  # instead of epochs, where it is not 0
                "steps_per_dispatch": 1,  # training steps in one call of the device
                "log_every": 50,  # steps between lines of metrics.jsonl
                "eval_every_epochs": 10,  # between figures on validation; 0 only at the end
                "checkpoint_every_epochs": 10,  # the end is always kept
                "keep_checkpoints": 2,
            },
            "evaluation": {
                "batch_size": 500,
                "knn_neighbours": 20,
                "knn_rows": 50_000,  # at most so many training rows are searched
            },
            "parallel": {
                "mapper": "shard_map",  # or "pmap"
                "devices": 0,  # on the data axis; 0 is all
            },
        }
    )


def smoke(config: ConfigDict, arg: str) -> ConfigDict:
    """A configuration as it is, or so small that it runs in under a minute on a CPU.

    Args:
        config: the whole configuration; it is changed.
        arg: what stands behind the colon of ``--config=FILE:smoke``; ``""`` or ``"smoke"``.

    Returns:
        ``config``, with ``"smoke"`` on scikit-learn's digits for a few steps.

    Raises:
        ConfigError: ``arg`` is neither.
    """
    if arg not in ("", "smoke"):
        raise ConfigError(f"the part of --config behind the colon must be smoke, got {arg!r}.")
    if arg == "smoke":
        config.name += "-smoke"
        config.data.update(
            {"name": "digits", "train_size": 200, "validation_size": 100, "batch_size": 20}
        )
        config.data.update({"images_per_class": 2, "mean": (), "std": ()})
        config.views.padding = 1
        config.training.update({"steps": 4, "log_every": 2})
    return config


_CHOICES = {
    "method.numerator": ("mean_log", "log_sum"),
    "method.distillation_students": ("all", "last"),
    "model.dtype": ("float32", "bfloat16", "float64"),
    "model.convolution": ("per_network", "plain"),
    "model.norm": ("local", "sync", "grouped"),
    "data.sampler": ("per_class", "shuffled"),
    "optimizer.schedule": ("cosine", "step", "constant"),
    "parallel.mapper": ("shard_map", "pmap"),
}

_AT_LEAST = {
    "method.networks": 1,
    "method.embedding_dim": 1,
    "model.norm_groups": 1,
    "data.train_size": 0,
    "data.validation_size": 0,
    "data.batch_size": 2,
    "data.image_size": 0,
    "views.padding": 0,
    "optimizer.learning_rate": 0,
    "optimizer.momentum": 0,
    "optimizer.weight_decay": 0,
    "optimizer.clip_norm": 0,
    "optimizer.warmup_epochs": 0,
    "training.epochs": 1,
    "training.steps": 0,
    "training.steps_per_dispatch": 1,
    "training.log_every": 1,
    "training.eval_every_epochs": 0,
    "training.checkpoint_every_epochs": 1,
    "training.keep_checkpoints": 1,
    "evaluation.batch_size": 1,
    "evaluation.knn_neighbours": 1,
    "evaluation.knn_rows": 1,
}


def check(config: ConfigDict, devices: int) -> None:
    """Stops a run that cannot go well.

    Args:
        config: the whole configuration.
        devices: number of devices on the data axis.

    Raises:
        ConfigError: a value is none of the choices, is too small, or contradicts another.
    """
    flat = _flatten(config)
    for name, choices in _CHOICES.items():
        if flat[name] not in choices:
            raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {flat[name]!r}.")
    for name, least in _AT_LEAST.items():
        if not flat[name] >= least:  # NaN is not
            raise ConfigError(f"{name} must be at least {least}, got {flat[name]}.")
    for name in ("method.temperature", "method.soft_temperature", "optimizer.gamma"):
        if not flat[name] > 0:
            raise ConfigError(f"{name} must be above 0, got {flat[name]}.")
    _check_split(config, devices)
    if len(config.data.mean) != len(config.data.std):
        raise ConfigError(
            f"data.mean and data.std must have one number a channel each, got "
            f"{len(config.data.mean)} and {len(config.data.std)}."
        )
    if not all(spread > 0 for spread in config.data.std):
        raise ConfigError(f"data.std must be above 0, got {config.data.std}.")
    for name, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{name} must be a finite number, got {value}.")
    for pattern in config.optimizer.decay_exclude:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"optimizer.decay_exclude must hold regular expressions, got {pattern!r}: {error}."
            ) from error


def _check_split(config: ConfigDict, devices: int) -> None:
    """Batch, groups of statistics and devices must divide."""
    batch = config.data.batch_size
    if batch % devices:
        raise ConfigError(
            f"data.batch_size must be a multiple of the number of devices, {devices}, got {batch}."
        )
    groups = config.model.norm_groups
    if config.model.norm == "grouped" and (groups % devices or batch % groups):
        raise ConfigError(
            f"model.norm_groups must be a multiple of the number of devices, {devices}, and "
            f"divide data.batch_size, {batch}, got {groups}."
        )
    parts = {"local": devices, "grouped": groups, "sync": 1}[config.model.norm]
    if batch // parts < 2:
        raise ConfigError(
            f"data.batch_size must give batch statistics two rows or more, got {batch} in {parts} "
            f"parts."
        )


_MAY_DIFFER = re.compile(r"training\.(steps|epochs|log_every|keep_checkpoints)|evaluation\..*|name")


def claim(workdir: str | pathlib.Path, config: ConfigDict, steps: int) -> pathlib.Path:
    """Makes the workdir of a run and writes ``config.json`` there, or finds the same run in it.

    Args:
        workdir: the folder.
        config: the whole configuration.
        steps: of the whole run.

    Returns:
        The folder.

    Raises:
        ConfigError: the folder cannot be written, or holds a run of another configuration (the
            length of the run, logging and evaluation may differ) or of more steps.
    """
    folder = pathlib.Path(workdir)
    path = folder / "config.json"
    new = json.loads(json.dumps(config.to_dict()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Before there is a checkpoint, nothing is lost by starting anew.
        saved = [int(x.name) for x in (folder / "checkpoints").glob("*") if x.name.isdigit()]
        if path.exists() and saved:
            _refuse_another(folder, json.loads(path.read_text(encoding="utf-8")), new)
        if steps < max(saved, default=0):
            raise ConfigError(
                f"training.steps must be at least the {max(saved)} that {folder} has done, got "
                f"{steps}."
            )
        atomic.write_json(path, new)
    except json.JSONDecodeError as error:
        raise ConfigError(f"workdir {folder} holds a config.json that is no JSON.") from error
    except OSError as error:
        raise ConfigError(f"workdir {folder} cannot be written: {error.strerror}.") from error
    return folder


def _refuse_another(folder: pathlib.Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raises ConfigError with the fields that differ, but for those that may."""
    there, now = _flatten(ConfigDict(old)), _flatten(ConfigDict(new))
    changes = [
        f"{name} ({there.get(name)} there, {now.get(name)} now)"
        for name in sorted(there.keys() | now.keys())
        if there.get(name) != now.get(name) and not _MAY_DIFFER.fullmatch(name)
    ]
    if changes:
        raise ConfigError(f"workdir {folder} holds a run with another {', '.join(changes)}.")


def _flatten(config: ConfigDict, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
