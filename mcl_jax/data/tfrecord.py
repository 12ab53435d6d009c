"""TFRecord files read by row, without TensorFlow: an index of offsets, found by a memory map.

A record is its length (uint64), a checksum of the length, the data, a checksum of the data; the
checksums are four bytes each and are not looked at, for an image that is damaged does not decode.
"""

import mmap
import struct
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from mcl_jax.data.dataset import DataError
from mcl_jax.data.parts_of_files import read_at

_LENGTH = struct.Struct("<Q")
_BEFORE, _AFTER = 12, 4


class Instruction(Protocol):
    """Which records of a file are wanted; ``tfds`` has these in ``file_instructions``.

    Attributes:
        filename: the path.
        skip: records to pass over.
        take: records that follow, or -1 for all that do.
    """

    filename: str
    skip: int
    take: int


def _map(path: str) -> mmap.mmap:
    """Maps a file of which little is wanted, here and there."""
    try:
        with open(path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as a TFRecord file: {reason}.") from error
    if hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)
    return mapped


def _places(path: str, mapped: mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yields where the data of each record begins and how long it is."""
    at, end, row = 0, len(mapped), 0
    while at < end:
        size = _LENGTH.unpack_from(mapped, at)[0] if at + _BEFORE <= end else end
        if at + _BEFORE + size + _AFTER > end:
            raise DataError(
                f"{path} must be a whole TFRecord file, got one that ends in record {row}."
            )
        yield at + _BEFORE, size
        at, row = at + _BEFORE + size + _AFTER, row + 1


def walk(wanted: Instruction) -> Iterator[tuple[int, memoryview]]:
    """Goes from record to record of a file, and reads nothing that is not looked at.

    Args:
        wanted: which records of which file.

    Yields:
        Where the data of a record begins, and a view of it.

    Raises:
        DataError: the file is missing, cut short, or has fewer records than are wanted.
    """
    if not wanted.take:
        return
    mapped = _map(wanted.filename)
    view, row = memoryview(mapped), 0
    stop = float("inf") if wanted.take < 0 else wanted.skip + wanted.take
    for start, size in _places(wanted.filename, mapped):
        if row >= stop:
            return
        if row >= wanted.skip:
            yield start, view[start : start + size]
        row += 1
    if wanted.take > 0 and row < stop:
        raise DataError(
            f"{wanted.filename} must have {stop} records, as its data set says, got {row}."
        )


class TFRecords:
    """The records of TFRecord files by row."""

    def __init__(self, paths: list[str], places: np.ndarray) -> None:
        """Takes the files, and int64 [N, 3]: which file, where the data begins, how long it is."""
        self._paths, self._places = paths, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int, /) -> bytes:
        """Returns one record."""
        number, start, size = self._places[row].tolist()
        return read_at(self._paths[number], start, size)
