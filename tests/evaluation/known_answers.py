"""Features and data whose answers are known, for tests of evaluation."""

import numpy as np

from mcl_jax.data import Dataset, Split
from mcl_jax.evaluation import Labelled

CLASSES = 3


def clusters(rows: int, noise: float = 0.1, seed: int = 0, width: int = 5) -> Labelled:
    """Features around one direction a class."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % CLASSES).astype(np.int32)
    features = 3 * np.eye(CLASSES, width)[labels] + noise * rng.normal(size=(rows, width))
    return Labelled(features.astype(np.float32), labels)


def dataset(train: int = 36, validation: int = 12, test: int = 24, channels: int = 1) -> Dataset:
    """Images 8 x 8 whose brightness tells the class."""

    def split(rows: int, seed: int) -> Split:
        rng = np.random.default_rng(seed)
        labels = (np.arange(rows) % CLASSES).astype(np.int32)
        noise = rng.integers(0, 60, (rows, 8, 8, channels))
        return Split(labels, images=(noise + 60 * labels[:, None, None, None]).astype(np.uint8))

    splits = split(train, 0), split(validation, 1), split(test, 2)
    return Dataset("made up", *splits, class_names=("a", "b", "c"), notice="")
