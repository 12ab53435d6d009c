import numpy as np
import pytest

from mcl_jax import data


class Streamed:
    """Images of growing size, made when asked for."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> np.ndarray:
        return np.full([4 + row, 5, 3], row, np.uint8)


def in_memory(rows: int = 4) -> data.Split:
    images = np.arange(rows, dtype=np.uint8)[:, None, None, None] * np.ones([1, 2, 2, 3], np.uint8)
    return data.Split(np.arange(rows, dtype=np.int32), images=images)


def test_a_split_in_memory_and_a_streamed_one_answer_alike():
    held = in_memory()
    streamed = data.Split(np.arange(4, dtype=np.int32), rows=Streamed())
    assert (held.streams, streamed.streams) == (False, True)
    assert len(held) == len(streamed) == 4
    for split in (held, streamed):
        taken = split.take([3, 1])
        assert len(taken) == 2
        assert taken.streams == split.streams
        np.testing.assert_array_equal(taken.labels, [3, 1])
        assert taken.image(0)[0, 0, 0] == 3
        assert taken.take([1]).image(0)[0, 0, 0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of images and rows"),
        ({"images": np.zeros([4, 2, 2, 3], np.uint8), "rows": Streamed()}, "exactly one of"),
        ({"images": np.zeros([4, 2, 2, 3], np.float32)}, r"uint8 \[N, H, W, c\], got float32"),
        ({"images": np.zeros([4, 2, 2], np.uint8)}, r"shape \(4, 2, 2\)"),
        ({"images": np.zeros([3, 2, 2, 3], np.uint8)}, "got 3 images and 4 labels"),
    ],
)
def test_a_split_says_what_is_wrong_with_its_images(arguments, message):
    with pytest.raises(data.DataError, match=message):
        data.Split(np.zeros([4], np.int32), **arguments)


@pytest.mark.parametrize("labels", [np.zeros([4], np.int64), np.zeros([4, 1], np.int32)])
def test_labels_are_int32_of_one_axis(labels):
    with pytest.raises(data.DataError, match=r"labels must be int32 \[N\]"):
        data.Split(labels, rows=Streamed())


def test_a_data_error_is_a_value_error():
    assert issubclass(data.DataError, ValueError)
