"""Features with their labels, and rows that choices are made on."""

from typing import NamedTuple

import numpy as np

from mcl_jax.data.stratified import rows_by_class

_HELD_OUT = 5  # one row of so many of a class


class Labelled(NamedTuple):
    """Features of some rows, with their labels.

    Attributes:
        features: [N, F], floating.
        labels: [N], integer.
    """

    features: np.ndarray
    labels: np.ndarray

    def take(self, rows: np.ndarray) -> "Labelled":
        """The rows ``rows`` [n], in that order."""
        return Labelled(self.features[rows], self.labels[rows])


def to_choose_on(train: Labelled, validation: Labelled) -> tuple[Labelled, Labelled]:
    """What is to be fitted and what is to be chosen on.

    Args:
        train: training rows.
        validation: rows to choose on, if there are any.

    Returns:
        Both as they are; without validation rows a fifth of the training rows of each class is
        kept apart from the rest, always the same ones, but for the last row of a class.
    """
    if len(validation.labels):
        return train, validation
    rng = np.random.default_rng(0)
    apart = np.concatenate(
        [
            rng.permutation(rows)[: max(len(rows) // _HELD_OUT, 1) if len(rows) > 1 else 0]
            for rows in rows_by_class(train.labels, int(train.labels.max()) + 1)
        ]
    )
    rest = np.setdiff1d(np.arange(len(train.labels)), apart)
    return (train.take(rest), train.take(np.sort(apart))) if len(apart) else (train, train)
