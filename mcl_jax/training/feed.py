"""How batches reach the step: picked on the device from a resident set, or streamed from the host.

Either way the batch of a step is a function of the run's key and the step.
"""

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from mcl_jax import data
from mcl_jax.axes import Axes, positions
from mcl_jax.data import Batch, Sampler, Split
from mcl_jax.training import processes
from mcl_jax.training.parallel import Mapper
from mcl_jax.training.state import Stream, stream
from mcl_jax.views.steps import Crop


class Resident(NamedTuple):
    """A training set that lives on the device.

    Attributes:
        images: [N, H, W, c], uint8.
        labels: [N], int32.
        sampler: draws rows from (key, step).
    """

    images: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray
    sampler: Sampler


def resident_feed(axes: Axes, devices: int) -> Callable[[Resident, jax.Array, jax.Array], Batch]:
    """Picks this device's rows: (Resident, key, step) to Batch of [B / devices, ...]."""

    def feed(resident: Resident, key: jax.Array, step: jax.Array) -> Batch:
        rows = data.draw(resident.sampler, stream(key, Stream.DATA), step)
        position = positions(len(rows) // devices, axes.data)
        rows = rows[position]
        return Batch(resident.images[rows], resident.labels[rows], rows, position)

    return feed


def streamed_feed(batch: Batch, key: jax.Array, step: jax.Array) -> Batch:
    """Takes the Batch that the host has put on this device."""
    del key, step
    return batch


def resident_batches(mapper: Mapper, split: Split, sampler: Sampler) -> Iterator[Resident]:
    """The same resident set for every dispatch."""
    if split.images is None:
        raise ValueError("split must hold its images in memory; this one streams.")
    resident = mapper.replicate(Resident(split.images, split.labels, sampler))
    while True:
        yield resident


def streamed_batches(
    mapper: Mapper,
    split: Split,
    sampler: Sampler,
    key: jax.Array,
    start: int,
    load: data.Load,
    workers: int,
) -> Iterator[Batch]:
    """Batches from ``start`` on, decoded and put on the devices ahead of the step.

    Each process decodes the rows of its own devices.
    """
    here = np.array(mapper.local_rows(sampler.batch_size), np.int32)
    draws = stream(processes.at_hand(key), Stream.DATA)
    batches = data.stream(split, sampler, draws, start, load, workers=workers, positions=here)
    return data.ahead(mapper.split_local(batch) for batch in batches)


def loader(side: int, crop: Crop | tuple[Crop | None, ...] | None) -> data.Load:
    """How streamed images come to be ``side`` x ``side``: a random crop, or all that is square.

    Of several crops an image is decoded once.
    """
    if isinstance(crop, tuple):
        return functools.partial(data.several, loads=[loader(side, each) for each in crop])
    if crop is None:
        return functools.partial(data.middle, size=side)
    return functools.partial(
        data.random_resized_crop, size=side, scale=crop.scale, ratio=crop.ratio
    )


def load_rows(split: Split, rows: np.ndarray, side: int, margin: float = 8 / 7) -> np.ndarray:
    """Images of ``rows`` for evaluation: as they are if resident, else scaled and centre-cropped.

    Args:
        split: resident or streamed.
        rows: [n].
        side: of streamed images.
        margin: their short side is scaled to so many times ``side``, as 256 is to 224; with 1 all
            of the middle square is seen.

    Returns:
        [n, H, W, c], uint8.
    """
    if split.images is not None:
        return split.images[rows]
    with ThreadPoolExecutor() as pool:
        images = pool.map(
            lambda row: data.centre_crop(split.image(int(row)), side, round(side * margin)), rows
        )
        return np.stack(list(images))
