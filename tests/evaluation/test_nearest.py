"""The search for neighbours against a whole matrix of cosines."""

import numpy as np
import pytest

from mcl_jax.evaluation.nearest import nearest

rng = np.random.default_rng(0)
KEYS, QUERIES = rng.normal(size=(23, 4)), rng.normal(size=(9, 4)) * rng.gamma(1, size=(9, 1))


def whole(keys, queries, count, without_itself=False):
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, keys)]
    cosines = unit[0] @ unit[1].T
    if without_itself:
        np.fill_diagonal(cosines, -2)
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(cosines, rows, axis=1), rows


@pytest.mark.parametrize("at_once", [1, 23 * 4, 10**6])
def test_parts_of_the_queries_give_what_all_at_once_give(at_once):
    cosines, rows = nearest(KEYS, QUERIES, 6, at_once=at_once)
    expected, expected_rows = whole(KEYS, QUERIES, 6)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(cosines, expected, atol=1e-6)
    assert cosines.dtype == np.float32


@pytest.mark.parametrize("at_once", [23 * 4, 10**6])
def test_no_row_is_its_own_neighbour(at_once):
    _, rows = nearest(KEYS, KEYS, 100, without_itself=True, at_once=at_once)
    np.testing.assert_array_equal(rows, whole(KEYS, KEYS, 22, without_itself=True)[1])


def test_of_equal_cosines_the_earlier_row_is_nearer():
    _, rows = nearest(np.ones([5, 2]), np.ones([1, 2]), 3)
    assert rows.tolist() == [[0, 1, 2]]


def test_no_queries_have_no_neighbours():
    assert [x.shape for x in nearest(KEYS, QUERIES[:0], 3)] == [(0, 3), (0, 3)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((KEYS, QUERIES[:, :3], 1), r"keys must be \[N, F\] and queries \[n, F\], got \(23, 4\)"),
        ((KEYS, QUERIES, 0), "count must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        nearest(*arguments)


def test_only_the_keys_themselves_can_be_left_out():
    with pytest.raises(ValueError, match="without_itself wants the keys as queries"):
        nearest(KEYS, QUERIES, 1, without_itself=True)
