"""The nearest-neighbour figure against brute force."""

import numpy as np
import pytest

from mcl_jax.evaluation import knn_accuracy


def brute_force(train, train_labels, test, test_labels, neighbours: int) -> float:
    """Cosine similarity, one vote a neighbour; a draw goes to the smaller class."""
    right = 0
    for row, label in zip(test, test_labels, strict=True):
        cosines = train @ row / np.linalg.norm(train, axis=1) / np.linalg.norm(row)
        nearest = np.argsort(-cosines)[:neighbours]
        right += np.argmax(np.bincount(train_labels[nearest])) == label
    return right / len(test)


@pytest.mark.parametrize("neighbours", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_figure_is_that_of_brute_force(neighbours, dtype):
    rng = np.random.default_rng(neighbours)
    train_labels, test_labels = rng.integers(0, 3, 60), rng.integers(0, 3, 40)
    centres = rng.normal(size=(3, 6))
    # Lengths differ, so that distances would find other neighbours than angles do.
    train, test = (
        (centres[labels] + rng.normal(size=(len(labels), 6))) * rng.gamma(1, size=(len(labels), 1))
        for labels in (train_labels, test_labels)
    )
    arguments = train.astype(dtype), train_labels, test.astype(dtype), test_labels
    found = knn_accuracy(*arguments, neighbours=neighbours)
    assert isinstance(found, float)
    assert found == pytest.approx(brute_force(*arguments, neighbours))


@pytest.mark.parametrize("neighbours", [5, 6, 1000])
def test_more_neighbours_than_training_rows_are_all_of_them(neighbours):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(5, 3)), rng.normal(size=(8, 3))
    labels = np.array([0, 1, 1, 1, 0])  # the vote of all is 1
    found = knn_accuracy(train, labels, test, np.arange(8) // 6, neighbours=neighbours)
    assert found == pytest.approx(2 / 8)


def test_length_of_a_feature_does_not_matter():
    train = np.array([[1.0, 0.0], [0.0, 1000.0]])
    test = np.array([[1000.0, 1.0], [0.001, 0.01]])
    assert knn_accuracy(train, np.array([0, 1]), test, np.array([0, 1]), neighbours=1) == 1
