"""Calibration against a loop over bins."""

import numpy as np
import pytest

from mcl_jax.evaluation import expected_calibration_error


def test_the_error_is_that_of_a_loop_over_bins():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    error = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = expected_calibration_error(probabilities, labels)
    assert found == pytest.approx(error)
    order = rng.permutation(200)
    assert expected_calibration_error(probabilities[order], labels[order]) == pytest.approx(found)


def test_certainty_that_is_right_has_no_error_and_one_that_is_wrong_has_all():
    sure = np.eye(3)
    assert expected_calibration_error(sure, np.arange(3)) == 0
    assert expected_calibration_error(sure, (np.arange(3) + 1) % 3) == 1
    assert expected_calibration_error(np.full((4, 4), 0.25), np.arange(4)) == pytest.approx(0)


@pytest.mark.parametrize(("rows", "labels", "bins"), [(2, 3, 15), (0, 0, 15), (3, 3, 0)])
def test_what_cannot_be_binned_is_refused(rows, labels, bins):
    with pytest.raises(ValueError, match="probabilities must be"):
        expected_calibration_error(np.eye(3)[:rows], np.arange(labels), bins=bins)
