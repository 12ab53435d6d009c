"""Retrieval figures against a loop over queries."""

import numpy as np
import pytest

from mcl_jax.evaluation import retrieval


def loop(features, labels):
    """From the definitions, query by query."""
    figures = []
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for i in range(len(labels)):
        others = [j for j in np.argsort(-unit @ unit[i], kind="stable") if j != i]
        right = [labels[j] == labels[i] for j in others]
        count = sum(right)
        if not count:
            continue
        average = sum(right[k] * sum(right[: k + 1]) / (k + 1) for k in range(count)) / count
        figures.append((right[0], sum(right[:count]) / count, average))
    return np.mean(figures, axis=0)


def test_the_figures_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 40)
    labels[:2] = [8, 9]  # alone in their classes
    features = np.eye(10)[labels] + rng.normal(size=(40, 10))
    found = retrieval(features, labels)
    np.testing.assert_allclose(found, loop(features, labels), atol=1e-12)
    order = rng.permutation(40)
    np.testing.assert_allclose(retrieval(features[order], 7 * labels[order]), found)


def test_perfect_features_give_1_and_features_of_nothing_about_chance():
    labels = np.arange(300) % 3
    assert retrieval(np.eye(3)[labels], labels) == (1, 1, 1)
    chance = retrieval(np.random.default_rng(0).normal(size=(300, 8)), labels)
    assert chance.precision_at_1 == pytest.approx(1 / 3, abs=0.1)
    assert chance.r_precision == pytest.approx(1 / 3, abs=0.03)
    assert chance.map_at_r < chance.r_precision


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0, 1], "labels must be one for each row"), ([0, 1, 2], "a class of two rows or more")],
)
def test_rows_that_nothing_can_be_asked_of_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        retrieval(np.eye(3), labels)
