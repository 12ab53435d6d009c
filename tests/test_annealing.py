import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import annealing, regions

STEPS = np.array([0, 1, 7, 9, 10, 50, 89, 90, 99, 100, 101, 10_000_000], np.int32)


def linear(step: int) -> float:
    return 1.0 - 0.9 * min(step, 100) / 100


def by_tenths(step: int) -> float:
    return max(1.0 - 0.1 * (step // 10), 0.1)


def exponential(step: int) -> float:
    return 0.1 + 0.9 * math.exp(-0.1 * step)


CASES = {
    "constant": (annealing.constant(0.3), lambda step: 0.3),
    "linear": (annealing.linear(100), linear),
    "step": (annealing.step(100), by_tenths),
    "step, not a multiple": (annealing.step(109), by_tenths),
    "exponential": (annealing.exponential(), exponential),
    "linear, other way": (
        annealing.linear(10, start=0.2, end=0.7),
        lambda step: 0.2 + 0.05 * min(step, 10),
    ),
    "step, other levels": (
        annealing.step(100, start=0.5, end=0.2, levels=4),
        lambda step: 0.5 - 0.1 * min(step // 25, 3),
    ),
}


@pytest.mark.parametrize(("schedule", "expected"), CASES.values(), ids=CASES)
def test_schedules(schedule: annealing.Schedule, expected: Callable[[int], float]) -> None:
    values = jax.jit(jax.vmap(schedule))(STEPS)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, [expected(int(step)) for step in STEPS], rtol=1e-6)
    for step in (0, 57):
        plain = schedule(step)
        assert (plain.shape, plain.dtype) == ((), jnp.float32)
        np.testing.assert_allclose(plain, expected(step), rtol=1e-6)


@pytest.mark.parametrize("make", [annealing.linear, annealing.step])
def test_both_ends_are_met_exactly(make: Callable[..., annealing.Schedule]) -> None:
    schedule = make(100, start=0.7, end=0.3)
    assert schedule(0) == jnp.float32(0.7)
    assert schedule(100) == schedule(12345) == jnp.float32(0.3)


def test_a_schedule_anneals_a_region_in_one_program() -> None:
    traces = []

    @jax.jit
    def sizes(step: jax.Array) -> jax.Array:
        traces.append(step)
        return regions.ball(jnp.arange(50.0), annealing.step(100)(step)).sum()

    assert [int(sizes(step)) for step in (0, 10, 50, 95, 1000)] == [50, 45, 25, 5, 5]
    assert len(traces) == 1


def follow(readings: list[float], window: int, sign: float, delta: float) -> list[float]:
    """The fractions of the authors' rule, with a list."""
    kept: list[float] = []
    fraction, fractions = 1.0, []
    for reading in readings:
        if kept:
            better = sign * reading < sign * sum(kept) / len(kept)
            fraction = min(max(fraction + (-delta if better else delta), 0.1), 1.0)
        kept = [*kept, reading][-window:]
        fractions.append(fraction)
    return fractions


@pytest.mark.parametrize("window", [1, 3, 10])
@pytest.mark.parametrize("higher_is_better", [False, True])
def test_adaptive_follows_the_newest_readings(window: int, higher_is_better: bool) -> None:
    falling = np.linspace(3, 0, 60) + np.random.default_rng(0).normal(size=60) * 0.3
    readings = np.concatenate([falling, falling[::-1]]).astype(np.float32)

    def update(state: annealing.Adaptive, reading: jax.Array) -> Any:
        state = annealing.update_adaptive(
            state, reading, delta=0.05, higher_is_better=higher_is_better
        )
        return state, state.fraction

    last, fractions = jax.lax.scan(update, annealing.init_adaptive(window), readings)
    expected = follow([float(x) for x in readings], window, -1 if higher_is_better else 1, 0.05)
    np.testing.assert_allclose(fractions, expected, atol=1e-5)
    assert len({round(x, 2) for x in expected}) > 5
    assert last.taken == 120
    np.testing.assert_array_equal(np.sort(last.readings), np.sort(readings[-window:]))


def test_the_first_reading_changes_nothing() -> None:
    state = annealing.update_adaptive(annealing.init_adaptive(3, start=0.5), -7.0)
    assert (state.fraction, state.taken) == (0.5, 1)
    np.testing.assert_array_equal(state.readings, [-7, 0, 0])


@pytest.mark.parametrize("reading", [math.nan, math.inf, -math.inf])
def test_readings_that_are_not_finite_are_forgotten(reading: float) -> None:
    state = annealing.init_adaptive(3, start=0.5)
    for loss in (3.0, 2.0, 1.0, 4.0):
        state = annealing.update_adaptive(state, loss)
    jax.tree.map(np.testing.assert_array_equal, annealing.update_adaptive(state, reading), state)


def test_the_fraction_stays_between_low_and_high() -> None:
    state = annealing.init_adaptive(2, start=0.5)
    for reading, expected in ((1.0, 0.5), (2.0, 0.6), (3.0, 0.6), (0.0, 0.4), (-1.0, 0.4)):
        state = annealing.update_adaptive(state, reading, delta=0.3, low=0.4, high=0.6)
        np.testing.assert_allclose(state.fraction, expected, rtol=1e-6)


STATE = annealing.init_adaptive(2)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda: annealing.constant(0.0), "fraction must be in (0, 1], got 0.0."),
        (lambda: annealing.linear(0), "steps must be at least 1, got 0."),
        (lambda: annealing.linear(5, start=1.1), "start must be in (0, 1], got 1.1."),
        (lambda: annealing.linear(5, end=math.nan), "end must be in (0, 1], got nan."),
        (lambda: annealing.step(9), "steps must be at least 10, got 9."),
        (lambda: annealing.step(9, levels=1), "levels must be 2 or more, got 1."),
        (lambda: annealing.step(20, end=-0.1), "end must be in (0, 1], got -0.1."),
        (lambda: annealing.exponential(rate=0.0), "rate must be above 0, got 0.0."),
        (lambda: annealing.exponential(start=0), "start must be in (0, 1], got 0."),
        (lambda: annealing.init_adaptive(0), "window must be at least 1, got 0."),
        (lambda: annealing.init_adaptive(1, start=2.0), "start must be in (0, 1], got 2.0."),
        (
            lambda: annealing.update_adaptive(STATE, jnp.ones(2)),
            "reading must be a scalar, got shape (2,).",
        ),
        (
            lambda: annealing.update_adaptive(STATE, 1.0, delta=0.0),
            "delta must be above 0, got 0.0.",
        ),
        (
            lambda: annealing.update_adaptive(STATE, 1.0, low=0.5, high=0.4),
            "low and high must be 0 < low <= high <= 1, got 0.5 and 0.4.",
        ),
    ],
)
def test_refuses(f: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        f()
