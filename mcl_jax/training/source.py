"""The data set that a configuration names, and what is measured on it."""

import numpy as np
from ml_collections import ConfigDict

from mcl_jax import data
from mcl_jax.data import Dataset, Split


def load_dataset(config: ConfigDict) -> Dataset:
    """Loads what ``config.data`` describes.

    Raises:
        DataError: there is no such data set, or it is not as it must be.
    """
    options = config.data
    return data.load(
        options.source,
        validation_size=options.validation_size,
        train_size=options.train_size or None,
        seed=options.seed,
        data_dir=options.data_dir or None,
        memory_limit=options.memory_limit << 20,
        label_noise=options.label_noise,
        corrupt=options.corrupt,
        unlabelled=options.unlabelled,
    )


def image_shape(config: ConfigDict, train: Split) -> tuple[int, int, int]:
    """H, W, c of the images that the step gets: streamed ones are of ``data.image_size``."""
    height, width, channels = train.image(0).shape
    if train.streams:
        height = width = config.data.image_size
    return height, width, channels


def channel_statistics(
    config: ConfigDict, train: Split
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and spread of each channel: the configured ones, or those of the training images."""
    if config.data.mean or train.images is None:
        return tuple(config.data.mean), tuple(config.data.std)
    mean, std = (f(train.images, axis=(0, 1, 2)) / 255 for f in (np.mean, np.std))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1e-3).tolist())
