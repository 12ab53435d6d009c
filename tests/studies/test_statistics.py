"""Intervals against SciPy's, and pairs by seed."""

import re

import numpy as np
import pytest
from scipy import stats

from mcl_jax.studies.statistics import Interval, paired, student


@pytest.mark.parametrize("count", [2, 5, 30])
@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_the_interval_is_students(count, confidence):
    values = np.random.default_rng(count).normal(3, 2, count)
    found = student(values.tolist(), confidence)
    low, high = stats.t.interval(confidence, count - 1, values.mean(), stats.sem(values))
    assert np.allclose(found, [values.mean(), values.std(ddof=1), low, high, count])


def test_nineteen_of_twenty_intervals_hold_the_mean():
    draws = np.random.default_rng(0).normal(1, 1, (2000, 4))
    held = [x.low < 1 < x.high for x in (student(row.tolist()) for row in draws)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_one_value_has_no_interval():
    assert student([0.5]) == Interval(0.5, None, None, None, 1)


def test_differences_are_of_the_seeds_that_both_have():
    interval, differences = paired({1: 0.4, 2: 0.6, 7: 1.0}, {2: 0.5, 1: 0.5, 3: 0.0})
    assert differences == pytest.approx({1: -0.1, 2: 0.1})
    assert interval == student([0.4 - 0.5, 0.6 - 0.5])
    # What seeds have in common is no part of the differences' spread.
    seeds = dict(enumerate(np.random.default_rng(1).normal(size=8)))
    assert paired({s: x + 0.1 for s, x in seeds.items()}, seeds)[0].deviation < 1e-12
    assert paired({1: 0.4}, {2: 0.5}) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "values must be one number or more, got none."),
        (([1.0], 1.0), "confidence must be between 0 and 1, got 1.0."),
    ],
)
def test_what_has_no_interval_is_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        student(*arguments)
