"""Whether a configuration goes with its data set, and a run with its machine."""

import contextlib
import math
import os
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mcl_jax.config import ConfigError
from mcl_jax.data import Dataset, Split
from mcl_jax.report.units import size
from mcl_jax.training.parallel import Mapper


def check_dataset(config: ConfigDict, dataset: Dataset) -> None:
    """Stops a run that cannot go well on its data.

    Args:
        config: checked by `mcl_jax.config.check`.
        dataset: as `mcl_jax.data.load` gives it.

    Raises:
        ConfigError: a field does not go with the images, or with the labels.
    """
    if dataset.num_classes < 2:
        raise ConfigError(
            f"data.source must be a data set of two classes or more, got {dataset.num_classes} in "
            f"{config.data.source}."
        )
    if dataset.pool.streams:
        _check_streamed(config)
    else:
        _check_resident(config, dataset.pool)
    _check_channels(config, dataset.train)
    _check_positives(config, dataset.train)
    rows, neighbours = len(dataset.train), config.evaluation.knn_neighbours
    if neighbours > rows:
        raise ConfigError(
            f"evaluation.knn_neighbours must be at most the {rows} training rows, got {neighbours}."
        )


def _check_streamed(config: ConfigDict) -> None:
    """What images that are decoded on the way need."""
    name = config.data.source
    if not config.data.image_size:
        raise ConfigError(f"data.image_size must be given for {name}, whose images are streamed.")
    if config.training.steps_per_dispatch > 1:
        raise ConfigError(
            f"training.steps_per_dispatch must be 1 for {name}, whose images are streamed, got "
            f"{config.training.steps_per_dispatch}."
        )
    if not config.data.mean:
        raise ConfigError(
            f"data.mean and data.std must be given for {name}, whose images are streamed."
        )


def _check_resident(config: ConfigDict, train: Split) -> None:
    """What goes with images in memory, which stay as large as they are."""
    height, width, _ = train.image(0).shape
    if config.data.image_size and {config.data.image_size} != {height, width}:
        raise ConfigError(
            f"data.image_size is for streamed images, got {config.data.image_size} for "
            f"{config.data.source}, whose images are {height} x {width}; 0 takes them as they are."
        )


def _check_channels(config: ConfigDict, train: Split) -> None:
    """Statistics are those of the image's channels."""
    channels, given = train.image(0).shape[-1], len(config.data.mean)
    if given and given != channels:
        kind = {1: "are gray", 3: "are in colour"}.get(channels, f"have {channels} channels")
        raise ConfigError(
            f"data.mean and data.std must have {channels} number{'s' * (channels > 1)} each for "
            f"{config.data.source}, whose images {kind}, got {given}."
        )


def _check_positives(config: ConfigDict, train: Split) -> None:
    """Contrast between rows of a class wants two of one."""
    if config.method.name != "supervised_mcl":
        return
    weighed = [name for name in ("vcl", "icl") if config.method.weights[name]]
    if config.data.sampler == "shuffled" and weighed and np.bincount(train.labels).max() < 2:
        raise ConfigError(
            f"data.sampler shuffled leaves no positives, since no class of {config.data.source} "
            f"has two of the {len(train)} training rows; method.weights.{weighed[0]} must be 0 "
            "then."
        )


def check_memory(state: Any, train: Split, mapper: Mapper) -> None:
    """Stops a run whose state alone does not fit, where XLA would end the process.

    Args:
        state: the run's, of arrays or of shapes and dtypes.
        train: the training rows; those in memory are put on every device whole.
        mapper: the devices; networks may be split over some of them.

    Raises:
        ConfigError: a device has less memory.
    """
    limit = _memory(mapper.local_devices)
    leaves = jax.tree.leaves(state)
    held = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves) / mapper.cohort
    images = 0 if train.images is None else train.images.nbytes
    if limit is not None and held + images > limit:
        raise ConfigError(
            f"the memory does not suffice: networks and optimizer take {size(held)} and the "
            f"training images {size(images)}, but a device has {size(limit)}; fewer "
            f"method.networks, a smaller model.name, method.embedding_dim or data.train_size take "
            f"less."
        )


def _memory(devices: tuple[jax.Device, ...]) -> float | None:
    """Bytes that a device has; those of a host share its memory. None if nobody knows."""
    if devices[0].platform != "cpu":
        return (devices[0].memory_stats() or {}).get("bytes_limit")
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    with contextlib.suppress(OSError, ValueError):  # a container may have less than its machine
        total = min(total, int(pathlib.Path("/sys/fs/cgroup/memory.max").read_text()))
    return total / len(devices)
