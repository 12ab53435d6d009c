"""Batches of rows of all and of rows whose labels count."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data import DataError

KEY = jax.random.key(0)
NAMES = ("a", "b", "c", "d")


def made(**changes):
    sizes = {"batch_size": 12, "labelled_batch": 4} | changes
    return data.partly_labelled(np.arange(100, 120, 2), 60, **sizes)


def test_both_kinds_lie_in_equal_runs_and_each_row_comes_once_in_a_pass():
    sampler = made()
    draw = jax.jit(data.draw)
    batches = np.stack([draw(sampler, KEY, step) for step in range(14)])
    assert data.labelled_run(12, 4) == (3, 1)
    runs = batches.reshape(14, 4, 3)
    every, labelled = runs[..., :2].reshape(14, 8), runs[..., 2]
    assert (every < 60).all()
    assert set(labelled.ravel()) <= set(range(100, 120, 2))
    assert data.steps_per_epoch(sampler) == 7  # of 8 rows, out of 60
    for epoch in (every[:7], every[7:]):
        assert len(np.unique(epoch)) == 56
    for start in range(0, 14, 2):  # 4 of 10 labelled rows, twice, then in a new order
        assert len(np.unique(labelled[start : start + 2])) == 8
    assert (every[:7] != every[7:]).any()


def test_a_batch_is_a_function_of_key_and_step():
    sampler = made()
    there = [np.asarray(data.draw(sampler, KEY, step)) for step in (5, 3)]
    np.testing.assert_array_equal(there[1], sampler(KEY, jnp.int32(3)))
    assert (there[0] != there[1]).any()
    assert (np.asarray(sampler(jax.random.key(1), 3)) != there[1]).any()


def test_labelled_rows_are_balanced_and_a_smaller_number_is_a_part_of_a_larger():
    labels = np.array([0, 1, 2, 3] * 10 + [0] * 7)
    options = {"class_names": NAMES, "seed": 3}
    few, more = (data.balanced_rows(labels, size, "size", **options) for size in (8, 20))
    assert np.bincount(labels[few]).tolist() == [2] * 4
    assert np.bincount(labels[more]).tolist() == [5] * 4
    assert set(few) < set(more)
    assert list(few) == sorted(few)
    np.testing.assert_array_equal(data.balanced_rows(labels, 0, "size", **options), np.arange(47))
    with pytest.raises(DataError, match="size=9 cannot be class-balanced over 4 classes"):
        data.balanced_rows(labels, 9, "size", **options)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labelled_batch": 0}, "labelled_batch must be 1 to 11, a part of the batch, got 0"),
        ({"labelled_batch": 12}, "labelled_batch must be 1 to 11, a part of the batch, got 12"),
        ({"labelled_batch": 11}, "labelled_batch must be at most the 10 labelled rows, got 11"),
    ],
)
def test_batches_that_cannot_be_are_refused(changes, said):
    with pytest.raises(DataError, match=said):
        made(**changes)
