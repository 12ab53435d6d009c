"""How streamed images come to be of one size."""

import numpy as np

from mcl_jax.training.feed import loader
from mcl_jax.views import Crop


def test_a_method_of_several_views_gets_a_crop_for_each():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)

    def made(crop):
        return loader(8, crop)(image, np.random.default_rng(1))

    wide, small = Crop(8, scale=(0.2, 1.0)), Crop(8, scale=(0.1, 0.3))
    both = made((wide, None, small))
    assert both.shape == (3, 8, 8, 3)
    assert np.array_equal(both[0], made(wide))
    assert np.array_equal(both[1], made(None))
    assert not np.array_equal(both[2], made(small))  # the draws of the first come before
