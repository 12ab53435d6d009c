"""The nearest-neighbour figures against brute force."""

import numpy as np
import pytest

from mcl_jax.evaluation import knn_accuracy, knn_votes


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


def random_rows(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 4)), rng.integers(0, 3, rows)


def test_votes_are_those_of_a_loop():
    (train, labels), (test, _) = random_rows(31, 0), random_rows(7, 1)
    found = knn_votes(train, labels, test, classes=4, neighbours=(1, 5, 31), temperature=0.2)
    for k, shares in zip((1, 5, 31), found, strict=True):
        for row, share in zip(test, shares, strict=True):
            cosines = train @ row / np.linalg.norm(train, axis=1) / np.linalg.norm(row)
            votes = np.zeros(4)
            for i in np.argsort(-cosines)[:k]:
                votes[labels[i]] += np.exp(cosines[i] / 0.2)
            np.testing.assert_allclose(share, votes / votes.sum(), atol=1e-5)


def test_votes_do_not_depend_on_the_order_of_rows_or_their_length():
    (train, labels), (test, _) = random_rows(31, 0), random_rows(7, 1)
    order = np.random.default_rng(2).permutation(31)
    found = knn_votes(train, labels, test, classes=3)
    moved = knn_votes(5 * train[order], labels[order], test[::-1], classes=3)
    np.testing.assert_allclose(found, moved[:, ::-1], atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
    of_all = knn_votes(train, labels, test, classes=3, neighbours=(31,))[0]
    np.testing.assert_array_equal(found[2], of_all)  # there are not 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": [0]}, "train_labels must be one for each row of train"),
        ({"train_labels": [0, 3]}, "train_labels must be from 0 to 1, got 0 to 3"),
        ({"neighbours": (0,)}, r"must be above 0, got \(0,\) and 0.07"),
        ({"temperature": 0.0}, "must be above 0, got .* and 0.0"),
    ],
)
def test_votes_that_cannot_be_counted_are_refused(changes, message):
    arguments = {"train": np.eye(2), "train_labels": [0, 1], "test": np.eye(2), "classes": 2}
    with pytest.raises(ValueError, match=message):
        knn_votes(**arguments | changes)
