"""Labelled images: sources, class-balanced splits, samplers and streams.

Axes: ``N`` rows, ``B`` batch, ``C`` classes, images ``[H, W, c]`` uint8, channels last. Importing
this pulls in neither scikit-learn, scikit-image nor TensorFlow Datasets.

    >>> from mcl_jax import data
    >>> dataset = data.load("fashion_mnist", validation_size=1000)
    >>> sampler = data.shuffled(len(dataset.train), batch_size=256)
    >>> data.steps_per_epoch(sampler)
    35
"""

from mcl_jax.data.ahead import ahead
from mcl_jax.data.crops import Load, centre_crop, middle, random_resized_crop, several
from mcl_jax.data.dataset import UNLABELLED, Batch, DataError, Dataset, DataWarning, Rows, Split
from mcl_jax.data.decoding import ImageError
from mcl_jax.data.loading import NAMES, load
from mcl_jax.data.photographs import colour_histogram
from mcl_jax.data.samplers import (
    PartlyLabelled,
    PerClass,
    Sampler,
    Shuffled,
    draw,
    labelled_run,
    partly_labelled,
    per_class,
    shuffled,
    steps_per_epoch,
)
from mcl_jax.data.stratified import balanced_rows
from mcl_jax.data.streaming import stream

__all__ = [
    "NAMES",
    "UNLABELLED",
    "Batch",
    "DataError",
    "DataWarning",
    "Dataset",
    "ImageError",
    "Load",
    "PartlyLabelled",
    "PerClass",
    "Rows",
    "Sampler",
    "Shuffled",
    "Split",
    "ahead",
    "balanced_rows",
    "centre_crop",
    "colour_histogram",
    "draw",
    "labelled_run",
    "load",
    "middle",
    "partly_labelled",
    "per_class",
    "random_resized_crop",
    "several",
    "shuffled",
    "steps_per_epoch",
    "stream",
]
