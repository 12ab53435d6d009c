import io
import json
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mcl_jax import data
from mcl_jax.data import tfds_source

tfds = pytest.importorskip("tensorflow_datasets")


def png(image: np.ndarray) -> bytes:
    held = io.BytesIO()
    Image.fromarray(image).save(held, "png")
    return held.getvalue()


class TinyImages(tfds.core.GeneratorBasedBuilder):
    """Images that hold their number; those of one split have many sizes."""

    VERSION = tfds.core.Version("1.0.0")
    SIZED = True

    def _info(self):
        shape = (8, 8, 3) if self.SIZED else (None, None, 3)
        features = {
            "image": tfds.features.Image(shape=shape),
            "label": tfds.features.ClassLabel(names=["odd", "even"]),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20), "test": self._generate_examples(6)}

    def _generate_examples(self, count):
        for row in range(count):
            height = 8 if self.SIZED else 8 + row
            # A grey file, as ImageNet has them, stands among the colour ones.
            shape = (height, 8) if row == 3 else (height, 8, 3)
            yield row, {"image": png(np.full(shape, row, np.uint8)), "label": row % 2}


class TinyUnsized(TinyImages):
    """The same without a fixed size."""

    VERSION = tfds.core.Version("1.0.0")
    SIZED = False


def prepare(builder, folder, file_format="array_record", **options) -> str:
    builder(data_dir=str(folder), file_format=file_format, **options).download_and_prepare()
    return str(folder)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepare(TinyImages, folder)
    return prepare(TinyUnsized, folder)


def test_array_records_load_in_memory_without_tensorflow(prepared):
    dataset = data.load("tfds:tiny_images", validation_size=4, data_dir=prepared)
    assert not dataset.train.streams
    assert dataset.train.images.shape == (16, 8, 8, 3)
    assert dataset.class_names == ("odd", "even")
    assert "tiny_images/1.0.0" in dataset.notice
    numbers = np.concatenate(
        [split.images[:, 0, 0, 0] for split in (dataset.train, dataset.validation)]
    )
    assert sorted(numbers.tolist()) == list(range(20))
    np.testing.assert_array_equal(dataset.train.images[:, 0, 0, 1] % 2, dataset.train.labels)
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize(
    ("name", "memory_limit"), [("tiny_images:1.0.0", 1), ("tiny_unsized", 1 << 30)]
)
def test_images_that_do_not_fit_or_have_many_sizes_stream(prepared, name, memory_limit):
    dataset = data.load(
        f"tfds:{name}", validation_size=4, data_dir=prepared, memory_limit=memory_limit
    )
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.streams
        for row in range(len(split)):
            image = split.image(row)
            assert image.ndim == 3
            assert image.shape[-1] == 3
            assert image.dtype == np.uint8
            assert image[0, 0, 0] % 2 == split.labels[row]


def test_the_environment_says_where_prepared_sets_are(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", prepared)
    assert len(data.load("tfds:tiny_images", validation_size=0).train) == 20


def test_what_is_not_prepared_is_answered_at_once_with_the_way_to_prepare_it(tmp_path):
    start = time.monotonic()
    with pytest.raises(data.DataError) as caught:
        data.load("tfds:cifar100", validation_size=0, data_dir=str(tmp_path))
    assert time.monotonic() - start < 1
    message = str(caught.value)
    assert f"tfds:cifar100 is not prepared in {tmp_path}" in message
    assert "pip install 'mcl_jax[tf]'" in message
    assert (
        f"tfds.builder('cifar100', file_format='array_record', data_dir='{tmp_path}')"
        ".download_and_prepare()" in message
    )


def test_parquet_is_refused(tmp_path):
    folder = prepare(TinyImages, tmp_path, "parquet")
    with pytest.raises(data.DataError, match=r"got parquet, .* rows missing; .*array_record"):
        data.load("tfds:tiny_images", validation_size=0, data_dir=folder)


def fake(folder, **info) -> None:
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps(info))


def test_tfrecord_is_refused_also_where_an_old_set_does_not_name_it(tmp_path):
    fake(tmp_path / "one" / "1.0.0", fileFormat="tfrecord")
    fake(tmp_path / "two" / "1.0.0")
    for name in ("one", "two"):
        with pytest.raises(data.DataError, match="got tfrecord, which cannot be read by row"):
            data.load(f"tfds:{name}", validation_size=0, data_dir=str(tmp_path))


def test_broken_metadata_are_named(tmp_path):
    fake(tmp_path / "one" / "1.0.0")
    (tmp_path / "one" / "1.0.0" / "dataset_info.json").write_text("{")
    with pytest.raises(data.DataError, match=r"cannot read .*dataset_info\.json"):
        data.load("tfds:one", validation_size=0, data_dir=str(tmp_path))


def test_the_newest_version_and_the_only_configuration_are_found(tmp_path):
    for version in ("2.0.0", "10.0.0"):
        fake(tmp_path / "one" / "small" / version)
    assert tfds_source.find("one", str(tmp_path)).name == "10.0.0"
    assert tfds_source.find("one/small:2.0.0", str(tmp_path)).name == "2.0.0"
    with pytest.raises(data.DataError, match=r"one:3\.0\.0 is not prepared"):
        tfds_source.find("one:3.0.0", str(tmp_path))
    fake(tmp_path / "one" / "large" / "1.0.0")
    with pytest.raises(data.DataError, match="name one of its configurations large, small"):
        tfds_source.find("one", str(tmp_path))


def test_a_malformed_name_is_named(tmp_path):
    with pytest.raises(data.DataError, match="tfds: wants a name such as cifar100"):
        data.load("tfds:../cifar100", validation_size=0, data_dir=str(tmp_path))


def as_data_source(self, split, decoders=None, **kwargs):
    """Stands in for files: encoded images, as without decoding."""
    assert list(decoders) == ["image"]
    size = 32 if self.name == "cifar100" else 40
    return [{"image": png(np.full([size, size, 3], row, np.uint8)), "label": row} for row in (3, 5)]


def test_official_sets_are_understood():
    with tfds.testing.mock_data(as_data_source_fn=as_data_source):
        small, large = (
            tfds_source.read(tfds.builder(name), name, memory_limit=1 << 30, splits=splits)
            for name, splits in (
                ("cifar100", ("train", "test")),
                ("imagenet2012", ("train", "validation")),
            )
        )
    assert small.train.images.shape == (2, 32, 32, 3)
    assert len(small.class_names) == 100
    np.testing.assert_array_equal(small.test.labels, [3, 5])
    assert large.train.streams
    assert len(large.class_names) == 1000
    assert large.test.image(1).shape == (40, 40, 3)


def test_imagenet_is_tested_on_its_validation_rows():
    every = ("train", "validation", "test")
    assert tfds_source._split_names(every, "imagenet2012") == ("train", "validation")
    assert tfds_source._split_names(every, "oxford_flowers102") == ("train", "test")
    with pytest.raises(data.DataError, match=r"must have the splits .* got train"):
        tfds_source._split_names(["train"], "one")


def test_a_set_without_images_or_labels_is_named(tmp_path):
    class Unlabelled(TinyImages):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {"image": tfds.features.Image(shape=(8, 8, 3))}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

    builder = Unlabelled(data_dir=str(tmp_path))
    with pytest.raises(data.DataError, match="image and one class label, got the features image"):
        tfds_source.read(builder, "unlabelled", memory_limit=1)


def test_without_tfds_what_to_install_is_said(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(data.DataError, match="pip install tensorflow-datasets"):
        data.load("tfds:tiny_images", validation_size=0, data_dir=prepared)
