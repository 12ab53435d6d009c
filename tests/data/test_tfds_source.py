import json
import pathlib
import sys
import time

import layouts
import numpy as np
import pytest
import tensorflow_datasets as tfds
from layouts import png

from mcl_jax import data
from mcl_jax.data import tfds_source, tfrecord
from mcl_jax.data.decoding import ImageError


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


def test_the_commands_that_are_told_prepare_a_set(tmp_path):
    told = tfds_source.how_to_prepare("tiny_images", str(tmp_path))
    exec(told.split('python -c "')[1].rstrip('"'), {})
    assert len(data.load("tfds:tiny_images", validation_size=0, data_dir=str(tmp_path)).train) == 20
    documented = tfds_source.how_to_prepare("cifar100", None).split("then ")[1]
    root = pathlib.Path(__file__).parents[2]
    for page in ("README.md", "docs/data.md"):
        assert documented in (root / page).read_text(encoding="utf-8")


def test_parquet_is_refused(tmp_path):
    folder = prepare(TinyImages, tmp_path, "parquet")
    with pytest.raises(data.DataError, match=r"got parquet, .* rows missing; .*array_record"):
        data.load("tfds:tiny_images", validation_size=0, data_dir=folder)


def fake(folder, **info) -> None:
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps(info))


def test_formats_without_rows_are_refused(tmp_path):
    fake(tmp_path / "one" / "1.0.0", fileFormat="riegeli")
    with pytest.raises(data.DataError, match="got riegeli, which cannot be read by row; move that"):
        data.load("tfds:one", validation_size=0, data_dir=str(tmp_path))


def test_an_old_set_does_not_name_tfrecord(tmp_path):
    for row, held in enumerate(({}, {"fileFormat": "tfrecord"})):
        folder = tmp_path / str(row) / "1.0.0"
        fake(folder, **held)
        assert tfds_source.check_format(folder, "one", None) == "tfrecord"


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


def as_data_source(self, split, deserialize_method, **kwargs):
    """Stands in for files: serialized examples whose images have the size they are said to have."""
    assert deserialize_method == tfds.decode.DeserializeMethod.RAW_BYTES
    size = {"cifar100": 32, "stl10": 96}.get(self.name)
    return [
        layouts.example(layouts.Item(f"{split}_{row}", row, np.full([size or 40 + row, 40 if size is
        None else size, 3], row, np.uint8))) for row in (3, 5)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "classes", "test", "shape"),
    [
        ("cifar100", 100, "test", (32, 32, 3)),
        ("stl10", 10, "test", (96, 96, 3)),
        ("imagenet2012", 1000, "validation", None),
    ],
)
def test_official_sets_are_understood(name, classes, test, shape):
    with tfds.testing.mock_data(as_data_source_fn=as_data_source):
        splits = {"train": "train", "test": test}
        found = tfds_source.read(tfds.builder(name), name, memory_limit=1 << 30, splits=splits)
    assert len(found.class_names) == classes
    for split in (found.train, found.test):
        assert split.streams == (shape is None)
        assert sorted(split.labels.tolist()) == [3, 5]
        for row, label in enumerate(split.labels.tolist()):
            image = split.image(row)
            assert image.shape == (shape or (40 + label, 40, 3))
            assert (image == label).all()
    assert "tensorflow" not in sys.modules


def test_splits_are_chosen_by_name():
    every = ("train", "validation", "test", "unlabelled")
    assert tfds_source.choose_splits(every, "imagenet2012") == {
        "train": "train", "test": "validation"
    }  # fmt: skip
    assert tfds_source.choose_splits(every, "one")["validation"] == "validation"
    assert tfds_source.choose_splits(("train", "test"), "one") == {"train": "train", "test": "test"}
    with pytest.raises(data.DataError, match=r"tfds:one must have the splits .* got train\."):
        tfds_source.choose_splits(["train"], "one")


def test_tfrecords_are_the_right_part_of_the_right_files(tmp_path):
    """Two configurations of one set may share files, and read parts of them."""
    layouts.tfrecord(tmp_path, shards=2)
    builder = tfds.builder_from_directory(tmp_path / "same_images" / "1.0.0")
    items = layouts.SPLITS["train"]
    stored = items[0::2] + items[1::2]
    wanted = builder.info.splits["train[3:20]"].file_instructions
    places = [
        (number, start, len(view))
        for number, held in enumerate(wanted)
        for start, view in tfrecord.walk(held)
    ]
    records = tfrecord.TFRecords([held.filename for held in wanted], np.array(places))
    assert len(records) == 17
    assert [records[row] for row in range(17)] == [layouts.example(held) for held in stored[3:20]]


IMAGE = np.zeros([8, 8, 3], np.uint8)


@pytest.fixture
def records(tmp_path):
    layouts.tfrecord(tmp_path, shards=1)
    return tmp_path / "same_images" / "1.0.0" / "same_images-train.tfrecord-00000-of-00001"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda held: held[:-9],
            r"must be a whole TFRecord file, got one that ends in record 23\.$",
        ),
        (lambda held: held[:3], r"must be a whole TFRecord file, got one that ends in record 0\.$"),
        (lambda held: held * 0, "cannot be read as a TFRecord file: cannot mmap an empty file"),
        (
            lambda held: layouts.framed(layouts.example(layouts.SPLITS["train"][0])),
            r"must have 24 records, as its data set says, got 1\.$",
        ),
        (
            lambda held: layouts.framed(b"\x0a\xff") * 24,
            "same_images train row 0 has no label to read: no tf.train.Example: ",
        ),
        (
            lambda held: layouts.framed(b"") * 24,
            "row 0 has no label to read: the example has no lab",
        ),
        (
            lambda held: layouts.framed(layouts.example(layouts.Item("x", 1 << 40, IMAGE))) * 24,
            r"training labels from 0 to 2 \(3 classes\), got 2147483647 in row 0\.$",
        ),
    ],
)
def test_a_damaged_tfrecord_file_is_named(records, tmp_path, change, message):
    records.write_bytes(change(records.read_bytes()))
    with pytest.raises(data.DataError, match=message):
        data.load("tfds:same_images", validation_size=0, data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held[:70_000], "train row 0 (has no label to|cannot be) read: .+"),
        (
            lambda held: held[:2000] + b"x" * 100 + held[2100:],
            r"train row \d+ cannot be read: Corr",
        ),
        (lambda held: b"text", "train row 0 cannot be read: ArrayRecord file should be at least"),
    ],
)
def test_a_damaged_array_record_file_is_named(tmp_path, change, message):
    layouts.array_record(tmp_path)
    file = tmp_path / "same_images" / "1.0.0" / "same_images-train.array_record-00000-of-00001"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(data.DataError, match=message):
        data.load("tfds:same_images", validation_size=0, data_dir=str(tmp_path))


def test_an_image_of_a_file_that_is_damaged_later_is_named(tmp_path):
    layouts.tfrecord(tmp_path)
    held = data.load("tfds:same_images", validation_size=0, data_dir=str(tmp_path), memory_limit=1)
    files = list(tmp_path.rglob("*-test.tfrecord-*"))
    for file in files:
        file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(
        ImageError, match=r"tfds:same_images test row \d cannot be read: no tf.train"
    ):
        held.test.image(0)
    for file in files:
        file.unlink()
    with pytest.raises(ImageError, match=r"test row \d cannot be read: No such file or directory"):
        held.test.image(0)


def test_a_set_that_tfds_cannot_read_is_named(records, tmp_path):
    (records.parent / "features.json").unlink()
    with pytest.raises(data.DataError, match=r"same_images in .* cannot be read by TFDS: Cannot "):
        data.load("tfds:same_images", validation_size=0, data_dir=str(tmp_path))


def test_a_missing_tfrecord_file_is_named(records, tmp_path):
    records.unlink()
    with pytest.raises(data.DataError, match=r"-00000-of-00001 cannot be read .* No such [^']*\.$"):
        data.load("tfds:same_images", validation_size=0, data_dir=str(tmp_path))


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


def test_a_set_of_other_images_is_named(tmp_path):
    class Transparent(TinyImages):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            held = {
                "image": tfds.features.Image(shape=(8, 8, 4), encoding_format="png"),
                "label": tfds.features.ClassLabel(num_classes=2),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(held))

    with pytest.raises(data.DataError, match=r"1 or 3 channels, got uint8 of shape \(8, 8, 4\)"):
        tfds_source.read(Transparent(data_dir=str(tmp_path)), "transparent", memory_limit=1)


def test_without_tfds_what_to_install_is_said(prepared, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(data.DataError, match="pip install tensorflow-datasets"):
        data.load("tfds:tiny_images", validation_size=0, data_dir=prepared)
