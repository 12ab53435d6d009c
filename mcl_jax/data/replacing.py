"""Streamed rows of which one that cannot be decoded gives way to another of its class."""

import warnings

import numpy as np

from mcl_jax.data.dataset import DataError, DataWarning, Rows, Split
from mcl_jax.data.decoding import ImageError


class ReplacingRows:
    """Gives the next row of the same class, round and round, for one that cannot be decoded.

    Which row that is depends on the images alone, not on what was asked for before, so batches
    stay a function of (key, step). Each image is named once a process, in a warning.

    Attributes:
        skipped: what is wrong with each row that was found to be unreadable.
    """

    def __init__(self, rows: Rows, labels: np.ndarray) -> None:
        """Takes the rows of a split and their labels, int [N]."""
        self._rows, self._labels = rows, labels
        self.skipped: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int, /) -> np.ndarray:
        row = int(row)
        image = self._readable(row)
        if image is not None:
            return image
        same = np.flatnonzero(self._labels == self._labels[row])
        for other in np.roll(same, -int(np.searchsorted(same, row)))[1:].tolist():
            image = self._readable(other)
            if image is not None:
                return image
        raise DataError(
            f"corrupt=skip found no readable image of class {self._labels[row]}: "
            f"{self.skipped[row]}."
        )

    def _readable(self, row: int) -> np.ndarray | None:
        """Returns the image, or None and a warning, the first time."""
        if row in self.skipped:
            return None
        try:
            return self._rows[row]
        except ImageError as error:
            self.skipped[row] = error.problem
            count = f"{len(self.skipped)} so far"
            sentence = f"{error.problem}; another of its class stands for it ({count})."
            warnings.warn(sentence, DataWarning, stacklevel=2)
            return None


def replacing(split: Split) -> Split:
    """Returns the split with rows that replace what cannot be decoded, where it streams."""
    if split.rows is None:
        return split
    return Split(split.labels, rows=ReplacingRows(split.rows, split.labels))
