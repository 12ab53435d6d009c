"""Classification by the nearest training rows."""

import numpy as np


def knn_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    neighbours: int = 20,
) -> float:
    """Share of rows whose nearest training rows vote for the right class.

    Every one of the ``neighbours`` training rows of the largest cosine similarity has one vote.

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
