"""What colours alone tell of views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import meter
from mcl_jax.meter import Settings
from mcl_jax.meter.colours import histogram

KEY = jax.random.key(0)


def test_a_histogram_is_that_of_numpy():
    views = np.asarray(1.5 * jax.random.normal(KEY, (3, 6, 6, 3)))
    edges = [(-9, -1.2, -0.4, 0.4, 1.2, 9)] * 3
    # The last channel is the slowest of ours.
    wanted = [np.histogramdd(view.reshape(-1, 3)[:, ::-1], edges)[0].ravel() / 36 for view in views]
    np.testing.assert_allclose(histogram(jnp.asarray(views)), wanted, atol=1e-6)


def test_where_pixels_lie_is_nothing_to_a_histogram():
    views = jax.random.normal(KEY, (2, 4, 4, 2))
    turned = views[:, ::-1, ::-1].swapaxes(1, 2)
    assert np.array_equal(histogram(views), histogram(turned))


def test_colours_are_a_shortcut_where_views_share_them_and_nothing_else():
    def views(keys, rows):
        """Pixels of one tone in each row, in two orders: the tone is all that views share."""
        noise = jax.vmap(lambda key: jax.random.normal(key, (2, 8, 8, 1)))(keys)
        return tuple(rows[:, None, None, None] + 0.3 * noise[:, v] for v in (0, 1))

    tones = jax.random.normal(jax.random.key(1), (600,))
    settings = Settings(steps=60, batch_size=32, candidates=32, draws=1, width=4)
    train, held_out = tones[:500], tones[500:]
    reading = meter.measure(views, train, held_out, key=KEY, settings=settings)
    bare = meter.histograms(views, train, key=KEY)
    colours = meter.measure(bare, train, held_out, key=KEY, settings=settings)
    assert reading.bound > 1.0
    told = meter.shortcut(reading, colours)
    assert told is not None
    assert f"share {reading.bound:.2f} nats, and colours alone tell {colours.bound:.2f}:" in told


def test_how_a_colour_space_was_normalised_changes_nothing():
    def views(keys, rows):
        del keys
        return rows[:, None, None, :2] + jnp.zeros((1, 4, 4, 1)), rows[:, None, None, 2:]

    def narrow(keys, rows):
        return tuple(0.1 * view + 3 for view in views(keys, rows))

    rows, keys = jax.random.normal(KEY, (300, 4)), jax.random.split(KEY, 300)
    found = [meter.histograms(pair, rows, key=KEY)(keys, rows) for pair in (views, narrow)]
    for one, other in zip(*found, strict=True):
        assert np.mean(np.any(one != other, axis=1)) < 0.01  # but for a value on an edge
        assert np.mean(one, axis=0).max() < 0.4  # no bin has nearly everything


def test_views_of_more_channels_have_no_histogram():
    with pytest.raises(ValueError, match="at most three channels, got"):
        histogram(jnp.zeros((2, 4, 4, 4)))
