"""What can be learned from a few labels a class."""

import numpy as np

from mcl_jax.data.stratified import rows_by_class
from mcl_jax.evaluation.labelled import Labelled
from mcl_jax.evaluation.linear_probe import fit, over_classes
from mcl_jax.evaluation.nearest import unit


def few_rows(labels: np.ndarray, per_class: int, *, classes: int, draw: int) -> np.ndarray:
    """Rows of which ``per_class`` are of each class, drawn at random.

    Args:
        labels: [N], integer, from 0 to C - 1.
        per_class: rows of each class.
        classes: C.
        draw: its number; a smaller ``per_class`` of a draw is a part of a larger one.

    Returns:
        [C * per_class], row numbers, ascending.

    Raises:
        ValueError: a class has fewer rows, or ``per_class`` is not 1 or more.

    Example:
        >>> import numpy as np
        >>> few_rows(np.array([0, 1, 0, 1]), 2, classes=2, draw=0).tolist()
        [0, 1, 2, 3]
    """
    groups = rows_by_class(np.asarray(labels), classes)
    least = min(map(len, groups))
    if not 1 <= per_class <= least:
        raise ValueError(
            f"per_class must be from 1 to {least}, the rows of the smallest class, got {per_class}."
        )
    rng = np.random.default_rng(draw)
    return np.sort(np.concatenate([rng.permutation(rows)[:per_class] for rows in groups]))


def few_labels(train: Labelled, test: np.ndarray, *, classes: int) -> np.ndarray:
    """Logistic regression on features of unit length, with a regularisation that is not chosen.

        minimise  sum over rows of cross-entropy + 1/2 sum(W^2)

    That is the common judge of encoders on few labels, where no rows are left to choose on.

    Args:
        train: features [N, F] and labels [N] of the few rows.
        test: features [n, F] of the rows to be judged.
        classes: C.

    Returns:
        float32 probabilities [n, C]; 0 for a class without a row.

    Example:
        >>> import numpy as np
        >>> rows = Labelled(np.eye(2), np.array([0, 1]))
        >>> few_labels(rows, np.array([[3.0, 1.0]]), classes=2).argmax(axis=1).tolist()
        [0]

    Tian et al., arXiv 2003.11539.
    """
    from sklearn.linear_model import LogisticRegression

    classifier = LogisticRegression(C=1.0, max_iter=1000)
    fit(classifier, unit(train.features).astype(np.float64), train.labels)
    return over_classes(classifier, unit(test).astype(np.float64), classes)
