import pickle
import sys

import jax
import layouts
import numpy as np
import pytest

from mcl_jax import data

LAYOUTS = ("npz", "folder", "parquet", "tar", "array_record", "tfrecord")
STREAMED = LAYOUTS[1:]


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Loads the same images from a layout, which is written once."""
    written = {}

    def loaded(layout: str, **options) -> data.Dataset:
        if layout not in written:
            root = tmp_path_factory.mktemp(layout) / "set"
            written[layout] = getattr(layouts, layout)(root), str(root)
        source, root = written[layout]
        where = {"data_dir": root} if source.startswith("tfds:") else {}
        return data.load(source, validation_size=6, **where, **options)

    return loaded


def splits(dataset: data.Dataset) -> tuple[data.Split, ...]:
    return dataset.train, dataset.validation, dataset.test


def images(split: data.Split) -> np.ndarray:
    return np.stack([split.image(row) for row in range(len(split))])


def batches(dataset: data.Dataset) -> list[data.Batch]:
    """Two steps of either sampler, as a run draws them."""
    train, labels = dataset.train, dataset.train.labels
    samplers = (
        data.per_class(labels, batch_size=4, images_per_class=2, num_classes=dataset.num_classes),
        data.shuffled(len(train), batch_size=4),
    )
    keep = lambda image, rng: image  # noqa: E731
    return [
        batch
        for sampler in samplers
        for batch in data.stream(train, sampler, jax.random.key(5), 3, keep, stop_step=5, threads=2)
    ]


@pytest.mark.parametrize("memory_limit", [1 << 20, 1])
def test_the_same_images_give_the_same_batches_from_every_layout(load, memory_limit):
    first, *others = LAYOUTS if memory_limit > 1 else STREAMED
    options = {"memory_limit": memory_limit, "label_noise": 0.25, "seed": 3}
    reference = load(first, **options)
    wanted = batches(reference)
    assert [split.streams for split in splits(reference)] == [memory_limit == 1] * 3
    assert reference.class_names == layouts.CLASSES
    for layout in others:
        dataset = load(layout, **options)
        assert dataset.class_names == reference.class_names
        for split, same in zip(splits(dataset), splits(reference), strict=True):
            assert split.streams == same.streams
            np.testing.assert_array_equal(split.labels, same.labels, layout)
            np.testing.assert_array_equal(images(split), images(same), layout)
        jax.tree.map(np.testing.assert_array_equal, batches(dataset), wanted)
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("memory_limit", [1 << 20, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_keep_their_labels(load, layout, memory_limit):
    dataset = load(layout, memory_limit=memory_limit)
    truth = {
        item.pixels.tobytes(): (item.label, split)
        for split, items in layouts.SPLITS.items()
        for item in items
    }
    for name, split in zip(("train", "train", "test"), splits(dataset), strict=True):
        found = [truth.pop(image.tobytes()) for image in images(split)]
        assert found == [(label, name) for label in split.labels.tolist()]
    assert not truth


@pytest.mark.parametrize("layout", STREAMED)
def test_rows_that_stream_can_be_sent_to_another_process(load, layout):
    train = load(layout, memory_limit=1).train
    first = train.image(0)  # what is open by now stays here
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(train)).image(0), first)


def test_rows_are_well_mixed_and_their_order_is_that_of_the_documented_digest(load):
    import hashlib

    def digest(content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=16).digest()

    held = load("folder").test
    keys = [digest(image.tobytes()) for image in held.images]
    assert keys == sorted(keys)
    assert held.labels.tolist() != sorted(held.labels.tolist())
    streamed = load("folder", memory_limit=1).test
    stems = {item.pixels.tobytes(): item.stem for item in layouts.SPLITS["test"]}
    keys = [
        digest(f"{label}/{stems[image.tobytes()]}".encode())
        for image, label in zip(images(streamed), streamed.labels, strict=True)
    ]
    assert keys == sorted(keys)
