"""A predictor over a whole split, in batches of one shape."""

from collections.abc import Callable

import jax
import numpy as np

from mcl_jax.cohort import Output
from mcl_jax.data import Split

Predict = Callable[[np.ndarray], Output]
LoadRows = Callable[[Split, np.ndarray], np.ndarray]


def load_resident(split: Split, rows: np.ndarray) -> np.ndarray:
    """Images [n, H, W, c] of a split that is held in memory."""
    return np.stack([split.image(int(row)) for row in rows])


def predict_split(
    predict: Predict, split: Split, batch_size: int, load: LoadRows = load_resident
) -> Output:
    """Runs a predictor over every row once.

    The last batch is filled up with its first row and cut afterwards, so that one compiled
    program serves.

    Args:
        predict: uint8 images [B, H, W, c] to Output of [M, B, ...].
        split: the rows.
        batch_size: B.
        load: (split, rows [n]) to uint8 images [n, H, W, c].

    Returns:
        Output of NumPy arrays [M, N, ...].

    Raises:
        ValueError: the split is empty.
    """
    if not len(split):
        raise ValueError("split must have at least one row, got none.")
    parts = []
    for start in range(0, len(split), batch_size):
        rows = np.arange(start, min(start + batch_size, len(split)))
        images = load(split, rows)
        missing = batch_size - len(rows)
        if missing:
            images = np.concatenate([images, np.repeat(images[:1], missing, axis=0)])
        parts.append(cut(jax.device_get(predict(images)), len(rows)))
    return jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)


def some(split: Split, most: int) -> Split:
    """At most so many rows of a split, always the same: the first ones of a random order.

    Args:
        split: N rows.
        most: rows that are kept, in their order.

    Example:
        >>> some(Split(np.arange(9, dtype=np.int32), rows=range(9)), 3).labels.tolist()
        [2, 4, 5]
    """
    if len(split) <= most:
        return split
    order = np.random.default_rng(0).permutation(len(split))
    return split.take(np.sort(order[:most]))


def cut(output: Output, rows: int) -> Output:
    """The first rows of an Output of [M, B, ...]."""
    return jax.tree.map(lambda x: x[:, :rows], output)
