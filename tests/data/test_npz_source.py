import numpy as np
import pytest

from mcl_jax import data


@pytest.fixture
def arrays():
    return {
        "train_images": np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1),
        "train_labels": np.tile([0, 1], 6),
        "test_images": np.zeros([4, 1, 1, 1], np.uint8),
        "test_labels": np.array([0, 1, 0, 1], np.uint8),
    }


def load(tmp_path, arrays, **options):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    return data.load(f"npz:{path}", validation_size=2, **options)


def test_an_npz_becomes_a_data_set(tmp_path, arrays):
    dataset = load(tmp_path, arrays)
    assert dataset.class_names == ("0", "1")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (10, 2, 4)
    assert dataset.test.labels.dtype == np.int32
    assert "set.npz" in dataset.notice


def test_validation_rows_may_be_in_the_file(tmp_path, arrays):
    held = {"val_images": np.full([2, 1, 1, 1], 99, np.uint8), "val_labels": np.array([0, 1])}
    dataset = load(tmp_path, arrays | held)
    assert (len(dataset.train), dataset.validation.images.ravel().tolist()) == (12, [99, 99])
    with pytest.raises(data.DataError, match="it lacks val_labels"):
        load(tmp_path, arrays | {"val_images": held["val_images"]})


def test_class_names_may_be_in_the_file(tmp_path, arrays):
    dataset = load(tmp_path, {**arrays, "class_names": np.array(["cat", "dog"])})
    assert dataset.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train_images", np.zeros([12, 1, 1, 1]), "train_images must be uint8 .* got float64"),
        ("test_images", np.zeros([4, 1, 1], np.uint8), r"test_images must .* shape \(4, 1, 1\)"),
        ("train_images", np.zeros([12, 3, 8, 8], np.uint8), r"channels last, .*2, 3, 1\) is so\."),
        ("train_labels", np.zeros([12]), "train_labels must be integers .* got float64"),
        ("test_labels", np.zeros([4, 1], int), r"test_labels must .* shape \(4, 1\)"),
        ("test_labels", np.zeros([3], int), "as many rows, at least one, got 4 and 3"),
        ("test_images", np.zeros([4, 2, 1, 1], np.uint8), r"size and colour, got \(1, 1, 1\) and"),
        ("train_labels", np.tile([1, -1], 6), r"training labels from 0 to 1 .* got -1 in row 1"),
        ("test_labels", np.array([0, 1, 2, 0]), r"test labels from 0 to 1 .* got 2 in row 2"),
        ("class_names", np.zeros([2]), "class_names must be strings"),
    ],
)
def test_an_array_that_does_not_fit_is_named(tmp_path, arrays, name, value, message):
    with pytest.raises(data.DataError, match=message):
        load(tmp_path, {**arrays, name: value})


def test_missing_arrays_are_named(tmp_path, arrays):
    del arrays["test_images"]
    with pytest.raises(data.DataError, match="it lacks test_images"):
        load(tmp_path, arrays)


def test_pickles_are_never_read(tmp_path, arrays):
    with pytest.raises(data.DataError, match=r"train_labels must be .* got Python objects"):
        load(tmp_path, {**arrays, "train_labels": np.array([{}] * 12, object)})


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04 as pickles begin"])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(data.DataError, match=r"wants an npz file, but .*other.npz is none\.$"):
        data.load(f"npz:{path}", validation_size=0)


@pytest.mark.parametrize("content", [b"PK\x03\x04 half an archive"])
def test_an_unreadable_file_is_named(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(data.DataError, match=r"broken\.npz cannot be read as an npz file: .*\.$"):
        data.load(f"npz:{path}", validation_size=0)


def test_a_missing_file_and_a_single_array_are_named(tmp_path):
    with pytest.raises(data.DataError, match="wants the path of a file"):
        data.load(f"npz:{tmp_path}/none.npz", validation_size=0)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(data.DataError, match="got a single array"):
        data.load(f"npz:{tmp_path}/one.npy", validation_size=0)
