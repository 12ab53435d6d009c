"""How the outer fraction of a region changes while training goes on.

Conditional Negative Sampling, arXiv 2010.02037: the region starts as all keys and shrinks. A
schedule is a function of the step that gives a float32 scalar, inside ``jit`` too; `Adaptive`
follows a loss or an accuracy and needs a state. The inner fraction, one of the outer region, stays.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Schedule = Callable[[int | jax.Array], jax.Array]


def constant(fraction: float) -> Schedule:
    """The same fraction at every step.

    Args:
        fraction: in (0, 1].

    Returns:
        A function of the step, an integer scalar; float32 [].

    Raises:
        ValueError: ``fraction`` is not in (0, 1].

    Example:
        >>> round(float(constant(0.1)(500)), 4)
        0.1
    """
    _check_fractions(fraction=fraction)
    return lambda step: jnp.float32(fraction)


def linear(steps: int, *, start: float = 1.0, end: float = 0.1) -> Schedule:
    """A straight way from one fraction to the other.

    Computes ``start + (end - start) min(step / steps, 1)``.

    Args:
        steps: the step at which ``end`` is reached.
        start: fraction of step 0, in (0, 1].
        end: fraction from ``steps`` on, in (0, 1].

    Returns:
        A function of the step, an integer scalar; float32 [].

    Raises:
        ValueError: ``steps`` is below 1; a fraction is not in (0, 1].

    Example:
        >>> schedule = linear(100)
        >>> [round(float(schedule(step)), 4) for step in (0, 50, 100, 200)]
        [1.0, 0.55, 0.1, 0.1]
    """
    _check_steps(steps, 1)
    _check_fractions(start=start, end=end)
    return lambda step: _between(start, end, jnp.clip(step, 0, steps) / steps)


def step(steps: int, *, start: float = 1.0, end: float = 0.1, levels: int = 10) -> Schedule:
    """Equal stairs from one fraction to the other, each for the same number of steps.

    Computes ``start + (end - start) min(step // (steps // levels), levels - 1) / (levels - 1)``:
    1.0, 0.9, ... 0.1 as it stands.

    Args:
        steps: how many the levels last together.
        start: fraction of the first level, in (0, 1].
        end: fraction of the last level, which stays, in (0, 1].
        levels: how many, 2 or more.

    Returns:
        A function of the step, an integer scalar; float32 [].

    Raises:
        ValueError: ``levels`` is below 2 or ``steps`` below ``levels``; a fraction is not in
            (0, 1].

    Example:
        >>> schedule = step(100)
        >>> [round(float(schedule(step)), 4) for step in (0, 9, 10, 89, 90, 200)]
        [1.0, 1.0, 0.9, 0.2, 0.1, 0.1]
    """
    if levels < 2:
        raise ValueError(f"levels must be 2 or more, got {levels}.")
    _check_steps(steps, levels)
    _check_fractions(start=start, end=end)
    last = levels - 1
    return lambda step: _between(
        start, end, jnp.clip(step // (steps // levels), 0, last) / jnp.float32(last)
    )


def exponential(*, rate: float = 0.1, start: float = 1.0, end: float = 0.1) -> Schedule:
    """A fraction that falls fast and then ever slower.

    Computes ``end + (start - end) exp(-rate step)``.

    Args:
        rate: share of the way left that a step goes, about; above 0.
        start: fraction of step 0, in (0, 1].
        end: fraction that is approached, in (0, 1].

    Returns:
        A function of the step, an integer scalar; float32 [].

    Raises:
        ValueError: ``rate`` is not above 0; a fraction is not in (0, 1].

    Example:
        >>> schedule = exponential(rate=0.1)
        >>> [round(float(schedule(step)), 4) for step in (0, 10, 1000)]
        [1.0, 0.4311, 0.1]

    The authors' rate of 0.1 is one of steps: it ends the annealing after some 45 of them. In their
    code the name of the option differs from the configuration's, so that the fraction stays as
    it is.
    """
    if not rate > 0:
        raise ValueError(f"rate must be above 0, got {rate}.")
    _check_fractions(start=start, end=end)
    return lambda step: _between(end, start, jnp.exp(-rate * jnp.maximum(step, 0)))


class Adaptive(NamedTuple):
    """An outer fraction that follows what training reads.

    Attributes:
        readings: [w], float32, the newest readings, in a ring.
        taken: [], int32, how many were ever taken.
        fraction: [], float32.
    """

    readings: jax.Array
    taken: jax.Array
    fraction: jax.Array


def init_adaptive(window: int, *, start: float = 1.0) -> Adaptive:
    """A state without readings.

    Args:
        window: w, how many readings are remembered; the authors' is 10 for losses, 5 for
            accuracies.
        start: the first fraction, in (0, 1].

    Returns:
        Adaptive of readings [w].

    Raises:
        ValueError: ``window`` is below 1, or ``start`` not in (0, 1].

    Example:
        >>> init_adaptive(10).readings.shape
        (10,)
    """
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}.")
    _check_fractions(start=start)
    return Adaptive(jnp.zeros(window, jnp.float32), jnp.int32(0), jnp.float32(start))


def update_adaptive(
    state: Adaptive,
    reading: float | jax.Array,
    *,
    delta: float = 0.01,
    low: float = 0.1,
    high: float = 1.0,
    higher_is_better: bool = False,
) -> Adaptive:
    """Shrinks the fraction where a reading is better than the mean of those before, else widens it.

    Computes ``fraction - delta`` where ``reading < mean(readings)``, else ``fraction + delta``,
    clipped to [low, high]. The first reading changes nothing, for want of a mean; one that is not
    finite changes nothing and is not remembered.

    Args:
        state: Adaptive of readings [w].
        reading: a scalar: a loss, or an accuracy.
        delta: the change, above 0; the authors' is 0.01 for losses, 0.05 for accuracies.
        low: the smallest fraction, above 0.
        high: the largest fraction, at most 1.
        higher_is_better: whether readings are accuracies.

    Returns:
        Adaptive with the reading remembered and the fraction changed.

    Raises:
        ValueError: ``reading`` is not a scalar; ``delta`` is not above 0; not
            ``0 < low <= high <= 1``.

    Example:
        >>> state = init_adaptive(10)
        >>> for loss in (3.0, 2.0, 2.4, 4.0):
        ...     state = update_adaptive(state, loss)
        ...     print(round(float(state.fraction), 2))
        1.0
        0.99
        0.98
        0.99

    The authors take the mean of an empty list first, which is NaN and changes nothing either.
    """
    if jnp.ndim(reading) != 0:
        raise ValueError(f"reading must be a scalar, got shape {jnp.shape(reading)}.")
    if not delta > 0:
        raise ValueError(f"delta must be above 0, got {delta}.")
    if not 0 < low <= high <= 1:
        raise ValueError(f"low and high must be 0 < low <= high <= 1, got {low} and {high}.")
    window = state.readings.shape[0]
    value = jnp.asarray(reading, jnp.float32)
    remembered = jnp.clip(state.taken, 1, window)
    mean = jnp.sum(state.readings) / remembered  # places not yet taken hold 0
    better = value > mean if higher_is_better else value < mean
    moved = jnp.clip(state.fraction + jnp.where(better, -delta, delta), low, high)
    finite = jnp.isfinite(value)
    place = jnp.where(finite, state.taken % window, window)  # one past the end is dropped
    return Adaptive(
        state.readings.at[place].set(value, mode="drop"),
        state.taken + finite,
        jnp.where(finite & (state.taken > 0), moved, state.fraction),
    )


def _between(start: float, end: float, part: jax.Array) -> jax.Array:
    """Exactly ``start`` at a part of 0, exactly ``end`` at 1."""
    part = part.astype(jnp.float32)
    return (1 - part) * start + part * end


def _check_steps(steps: int, least: int) -> None:
    if steps < least:
        raise ValueError(f"steps must be at least {least}, got {steps}.")


def _check_fractions(**fractions: float) -> None:
    for name, fraction in fractions.items():
        if not 0 < fraction <= 1:
            raise ValueError(f"{name} must be in (0, 1], got {fraction}.")
