"""Convolution that starts as PyTorch's default."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from mcl_jax.models.blocks import Layers
from mcl_jax.models.uniform_convolution import uniform_convolution


class Net(nn.Module):
    """One convolution, either way of starting."""

    settings: dict
    uniform: bool = True

    @nn.compact
    def __call__(self, x):
        layers = Layers()
        if self.uniform:
            return uniform_convolution(x, 32, layers=layers, name="conv", **self.settings)
        return layers.conv(32, name="conv", **self.settings)(x)


@pytest.mark.parametrize(
    ("settings", "fan_in"),
    [
        ({"size": 1, "stride": 2}, 64),
        ({"size": 3, "dilation": 2, "groups": 32}, 18),
    ],
)
def test_as_layers_convolve_but_for_the_start(settings, fan_in):
    images = np.random.default_rng(0).normal(size=(2, 6, 5, 64)).astype(np.float32)
    out, variables = Net(settings).init_with_output(jax.random.key(0), images)
    np.testing.assert_array_equal(out, Net(settings, uniform=False).apply(variables, images))
    kernel, bound = np.abs(variables["params"]["conv"]["kernel"]), fan_in**-0.5
    assert 0.98 * bound < kernel.max() <= bound
    np.testing.assert_allclose(kernel.mean(), bound / 2, rtol=0.1)
