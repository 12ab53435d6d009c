import sys

import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data import digits


def test_digits_fill_the_range_of_a_byte_and_a_fifth_is_test():
    source = digits.load()
    everything = np.concatenate([source.train.images, source.test.images])
    assert everything.shape == (1797, 8, 8, 1)
    assert (everything.min(), everything.max()) == (0, 255)
    share = np.bincount(source.test.labels) / np.bincount(
        np.concatenate([source.train.labels, source.test.labels])
    )
    assert (abs(share - 0.2) < 0.01).all()
    np.testing.assert_array_equal(digits.load().test.images, source.test.images)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(data.DataError, match="pip install scikit-learn"):
        digits.load()
