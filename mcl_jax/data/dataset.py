"""What a data set is to the rest of the library: three splits in memory or streamed, and names.

Axes: ``N`` rows, ``B`` batch, images ``[H, W, c]``, channels last and ``uint8``.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

UNLABELLED = -1  # the label of an image that has none


class DataError(ValueError):
    """A data set that cannot be given: one sentence with the argument, what it got and wants."""


class DataWarning(UserWarning):
    """Images that a run goes on without: one sentence that names them."""


class Rows(Protocol):
    """Random access to images that are decoded when they are asked for."""

    def __len__(self) -> int:
        """Returns the number of images."""

    def __getitem__(self, row: int, /) -> np.ndarray:
        """Returns one uint8 image [H, W, c], of any size."""


class Batch(NamedTuple):
    """A mini-batch, or the part of one that a device or a micro-batch holds.

    Attributes:
        images: [B, H, W, c], uint8; or [B, V, H, W, c], so many crops of each, where a method
            wants several and images are decoded on the way.
        labels: [B], int32.
        index: [B], int32, row numbers in the split, which a memory bank is addressed with.
        position: [B], int32, places in the whole batch, which randomness follows: a view does not
            depend on how the batch is divided.
    """

    images: Any
    labels: Any
    # A tuple has a method of this name, so checkers of types accept no array here.
    index: Any
    position: Any


@dataclasses.dataclass(frozen=True)
class _Subset:
    """The rows ``index`` of ``rows``, decoded when they are asked for."""

    rows: Rows
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int, /) -> np.ndarray:
        return self.rows[int(self.index[row])]


@dataclasses.dataclass(frozen=True)
class _Joined:
    """The rows of ``first``, then those of ``second``."""

    first: "Split"
    second: "Split"

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, row: int, /) -> np.ndarray:
        later = int(row) - len(self.first)
        return self.first.image(int(row)) if later < 0 else self.second.image(later)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, held in memory (``images``) or decoded when asked for (``rows``).

    Attributes:
        labels: int32 [N].
        images: uint8 [N, H, W, c], or None where the split streams.
        rows: random access to uint8 images [H, W, c] of any size, or None where it does not.

    Raises:
        DataError: not exactly one of ``images`` and ``rows`` is given, a dtype or a shape is
            another one, or there is not one label an image.

    Example:
        >>> split = Split(np.zeros([2], np.int32), images=np.zeros([2, 8, 8, 3], np.uint8))
        >>> len(split), split.streams, split.image(0).shape
        (2, False, (8, 8, 3))
    """

    labels: np.ndarray
    images: np.ndarray | None = None
    rows: Rows | None = None

    def __post_init__(self) -> None:
        if (self.images is None) == (self.rows is None):
            raise DataError("a Split wants exactly one of images and rows.")
        if self.labels.ndim != 1 or self.labels.dtype != np.int32:
            raise DataError(
                f"labels must be int32 [N], got {self.labels.dtype} of shape {self.labels.shape}."
            )
        if self.images is not None and (self.images.ndim != 4 or self.images.dtype != np.uint8):
            raise DataError(
                f"images must be uint8 [N, H, W, c], got {self.images.dtype} of shape "
                f"{self.images.shape}."
            )
        held = self.images if self.images is not None else self.rows
        if held is not None and len(held) != len(self.labels):
            raise DataError(
                f"there must be one label an image, got {len(held)} images and "
                f"{len(self.labels)} labels."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def streams(self) -> bool:
        """Whether images are decoded when they are asked for, instead of held in memory."""
        return self.rows is not None

    def image(self, row: int) -> np.ndarray:
        """Returns the uint8 image [H, W, c] of one row, wherever it is held."""
        if self.images is not None:
            return self.images[row]
        if self.rows is not None:
            return self.rows[row]
        raise DataError("a Split wants exactly one of images and rows.")

    def take(self, index: np.ndarray | Sequence[int]) -> "Split":
        """Returns the split of the rows ``index`` [n], in that order."""
        chosen = np.asarray(index, np.int64)
        if self.images is not None:
            return Split(self.labels[chosen], images=self.images[chosen])
        if self.rows is not None:
            return Split(self.labels[chosen], rows=_Subset(self.rows, chosen))
        raise DataError("a Split wants exactly one of images and rows.")

    def then(self, other: "Split") -> "Split":
        """Returns the split of these rows and those of ``other`` behind them."""
        labels = np.concatenate([self.labels, other.labels])
        if self.images is not None and other.images is not None:
            return Split(labels, images=np.concatenate([self.images, other.images]))
        return Split(labels, rows=_Joined(self, other))


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """What a source brings, before validation rows are cut.

    Attributes:
        train: the official training rows.
        test: the official test rows.
        class_names: the name of each label.
        notice: where the images come from and under which licence.
        validation: rows that the source itself keeps apart from training, where rows of
            ``train`` are too alike to be cut at random; None lets rows of ``train`` be cut.
        unlabelled: further rows to train on, whose labels are all `UNLABELLED`; or None.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    notice: str
    validation: Split | None = None
    unlabelled: Split | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Named training, validation and test rows that share classes.

    Attributes:
        name: what ``load`` was asked for.
        train: rows to learn from, which are also what features are judged with.
        validation: rows to choose settings on, no row of which is in ``train``.
        test: the source's own test rows.
        class_names: the name of each label.
        notice: where the images come from and under which licence.
        unlabelled: further rows to learn from, whose labels are all `UNLABELLED`; or None.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    notice: str
    unlabelled: Split | None = None

    @functools.cached_property
    def pool(self) -> Split:
        """All rows that a run learns from: ``train``, and behind it ``unlabelled``."""
        return self.train if self.unlabelled is None else self.train.then(self.unlabelled)

    @property
    def num_classes(self) -> int:
        """The number of classes C."""
        return len(self.class_names)
