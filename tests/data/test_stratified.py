import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data import stratified

NAMES = ("a", "b", "c")


def numbered(counts: tuple[int, ...]) -> data.Split:
    """A split whose images hold their row number."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return data.Split(labels.astype(np.int32), images=images)


def cut(split, first, second, seed=0):
    return stratified.cut(
        split, first, second, names=("validation_size", "train_size"), class_names=NAMES, seed=seed
    )


def rows(split: data.Split) -> set[int]:
    return set(split.images.ravel().tolist())


def test_cuts_are_balanced_disjoint_and_deterministic():
    split = numbered((10, 12, 15))
    first, second = cut(split, 6, 9)
    np.testing.assert_array_equal(np.bincount(first.labels), [2, 2, 2])
    np.testing.assert_array_equal(np.bincount(second.labels), [3, 3, 3])
    assert not rows(first) & rows(second)
    np.testing.assert_array_equal(cut(split, 6, 9)[1].images, second.images)
    assert rows(cut(split, 6, 9, seed=1)[0]) != rows(first)


def test_the_first_cut_ignores_the_second_and_small_cuts_are_parts_of_large_ones():
    split = numbered((10, 12, 15))
    first, rest = cut(split, 6, None)
    assert len(rest) == 31
    small, large = cut(split, 6, 3), cut(split, 6, 24)
    assert rows(small[0]) == rows(large[0]) == rows(first)
    assert rows(small[1]) < rows(large[1]) < rows(rest)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (7, None, r"validation_size=7 cannot .* over 3 classes; the nearest size that works is 6"),
        (1, None, "validation_size=1 cannot .* nearest size that works is 3"),
        (33, None, "class 'a' has only 10 rows; the nearest size that works is 30"),
        (38, None, "validation_size must be at most 30, .* got 38 of 37 rows"),
        (9, 10, "train_size=10 cannot .* nearest size that works is 9"),
        (9, 27, "train_size=27 cannot .* class 'a' has only 7 rows; .* is 21"),
        (9, 30, "train_size must be at most 21, .* got 30 of 28 rows"),
    ],
)
def test_a_size_that_does_not_work_names_one_that_does(first, second, message):
    with pytest.raises(data.DataError, match=message):
        cut(numbered((10, 12, 15)), first, second)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_named(label):
    labels = np.array([0, 1, label], np.int32)
    with pytest.raises(data.DataError, match=rf"0\.\.2 \(3 classes\), got {label} in row 2"):
        stratified.rows_by_class(labels, 3)


@pytest.mark.parametrize("size", [-1, 1.5, True, "10", None])
def test_a_size_is_a_whole_number(size):
    with pytest.raises(data.DataError, match="validation_size must be a whole number of rows"):
        stratified.check_size(size, "validation_size")
