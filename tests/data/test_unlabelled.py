"""Training rows without labels: where they come from, and where they are."""

import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from layouts import png

from mcl_jax import data
from mcl_jax.data import DataError, Dataset, Split


class HalfLabelled(tfds.core.GeneratorBasedBuilder):
    """Images that hold their number; STL-10 has a split of this name, with labels of -1."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(4, 4, 3)),
            "label": tfds.features.ClassLabel(names=["even", "odd"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        starts = {"train": (0, 8), "test": (8, 12), "unlabelled": (20, 50)}
        return {name: self._generate_examples(*rows) for name, rows in starts.items()}

    def _generate_examples(self, first, last):
        for row in range(first, last):
            label = -1 if row >= 20 else row % 2
            yield row, {"image": png(np.full((4, 4, 3), row, np.uint8)), "label": label}


def split(first, last, label=None):
    rows = np.arange(first, last)
    labels = (rows % 2 if label is None else np.full(len(rows), label)).astype(np.int32)
    images = np.broadcast_to(rows.astype(np.uint8)[:, None, None, None], (len(rows), 4, 4, 3))
    return Split(labels, images=images.copy())


def numbers(split):
    return sorted(int(split.image(row)[0, 0, 0]) for row in range(len(split)))


@pytest.mark.parametrize("memory_limit", [1 << 30, 1])
def test_tfds_may_have_a_split_without_labels(tmp_path, memory_limit):
    HalfLabelled(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    options = {"validation_size": 2, "data_dir": str(tmp_path), "memory_limit": memory_limit}
    dataset = data.load("tfds:half_labelled", unlabelled=True, **options)
    assert dataset.pool.streams == (memory_limit == 1)
    assert (len(dataset.train), len(dataset.validation), len(dataset.pool)) == (6, 2, 36)
    assert numbers(dataset.unlabelled) == list(range(20, 50))
    assert dataset.pool.labels.tolist() == dataset.train.labels.tolist() + 30 * [-1]
    for row in range(len(dataset.train)):
        assert np.array_equal(dataset.pool.image(row), dataset.train.image(row))
    assert np.array_equal(dataset.pool.image(6), dataset.unlabelled.image(0))
    without = data.load("tfds:half_labelled", **options)
    assert without.unlabelled is None
    assert without.pool is without.train
    assert np.array_equal(without.train.labels, dataset.train.labels)


def test_an_npz_may_have_images_without_labels(tmp_path):
    held = {"train": split(0, 8), "test": split(8, 12)}
    arrays = {f"{name}_images": part.images for name, part in held.items()}
    arrays |= {f"{name}_labels": part.labels for name, part in held.items()}
    np.savez(tmp_path / "without.npz", **arrays)
    np.savez(tmp_path / "with.npz", **arrays, unlabelled_images=split(20, 30).images)
    dataset = data.load(f"npz:{tmp_path}/with.npz", validation_size=2, unlabelled=True)
    assert numbers(dataset.unlabelled) == list(range(20, 30))
    assert numbers(dataset.pool) == sorted(numbers(dataset.train) + list(range(20, 30)))
    assert data.load(f"npz:{tmp_path}/with.npz", validation_size=2).unlabelled is None
    sentence = f"unlabelled wants an array unlabelled_images in {tmp_path}/without.npz, which has"
    with pytest.raises(DataError, match=re.escape(sentence)):
        data.load(f"npz:{tmp_path}/without.npz", validation_size=2, unlabelled=True)


def test_rows_in_memory_and_streamed_ones_are_joined():
    first, second = split(0, 3), split(20, 22, label=-1)
    streamed = Split(second.labels, rows=list(second.images))
    for other in (second, streamed):
        joined = first.then(other)
        assert joined.streams == other.streams
        assert [int(joined.image(row)[0, 0, 0]) for row in range(5)] == [0, 1, 2, 20, 21]
        assert [int(joined.take([4, 1]).image(row)[0, 0, 0]) for row in (0, 1)] == [21, 1]


def test_the_pool_of_a_data_set_is_joined_once():
    parts = split(0, 4), split(4, 6), split(6, 8)
    dataset = Dataset("made", *parts, ("even", "odd"), "made up", split(20, 30, label=-1))
    assert dataset.pool is dataset.pool
    assert len(dataset.pool) == 14


def test_other_sources_have_none(tmp_path):
    sentence = "unlabelled is for tfds:NAME and npz:PATH, got 'digits'."
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        data.load("digits", validation_size=0, unlabelled=True)
    sentence = "unlabelled wants a split unlabelled in tfds:some, which has train, test."
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        data.tfds_source.unlabelled_split(["train", "test"], "some")
