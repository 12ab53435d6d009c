"""Linear probes and few labels against fits of other hands, and where answers are known."""

import jax
import numpy as np
import pytest
from known_answers import CLASSES, clusters
from sklearn.linear_model import LogisticRegression

from mcl_jax.evaluation import Labelled, Schedule, few_labels, few_rows, linear_probe, sgd_probe
from mcl_jax.evaluation.labelled import to_choose_on

TRAIN, VALIDATION, TEST = (clusters(rows, 2.0, seed) for seed, rows in enumerate((60, 30, 45)))
NOBODY = Labelled(np.zeros((0, 5), np.float32), np.zeros(0, np.int32))


def test_the_probe_is_the_best_of_separate_fits_on_standardised_features():
    mean, scale = TRAIN.features.mean(axis=0), TRAIN.features.std(axis=0)
    expected, probabilities = {}, {}
    for strength in (1.0, 0.1, 1e-3):
        fit = LogisticRegression(C=1 / (strength * 60), tol=1e-10, max_iter=5000)
        fit.fit((TRAIN.features - mean) / scale, TRAIN.labels)
        expected[strength] = fit.score((VALIDATION.features - mean) / scale, VALIDATION.labels)
        probabilities[strength] = fit.predict_proba((TEST.features - mean) / scale)
    found = linear_probe(
        TRAIN, VALIDATION, TEST.features, classes=CLASSES, strengths=(1e-3, 1.0, 0.1)
    )
    assert found.accuracy == pytest.approx(expected)
    assert found.chosen == max(expected, key=expected.get)
    np.testing.assert_allclose(found.probabilities, probabilities[found.chosen], atol=1e-4)


def test_few_components_of_features_that_vary_in_few_directions_are_as_good_as_all():
    directions = np.random.default_rng(0).normal(size=(5, 40))
    wide = [x._replace(features=x.features @ directions + 3) for x in (TRAIN, VALIDATION, TEST)]
    train, validation, test = wide
    expected = linear_probe(train, validation, test.features, classes=CLASSES)
    found = linear_probe(train, validation, test.features, classes=CLASSES, components=5)
    assert found.accuracy == expected.accuracy
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)
    fewer = linear_probe(train, validation, test.features, classes=CLASSES, components=1)
    assert np.abs(fewer.probabilities - expected.probabilities).max() > 0.1
    more = linear_probe(TRAIN, VALIDATION, TEST.features, classes=CLASSES, components=5)
    whole = linear_probe(TRAIN, VALIDATION, TEST.features, classes=CLASSES)
    np.testing.assert_array_equal(more.probabilities, whole.probabilities)


def test_no_components_are_refused():
    with pytest.raises(ValueError, match=r"components must be 1 or more, or None, got 0\."):
        linear_probe(TRAIN, VALIDATION, TEST.features, classes=CLASSES, components=0)


def test_scale_and_shift_of_features_do_not_matter_to_the_probe():
    changed = [x._replace(features=100 * x.features - 7) for x in (TRAIN, VALIDATION, TEST)]
    expected = linear_probe(TRAIN, VALIDATION, TEST.features, classes=CLASSES)
    found = linear_probe(*changed[:2], changed[2].features, classes=CLASSES)
    assert found.chosen == expected.chosen
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)


def test_without_validation_rows_a_fifth_of_each_class_is_chosen_on_and_all_are_learned_from():
    rest, apart = to_choose_on(TRAIN, NOBODY)
    assert np.bincount(apart.labels).tolist() == [4] * 3
    rows = {tuple(row) for row in np.concatenate([rest.features, apart.features])}
    assert rows == {tuple(row) for row in TRAIN.features}
    found = linear_probe(TRAIN, NOBODY, TEST.features, classes=CLASSES, strengths=(0.1,))
    all_rows = linear_probe(TRAIN, VALIDATION, TEST.features, classes=CLASSES, strengths=(0.1,))
    np.testing.assert_allclose(found.probabilities, all_rows.probabilities, atol=1e-3)
    one = Labelled(np.eye(3), np.arange(3))  # nothing to spare
    assert to_choose_on(one, NOBODY) == (one, one)


@pytest.mark.parametrize("probe", [linear_probe, sgd_probe])
def test_clear_features_give_1_and_classes_without_rows_get_nothing(probe):
    train, test = clusters(30, 0.1, 1), clusters(30, 0.1, 2)
    found = probe(train, test, test.features, classes=CLASSES + 1)
    assert np.mean(found.probabilities.argmax(axis=1) == test.labels) == 1
    assert found.probabilities.shape == (30, CLASSES + 1)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("probe", [linear_probe, sgd_probe])
def test_random_labels_are_answered_by_chance(probe):
    rng = np.random.default_rng(0)
    rows = [
        Labelled(rng.normal(size=(300, 4)).astype(np.float32), rng.integers(0, 3, 300))
        for _ in range(3)
    ]
    found = probe(*rows[:2], rows[2].features, classes=3)
    accuracy = np.mean(found.probabilities.argmax(axis=1) == rows[2].labels)
    assert accuracy == pytest.approx(1 / 3, abs=0.09)


def test_sgd_is_that_of_a_loop():
    """One batch an epoch: the order of its rows does not matter."""
    schedule, rate = Schedule(4, (2,), 0.5, 0.9, 60), 0.3
    found = sgd_probe(
        TRAIN, VALIDATION, TEST.features, classes=3, learning_rates=(rate,), schedule=schedule
    )
    key, _ = jax.random.split(jax.random.key(0))
    weights = 0.01 * np.asarray(jax.random.normal(key, (5, 3)), np.float64)
    bias, step = np.zeros(3), [np.zeros((5, 3)), np.zeros(3)]
    for epoch in range(4):
        logits = TRAIN.features @ weights + bias
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = p / p.sum(axis=1, keepdims=True) - np.eye(3)[TRAIN.labels]
        step[0] = 0.9 * step[0] + TRAIN.features.T @ error / 60
        step[1] = 0.9 * step[1] + error.mean(axis=0)
        factor = rate * (0.5 if epoch >= 2 else 1)
        weights, bias = weights - factor * step[0], bias - factor * step[1]
    p = np.exp(TEST.features @ weights + bias)
    np.testing.assert_allclose(found.probabilities, p / p.sum(axis=1, keepdims=True), atol=1e-4)


def test_a_rate_that_leaves_the_finite_numbers_is_not_taken():
    huge = [x._replace(features=1e19 * x.features) for x in (TRAIN, VALIDATION)]
    found = sgd_probe(*huge, TEST.features, classes=3, learning_rates=(1e25, 1e-20))
    assert found.accuracy[1e25] == 0
    assert found.chosen == 1e-20
    assert np.isfinite(found.probabilities).all()


@pytest.mark.parametrize(
    ("probe", "option", "name"),
    [(linear_probe, {"strengths": (0.0,)}, "strengths"), (sgd_probe, {"learning_rates": ()},
     "learning_rates")],
)  # fmt: skip
def test_nothing_to_try_is_refused(probe, option, name):
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        probe(TRAIN, VALIDATION, TEST.features, classes=3, **option)


def test_rows_of_few_labels_are_balanced_and_smaller_draws_are_parts_of_larger_ones():
    labels = np.random.default_rng(0).integers(0, 3, 60)
    draws = [few_rows(labels, count, classes=3, draw=4) for count in (1, 5)]
    assert [np.bincount(labels[rows]).tolist() for rows in draws] == [[1] * 3, [5] * 3]
    assert set(draws[0]) < set(draws[1])
    assert set(draws[1]) != set(few_rows(labels, 5, classes=3, draw=5))
    with pytest.raises(ValueError, match=r"per_class must be from 1 to \d+, the rows of the"):
        few_rows(labels, 60, classes=3, draw=0)


def test_few_labels_are_a_regression_on_unit_features():
    rows = TRAIN.take(few_rows(TRAIN.labels, 5, classes=3, draw=0))
    found = few_labels(rows, TEST.features, classes=3)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows.features, TEST.features)]
    expected = LogisticRegression(C=1, tol=1e-8).fit(unit[0], rows.labels).predict_proba(unit[1])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    scaled = few_labels(rows._replace(features=9 * rows.features), TEST.features, classes=3)
    np.testing.assert_allclose(found, scaled, atol=1e-5)
