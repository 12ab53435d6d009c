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
    colours = meter.measure(meter.histograms(views), train, held_out, key=KEY, settings=settings)
    assert reading.bound > 1.0
    told = meter.shortcut(reading, colours)
    assert told is not None
    assert f"{colours.bound:.2f} of the {reading.bound:.2f} nats" in told


def test_views_of_more_channels_have_no_histogram():
    with pytest.raises(ValueError, match="at most three channels, got"):
        histogram(jnp.zeros((2, 4, 4, 4)))
