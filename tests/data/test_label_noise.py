import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data.label_noise import symmetric

LABELS = np.random.default_rng(0).integers(0, 5, 20_000).astype(np.int32)


def noisy(share, seed=0):
    return symmetric(LABELS, share, num_classes=5, seed=seed)


@pytest.mark.parametrize("share", [0, 0.1, 0.33, 0.999])
def test_exactly_the_share_is_wrong(share):
    held = noisy(share)
    assert np.count_nonzero(held != LABELS) == round(share * len(LABELS))
    assert held.dtype == np.int32
    assert set(np.unique(held)) <= set(range(5))


def test_every_other_class_is_as_likely_from_every_class():
    held = noisy(0.5)
    counts = np.zeros([5, 5])
    np.add.at(counts, (LABELS, held), 1)
    flipped = counts[~np.eye(5, dtype=bool)]
    expected = len(LABELS) * 0.5 / 20
    assert np.abs(flipped - expected).max() < 5 * np.sqrt(expected)


def test_seeds_decide_and_smaller_shares_are_parts_of_larger_ones():
    small, large = noisy(0.1), noisy(0.4)
    wrong = small != LABELS
    np.testing.assert_array_equal(small[wrong], large[wrong])
    np.testing.assert_array_equal(noisy(0.1), small)
    assert (noisy(0.1, seed=1) != small).any()


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan"), True, "0.1", None])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(data.DataError, match="label_noise must be a share from 0 to below 1, got"):
        noisy(share)
