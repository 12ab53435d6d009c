"""Classification by the nearest training rows."""

from collections.abc import Sequence

import numpy as np

from mcl_jax.evaluation.nearest import nearest

TEMPERATURE = 0.07  # of the weights of votes, as the papers have it


def knn_votes(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    *,
    classes: int,
    neighbours: Sequence[int] = (1, 20, 200),
    temperature: float = TEMPERATURE,
) -> np.ndarray:
    """Shares of the votes of the nearest training rows, weighed by their cosines.

        share[i, c] ~ sum over the k nearest rows j of class c of exp(<z_i, z_j> / temperature)

    The answer is the class of the largest share; votes of several networks are averaged.

    Args:
        train: [N, F], features of training rows; they are scaled to unit length.
        train_labels: [N], integer, from 0 to C - 1.
        test: [n, F], features of the rows to be judged.
        classes: C.
        neighbours: K numbers of votes a row; no more than there are training rows are used.
        temperature: of the weights, above 0.

    Returns:
        float32 [K, n, C]; a row sums to 1.

    Raises:
        ValueError: shapes do not fit together, a label is none of the C, or a number is not
            above 0.

    Example:
        >>> import numpy as np
        >>> train = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> votes = knn_votes(train, [0, 1, 1], train[:1], classes=2, neighbours=(1, 3))
        >>> votes.astype(float).round(3).tolist()
        [[[1.0, 0.0]], [[0.985, 0.015]]]

    Wu et al., arXiv 1805.01978, with k = 200 and a temperature of 0.07.
    """
    labels = np.asarray(train_labels)
    if labels.shape != np.shape(train)[:1]:
        raise ValueError(
            f"train_labels must be one for each row of train, got shapes {labels.shape} and "
            f"{np.shape(train)}."
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"train_labels must be from 0 to {classes - 1}, got {labels.min()} to {labels.max()}."
        )
    if not neighbours or min(neighbours) < 1 or not temperature > 0:
        raise ValueError(
            f"neighbours and temperature must be above 0, got {neighbours} and {temperature}."
        )
    cosines, rows = nearest(train, test, max(neighbours))
    # The nearest row has weight 1: shares are the same, and nothing overflows.
    weights = np.exp((cosines - cosines[:, :1]) / np.float32(temperature))
    cells = np.arange(len(rows))[:, None] * classes + labels[rows]
    shares = np.empty((len(neighbours), len(rows), classes), np.float32)
    for share, k in zip(shares, neighbours, strict=True):
        votes = np.bincount(cells[:, :k].ravel(), weights[:, :k].ravel(), len(rows) * classes)
        votes = votes.reshape(len(rows), classes)
        share[:] = votes / votes.sum(axis=1, keepdims=True)
    return shares


def knn_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    neighbours: int = 20,
) -> float:
    """Share of rows whose nearest training rows vote for the right class.

    Every one of the ``neighbours`` training rows of the largest cosine similarity has one vote,
    whatever its cosine; `knn_votes` weighs them.

    Args:
        train: [N, F], features of training rows.
        train_labels: [N], integer.
        test: [n, F], features of the rows to be judged.
        test_labels: [n], integer.
        neighbours: votes a row; no more than there are training rows are used.

    Returns:
        A fraction.

    Example:
        >>> import numpy as np
        >>> train = np.array([[1.0, 0.1], [0.1, 1.0]])
        >>> knn_accuracy(train, np.array([0, 1]), train, np.array([0, 1]), neighbours=1)
        1.0
    """
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(
        min(neighbours, len(train)), metric="cosine", algorithm="brute"
    )
    return float(classifier.fit(train, train_labels).score(test, test_labels))
