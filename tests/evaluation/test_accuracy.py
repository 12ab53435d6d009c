"""Accuracy against loops."""

import re

import numpy as np
import pytest

from mcl_jax.evaluation import accuracy


@pytest.mark.parametrize("leading", [(), (1,), (3,), (2, 3)])
def test_accuracy_is_the_share_of_rows_whose_largest_logit_is_the_labels(leading):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(*leading, 17, 4)), rng.integers(0, 4, 17)
    found = accuracy(logits, labels)
    assert np.shape(found) == leading
    for place in np.ndindex(leading):
        right = 0
        for row, label in enumerate(labels):
            scores = list(logits[place][row])
            right += scores.index(max(scores)) == label
        np.testing.assert_allclose(found[place], right / 17)


@pytest.mark.parametrize(("shift", "share"), [(0, 1.0), (1, 0.0)])
def test_known_answers(shift, share):
    labels = np.arange(8) % 4
    assert accuracy(np.eye(4)[(labels + shift) % 4], labels) == share


@pytest.mark.parametrize(
    ("logits", "labels"), [((5, 3), (4,)), ((5, 3), (5, 1)), ((2, 5, 3), (2,)), ((5,), (5,))]
)
def test_there_is_one_label_a_row(logits, labels):
    message = f"must be [..., N, C] and labels [N], got shapes {logits} and {labels}."
    with pytest.raises(ValueError, match=re.escape(message)):
        accuracy(np.zeros(logits), np.zeros(labels, int))
