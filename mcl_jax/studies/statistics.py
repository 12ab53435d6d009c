"""Means and paired differences with Student's intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and how well it is known.

    Attributes:
        mean: of the values.
        deviation: standard deviation of the values; None of one value.
        low: end of the interval of the mean; None of one value.
        high: its other end.
        number: of the values.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    number: int


def student(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of values with Student's interval.

        mean +- t s / sqrt(n),   s^2 = sum (x - mean)^2 / (n - 1),   t of n - 1 degrees of freedom

    Args:
        values: n numbers, one or more, of independent draws.
        confidence: probability that such intervals hold the mean of normal values.

    Returns:
        The interval; its width is not known of one value.

    Raises:
        ValueError: there is no value, or ``confidence`` is not between 0 and 1.

    Example:
        >>> interval = student([1.0, 2.0, 3.0])
        >>> interval.mean, interval.deviation, round(interval.low, 3), round(interval.high, 3)
        (2.0, 1.0, -0.484, 4.484)
    """
    if not len(values):
        raise ValueError("values must be one number or more, got none.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}.")
    x = np.asarray(values, np.float64)
    mean, count = float(x.mean()), len(x)
    if count == 1:
        return Interval(mean, None, None, None, 1)
    from scipy import stats

    deviation = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * deviation / count**0.5
    return Interval(mean, deviation, mean - half, mean + half, count)


def paired(
    values: Mapping[int, float], reference: Mapping[int, float]
) -> tuple[Interval, dict[int, float]] | None:
    """Differences of what the same seeds gave in two arms.

    Args:
        values: of an arm, by seed.
        reference: of the arm that it is compared with.

    Returns:
        The interval of ``values - reference`` over the seeds that both have, and the difference of
        each of these; None where they have none.

    Example:
        >>> interval, differences = paired({0: 0.5, 1: 0.75, 2: 1.0}, {1: 0.5, 0: 0.25})
        >>> interval.mean, interval.number, differences
        (0.25, 2, {0: 0.25, 1: 0.25})
    """
    differences = {seed: values[seed] - reference[seed] for seed in values if seed in reference}
    if not differences:
        return None
    return student(list(differences.values())), differences
