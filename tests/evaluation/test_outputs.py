"""What is kept of what networks said comes back as it was, or not at all."""

import pathlib
from typing import Any

import numpy as np
import pytest

from mcl_jax.cohort import Output
from mcl_jax.data import Split
from mcl_jax.evaluation import OutputsError, read_outputs, write_outputs

NAMES = ("a", "b <c>", "ö")


def said(rows: int, networks: int = 3) -> Output:
    """Networks in two groups of unlike widths."""
    rng = np.random.default_rng(rows)
    features = rng.normal(size=(networks - 1, rows, 4)), rng.normal(size=(1, rows, 6))
    return Output(
        tuple(x.astype(np.float32) for x in features),
        rng.normal(size=(networks, rows, 5)).astype(np.float32),
        rng.normal(size=(networks, rows, len(NAMES))).astype(np.float32),
    )


def split(rows: int, *shape: int) -> Split:
    rng = np.random.default_rng(rows)
    labels = rng.integers(0, len(NAMES), rows).astype(np.int32)
    return Split(labels, images=rng.integers(0, 256, (rows, *(shape or (8, 8, 1))), np.uint8))


def written(path: pathlib.Path, output: Output, held: Split, **options: Any) -> pathlib.Path:
    write_outputs(
        path / "outputs.npz", output, held, name="test", step=7, class_names=NAMES, **options
    )
    return path / "outputs.npz"


def test_everything_comes_back(tmp_path):
    output, held = said(10), split(10)
    found = read_outputs(written(tmp_path, output, held))
    assert (found.split, found.step, found.of, found.class_names) == ("test", 7, 10, NAMES)
    np.testing.assert_array_equal(found.rows, np.arange(10))
    np.testing.assert_array_equal(found.images, held.images)
    np.testing.assert_array_equal(found.labels, held.labels)
    np.testing.assert_array_equal(found.logits, output.logits)
    np.testing.assert_array_equal(found.embeddings, output.embeddings)
    assert len(found.features) == 2
    for group, expected in zip(found.features, output.features, strict=True):
        np.testing.assert_array_equal(group, expected)


def test_of_many_rows_the_same_ones_are_kept_with_all_that_belongs_to_them(tmp_path):
    output, held = said(300), split(300)
    found = read_outputs(written(tmp_path, output, held, most=20))
    again = read_outputs(written(tmp_path, said(300), held, most=20))
    assert found.of == 300
    assert len(set(found.rows.tolist())) == 20
    assert found.rows.tolist() == sorted(found.rows.tolist()) == again.rows.tolist()
    assert found.rows[-1] > 100  # not the first ones
    np.testing.assert_array_equal(found.images, held.images[found.rows])
    np.testing.assert_array_equal(found.labels, held.labels[found.rows])
    np.testing.assert_array_equal(found.logits, output.logits[:, found.rows])
    np.testing.assert_array_equal(found.features[1], output.features[1][:, found.rows])


def test_streamed_images_are_loaded_a_part_at_a_time(tmp_path):
    asked, held = [], split(600)

    def load(given: Split, rows: np.ndarray) -> np.ndarray:
        asked.append(rows.tolist())
        return np.stack([given.image(row) for row in rows])

    found = read_outputs(
        written(tmp_path, said(600), Split(held.labels, rows=held.images), load=load, most=500)
    )
    assert [row for part in asked for row in part] == found.rows.tolist()
    assert max(map(len, asked)) < 300
    np.testing.assert_array_equal(found.images, held.images[found.rows])


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((64, 64, 3), (64, 64, 3)),
        ((128, 128, 3), (64, 64, 3)),
        ((65, 130, 1), (32, 64, 1)),
        ((1000, 2, 2), (64, 1, 2)),
    ],
)
def test_large_images_are_reduced_and_keep_their_form(tmp_path, shape, kept):
    found = read_outputs(written(tmp_path, said(2), split(2, *shape)))
    assert found.images.shape[1:] == kept
    assert found.images.dtype == np.uint8


def test_reduction_averages_each_channel(tmp_path):
    images = np.zeros((1, 128, 128, 3), np.uint8)
    images[:, ::2, :, 0], images[..., 2] = 200, 90
    found = read_outputs(written(tmp_path, said(1), Split(np.zeros(1, np.int32), images=images)))
    np.testing.assert_array_equal(found.images, np.broadcast_to([100, 0, 90], (1, 64, 64, 3)))


def test_half_precision_is_kept_as_float32(tmp_path):
    output = said(4)
    halved = Output(output.features, output.embeddings.astype(np.float16), output.logits)
    found = read_outputs(written(tmp_path, halved, split(4)))
    assert found.embeddings.dtype == np.float32
    np.testing.assert_allclose(found.embeddings, output.embeddings, atol=1e-2)


def test_an_output_of_other_rows_is_refused_and_the_old_file_stays(tmp_path):
    path = written(tmp_path, said(4), split(4))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="the split's 5 rows, got 4"):
        written(tmp_path, said(4), split(5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(OutputsError, match=r"^outputs.npz is missing\.$"):
        read_outputs(tmp_path / "outputs.npz")


@pytest.mark.parametrize("keep", [0, 1, 4, 40, 500, -30, -1])
def test_a_file_that_was_cut_is_told_to_be_damaged(tmp_path, keep):
    path = written(tmp_path, said(10), split(10))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(OutputsError, match=r"^outputs.npz is damaged and cannot be read\.$"):
        read_outputs(path)


def test_changed_bytes_inside_are_found(tmp_path):
    path = written(tmp_path, said(10), split(10))
    content = bytearray(path.read_bytes())
    content[content.index(b"labels.npy") + 200] ^= 255  # a number, behind the array's header
    path.write_bytes(content)
    with pytest.raises(OutputsError, match="damaged"):
        read_outputs(path)


def test_nothing_is_unpickled(tmp_path):
    path = written(tmp_path, said(4), split(4))
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **arrays | {"labels": np.array([{}] * 4, object)})
    with pytest.raises(OutputsError, match="damaged"):
        read_outputs(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("labels", lambda x: x[:-1]),
        ("labels", lambda x: x + 3),
        ("images", lambda x: x[..., 0]),
        ("embeddings", lambda x: x[:1]),
        ("features_1", lambda x: x[:, :2]),
        ("logits", lambda x: x[0]),
        ("class_names", lambda x: x[:2]),
    ],
)
def test_arrays_that_do_not_belong_together_are_found(tmp_path, name, change):
    path = written(tmp_path, said(4), split(4))
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(path, **arrays | {name: change(arrays[name])})
    with pytest.raises(OutputsError, match="do not belong together"):
        read_outputs(path)


def test_an_array_that_lacks_is_named(tmp_path):
    path = written(tmp_path, said(4), split(4))
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files if key != "logits"}
    np.savez(path, **arrays)
    with pytest.raises(OutputsError, match="lacks the array 'logits"):
        read_outputs(path)
