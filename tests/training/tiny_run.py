"""Configuration of a run so small that several processes carry it out within seconds.

``--config=tests/training/tiny_run.py`` holds its images in memory, ``...:streamed`` decodes them on
the way, those of training as slowly as ``TINY_PAUSE`` says in seconds; ``...:spread`` splits the
two networks over devices too. It teaches the process that reads it the encoder and the data set.
"""

import functools
import os
import pathlib
import sys
import time

import numpy as np
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import tiny

from mcl_jax import data
from mcl_jax.data import Dataset, Split
from mcl_jax.models import registry
from mcl_jax.models.small_resnet import SmallResNet


class Rows:
    """Images of several sizes that are decoded when asked for."""

    def __init__(self, images: np.ndarray, pause: float) -> None:
        self.images, self.pause = images, pause

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> np.ndarray:
        time.sleep(self.pause)
        return np.repeat(np.repeat(self.images[row], 2 + row % 2, axis=0), 2, axis=1)


def streamed(resident: Dataset) -> Dataset:
    """The same images, not held in memory."""
    splits = {}
    for name in ("train", "validation", "test"):
        split = getattr(resident, name)
        pause = float(os.environ.get("TINY_PAUSE", "0")) if name == "train" else 0
        splits[name] = Split(split.labels, rows=Rows(split.images, pause))
    return Dataset("streamed", **splits, class_names=resident.class_names, notice="")


def get_config(kind: str = "resident") -> ConfigDict:
    """Sixteen steps in float64, whose statistics do not depend on how a batch is split."""
    registry._ENCODERS["tiny"] = functools.partial(SmallResNet, widths=(4,))
    found = streamed(tiny.dataset()) if kind == "streamed" else tiny.dataset()
    data.load = lambda *args, **options: found
    config = tiny.config(
        model__norm="sync",
        model__dtype="float64",
        training__steps=16,
        training__eval_every_epochs=1,
        training__checkpoint_every_epochs=1,
        parallel__devices=0,
    )
    if kind == "spread":
        config.parallel.cohort_devices = 2
    if kind == "streamed":
        changes = {"data.image_size": 8, "data.mean": (0.4,), "data.std": (0.2,)}
        config.update_from_flattened_dict(changes)
    return config
