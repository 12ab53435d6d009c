"""How well the nearest other rows are of the same class."""

from typing import NamedTuple

import numpy as np

from mcl_jax.evaluation.nearest import nearest


class Retrieval(NamedTuple):
    """Means over the queries that have another row of their class.

    Attributes:
        precision_at_1: share of queries whose nearest other row is of their class.
        r_precision: share of the R nearest that are, with R the other rows of the class.
        map_at_r: as that, and the higher the earlier they come.
    """

    precision_at_1: float
    r_precision: float
    map_at_r: float


def retrieval(features: np.ndarray, labels: np.ndarray) -> Retrieval:
    """Every row asks for its nearest others by cosine, as many as are of its class.

        R          = other rows of the query's class
        P(i)       = share of the i nearest that are of the class
        R-precision = P(R),     MAP@R = 1/R sum over i = 1 ... R of [i-th is of the class] P(i)

    Args:
        features: [n, F]; they are scaled to unit length.
        labels: [n], integer.

    Returns:
        Three fractions; rows that are alone in their class ask nothing.

    Raises:
        ValueError: shapes do not fit together, or every row is alone in its class.

    Example:
        >>> import numpy as np
        >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.3], [0.0, 1.0]])
        >>> retrieval(x, [0, 0, 1, 1])
        Retrieval(precision_at_1=0.75, r_precision=0.75, map_at_r=0.75)

    Musgrave et al., arXiv 2003.08505.
    """
    labels = np.asarray(labels)
    if labels.shape != np.shape(features)[:1]:
        raise ValueError(
            f"labels must be one for each row of features, got shapes {labels.shape} and "
            f"{np.shape(features)}."
        )
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    others = counts[classes] - 1
    if not others.any():
        raise ValueError("labels must hold a class of two rows or more, got none.")
    _, rows = nearest(features, features, int(others.max()), without_itself=True)
    asked = others > 0
    others, right = others[asked, None], labels[rows[asked]] == labels[asked, None]
    rank = np.arange(1, right.shape[1] + 1)
    right &= rank <= others
    precision = np.cumsum(right, axis=1) / rank
    average = np.sum(precision * right, axis=1, keepdims=True) / others
    share = np.sum(right, axis=1, keepdims=True) / others
    return Retrieval(*(float(np.mean(x)) for x in (right[:, 0], share, average)))
