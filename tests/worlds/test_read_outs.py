"""Linear read-outs are scikit-learn's, and NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LogisticRegression

from mcl_jax.worlds import read_classes, read_positions

RNG = np.random.default_rng(0)
FITTED = RNG.normal(size=(300, 6)) * [1, 10, 0.1, 1, 1, 0] + 5  # the last one is constant
JUDGED = RNG.normal(size=(200, 6)) * [1, 10, 0.1, 1, 1, 0] + 5
SCALE = np.array([1, 10, 0.1, 1, 1, 1])
LABELS = (((FITTED - 5) / SCALE) @ RNG.normal(size=(6, 3)) + RNG.normal(size=(300, 3))).argmax(1)


def standardised(x):
    scale = FITTED.std(0)
    return ((x - FITTED.mean(0)) / np.where(scale > 0, scale, 1))[:, :5]


def test_classes_are_softmax_regressions():
    read = jax.jit(read_classes, static_argnames="classes")
    answers = read(*map(jnp.asarray, (FITTED, LABELS, JUDGED)), classes=3)
    model = LogisticRegression(C=1 / (0.001 * len(FITTED)), max_iter=1000, tol=1e-8)
    expected = model.fit(standardised(FITTED), LABELS).predict(standardised(JUDGED))
    assert np.mean(answers == expected) > 0.99


def test_positions_are_a_ridge_regressions():
    positions = RNG.normal(size=(300, 2)) + FITTED[:, :2]
    x, mean = standardised(FITTED), positions.mean(0)
    weights = np.linalg.solve(x.T @ x / 300 + 0.001 * np.eye(5), x.T @ (positions - mean) / 300)
    expected = standardised(JUDGED) @ weights + mean
    answers = jax.jit(read_positions)(*map(jnp.asarray, (FITTED, positions, JUDGED)))
    np.testing.assert_allclose(answers, expected, atol=1e-3)


def test_features_that_say_nothing_give_the_most_frequent_class_and_the_mean():
    nothing = jnp.zeros((6, 4))
    labels = jnp.array([0, 2, 2, 1, 2, 0])
    assert read_classes(nothing, labels, jnp.ones((2, 4)), classes=3).tolist() == [2, 2]
    places = jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(read_positions(nothing, places, nothing[:1]), [[5, 6]], rtol=1e-6)
