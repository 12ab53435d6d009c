"""Normalising against its formula."""

import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.views.normalization import normalize


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dtype", "rounding"), [(jnp.float32, 2e-6), (jnp.bfloat16, 2.0**-8)])
def test_normalize_is_its_formula(channels, dtype, rounding):
    images = np.arange(256 * channels).reshape(2, 16, 8, channels).astype(np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406])[:channels], np.array([0.229, 0.3, 1.7])[:channels]
    expected = (images.astype(np.float64) / 255 - mean) / std
    for given in (jnp.asarray(images), jnp.asarray(images) / 255):
        views = normalize(given, jnp.asarray(mean), jnp.asarray(std), dtype)
        assert views.dtype == dtype
        found = np.asarray(views, np.float64)
        np.testing.assert_allclose(found, expected, rtol=rounding, atol=1e-6)


def test_images_have_four_axes():
    message = r"images must have axes \[B, H, W, c\], got shape \(4, 4, 3\)\."
    with pytest.raises(ValueError, match=message):
        normalize(jnp.zeros((4, 4, 3), jnp.uint8), jnp.zeros(3), jnp.ones(3))
