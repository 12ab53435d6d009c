"""The meter: bounds where the truth is known, what it may not exceed, and wrong inputs."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import meter
from mcl_jax.meter import Settings
from mcl_jax.meter.measure import _fit, _read

KEY = jax.random.key(3)
SMALL = Settings(steps=150, batch_size=64, candidates=64, draws=1)
ROWS, HELD_OUT = 2000, 1024


def correlated(rho, dims=2):
    """Rows of two vectors, coordinates of which correlate: I = -d/2 log(1 - rho^2)."""
    x, y = jax.random.normal(jax.random.key(0), (2, ROWS + HELD_OUT, dims))
    rows = jnp.concatenate([x, rho * x + math.sqrt(1 - rho**2) * y], axis=1)
    return rows[:ROWS], rows[ROWS:]


def halves(keys, rows):
    del keys
    return jnp.split(rows, 2, axis=1)


@pytest.fixture(scope="module")
def readings():
    """Readings by the correlation of two pairs of numbers."""
    rhos = (0.0, 0.5, 0.8, 0.95)
    return {x: meter.measure(halves, *correlated(x), key=KEY, settings=SMALL) for x in rhos}


def test_it_reads_what_correlated_gaussians_share(readings):
    for rho, reading in readings.items():
        truth = -math.log(1 - rho**2)
        for bound in (reading.info_nce, reading.donsker_varadhan, reading.nwj):
            # Below the truth by what the critic misses, above it by the noise of 1024 rows.
            assert all(0.75 * truth - 0.15 < x < truth + 0.15 for x in bound), (rho, bound)


def test_independent_views_share_nothing_and_more_correlation_is_more(readings):
    bounds = [reading.bound for reading in readings.values()]
    assert abs(bounds[0]) < 0.1
    assert all(more > less + 0.1 for less, more in itertools.pairwise(bounds))


def test_no_reading_exceeds_log_k_and_equal_views_come_near():
    def same(keys, rows):
        return rows, rows

    settings = SMALL._replace(candidates=16, batch_size=32)
    reading = meter.measure(same, *correlated(0.0), key=KEY, settings=settings)
    assert reading.most == math.log(16)
    assert 0.9 * reading.most < reading.bound <= reading.most
    assert reading.rows == HELD_OUT
    # The others are of the same critic, and may read more than it was shown at a time.
    assert min(reading.nwj) > reading.most


def test_a_reading_is_of_its_key_and_the_views_are_too():
    train, held_out = correlated(0.8)
    settings = SMALL._replace(steps=5)
    one, again, other = (
        meter.measure(halves, train, held_out, key=jax.random.key(seed), settings=settings)
        for seed in (0, 0, 1)
    )
    assert one == again
    assert one.info_nce != other.info_nce


def test_turning_the_pair_round_turns_the_directions_round():
    def turned(keys, rows):
        first, second = halves(keys, rows)
        return second, first

    train, held_out = correlated(0.9)
    settings = SMALL._replace(steps=200)
    there = meter.measure(halves, train, held_out, key=KEY, settings=settings)
    back = meter.measure(turned, train, held_out, key=KEY, settings=settings)
    np.testing.assert_allclose(there.info_nce, back.info_nce[::-1], atol=0.1)


def test_views_may_be_images_of_different_channels():
    def channels(keys, rows):
        del keys
        return rows[..., :1] / 255.0, rows[..., 1:] / 255.0

    images = jax.random.randint(KEY, (40, 8, 8, 3), 0, 256).astype(jnp.uint8)
    settings = Settings(steps=2, batch_size=8, candidates=8, draws=2, width=4)
    reading = meter.measure(channels, images[:20], images[20:], key=KEY, settings=settings)
    assert (reading.rows, reading.draws, reading.steps) == (16, 2, 2)
    assert all(math.isfinite(x) for x in (*reading.info_nce, *reading.nwj))


def test_nothing_is_compiled_anew_for_other_views_of_the_same_shape():
    def scaled(by):
        return lambda keys, rows: tuple(by * x for x in halves(keys, rows))

    train, held_out = correlated(0.5)
    settings = SMALL._replace(steps=2, batch_size=16)
    meter.measure(scaled(1.0), train, held_out, key=KEY, settings=settings)
    before = _fit._cache_size(), _read._cache_size()
    meter.measure(scaled(3.0), train, held_out, key=KEY, settings=settings)
    assert (_fit._cache_size(), _read._cache_size()) == before


def test_the_number_never_stands_without_k_and_the_critic(readings):
    reading = readings[0.8]
    words = reading.words()
    assert f"{reading.bound:.2f} nats" in words
    assert "log 64 = 4.16" in words
    assert f"{reading.parameters:,} parameters" in words
    assert "150 steps of 64 rows" in words
    found = reading.as_dict()
    assert found["bound"] == reading.bound
    assert found["most"] == reading.most
    assert found["info_nce"] == list(reading.info_nce)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0."),
        ({"draws": 0}, "draws must be at least 1, got 0."),
        ({"candidates": 1}, "candidates must be at least 2, got 1."),
        ({"batch_size": 4000}, "train must have the 4000 rows of batch_size, got 2000."),
        ({"candidates": 4000}, "held_out must have the 4000 rows of candidates, got 1024."),
    ],
)
def test_what_cannot_be_measured_is_told(changes, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        meter.measure(halves, *correlated(0.5), key=KEY, settings=SMALL._replace(**changes))
