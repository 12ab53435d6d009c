import subprocess
import sys

import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data import loading
from mcl_jax.data.dataset import Source


def test_fashion_mnist_is_cut_as_asked():
    dataset = data.load("fashion_mnist", validation_size=500, train_size=2000, seed=3)
    assert set(np.bincount(dataset.validation.labels)) == {50}
    assert set(np.bincount(dataset.train.labels)) == {200}
    assert len(dataset.test) == 2000
    assert dataset.num_classes == 10
    assert "Zalando" in dataset.notice
    seen = {image.tobytes() for image in dataset.validation.images}
    overlap = sum(image.tobytes() in seen for image in dataset.train.images)
    assert overlap == 0


def test_the_cut_is_a_function_of_the_seed():
    first, again, other = (
        data.load("digits", validation_size=100, seed=seed).validation.images for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_no_validation_rows_are_fine():
    dataset = data.load("digits", validation_size=0)
    assert len(dataset.validation) == 0
    assert len(dataset.train) == 1442


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fashion_mnst", "got 'fashion_mnst'; did you mean fashion_mnist"),
        ("cifar100", "did you mean tfds:cifar100"),
        (
            "",
            "source must be one of fashion_mnist, photographs, digits, tfds:NAME, folder:PATH, "
            "parquet:PATH, tar:PATH, npz:PATH, got ''",
        ),
        ("npz:", "must be one of"),
        ("folders:/x", "got 'folders:/x'; did you mean folder:PATH?"),
        (None, "must be one of .* got None"),
    ],
)
def test_an_unknown_source_lists_the_sources(name, message):
    with pytest.raises(data.DataError, match=message):
        data.load(name, validation_size=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_size": -1}, "validation_size must be a whole number of rows"),
        ({"validation_size": 0, "train_size": 0}, "train_size must be 1 row or more"),
        ({"validation_size": 0, "train_size": 2.0}, "train_size must be a whole number"),
        ({"validation_size": 0, "seed": -3}, "seed must be a whole number, 0 or more, got -3"),
        ({"validation_size": 0, "memory_limit": -1}, "memory_limit must be a whole number, 0 or m"),
        ({"validation_size": 10_000}, "validation_size=10000 leaves no training rows"),
        ({"validation_size": 12_000}, "validation_size must be at most 10000"),
        ({"validation_size": 0, "train_size": 15}, "nearest size that works is 20"),
        ({"validation_size": 0, "data_dir": "/x"}, "data_dir is for tfds:NAME only, got '/x'"),
        ({"validation_size": 0, "corrupt": "ignore"}, "corrupt must be stop or skip, got 'ignore'"),
        ({"validation_size": 0, "label_noise": 1.0}, "label_noise must be a share from 0 to below"),
    ],
)
def test_settings_that_do_not_work_are_named(options, message):
    with pytest.raises(data.DataError, match=message):
        data.load("fashion_mnist", **options)


def test_noise_is_of_training_labels_alone_and_images_stay():
    options = {"validation_size": 100, "train_size": 400, "seed": 3}
    clean, noisy = (data.load("digits", label_noise=share, **options) for share in (0, 0.2))
    np.testing.assert_array_equal(noisy.train.images, clean.train.images)
    assert np.count_nonzero(noisy.train.labels != clean.train.labels) == 80
    np.testing.assert_array_equal(noisy.validation.labels, clean.validation.labels)
    np.testing.assert_array_equal(noisy.test.labels, clean.test.labels)


def test_one_class_is_named(tmp_path):
    images, labels = np.zeros([4, 1, 1, 1], np.uint8), np.zeros([4], int)
    splits = {"train_images": images, "train_labels": labels}
    np.savez(tmp_path / "one.npz", **splits, test_images=images, test_labels=labels)
    with pytest.raises(data.DataError, match="source must be a data set of two classes or more, g"):
        data.load(f"npz:{tmp_path}/one.npz", validation_size=0)


def test_importing_the_package_imports_no_source():
    code = (
        "import sys, mcl_jax.data; "
        "wanted = 'sklearn', 'skimage', 'tensorflow_datasets', 'pyarrow'; "
        "print([n for n in wanted if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert sorted(data.__all__) == sorted(set(data.__all__))
    assert all(hasattr(data, name) for name in data.__all__)


@pytest.mark.parametrize("part", ["training", "test", "validation"])
@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([], "rows, got none."),
        ([0, 1, 2], "labels from 0 to 1 (2 classes), got 2 in row 2."),
        ([0, -1, 1], "labels from 0 to 1 (2 classes), got -1 in row 1."),
    ],
)
def test_every_split_of_every_source_is_looked_at(part, labels, problem, monkeypatch):
    def split(labels):
        images = np.zeros([len(labels), 8, 8, 1], np.uint8)
        return data.Split(np.array(labels, np.int32), images=images)

    splits = {"training": split([0, 1]), "test": split([0, 1]), "validation": split([0, 1])}
    splits[part] = split(labels)
    source = Source(
        splits["training"], splits["test"], ("a", "b"), "made up", validation=splits["validation"]
    )
    monkeypatch.setitem(loading._BUNDLED, "digits", lambda: source)
    with pytest.raises(data.DataError) as raised:
        data.load("digits", validation_size=2)
    assert str(raised.value) == f"source digits must have {part} {problem}"
