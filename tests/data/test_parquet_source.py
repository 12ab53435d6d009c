import json
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import layouts
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mcl_jax import data
from mcl_jax.data.decoding import ImageError
from mcl_jax.data.parquet_source import ParquetImages

ITEMS = layouts.SPLITS["test"]
IMAGES = [{"bytes": item.png, "path": None} for item in ITEMS]
LABELS = [item.label for item in ITEMS]


def load(root, **options):
    return data.load(f"parquet:{root}", validation_size=0, **options)


def write(root, table, metadata=None, splits=("train", "validation")):
    for split in splits:
        (root / split).mkdir(exist_ok=True)
        held = pa.table(table).replace_schema_metadata(metadata)
        pq.write_table(held, root / split / "0000.parquet")


def test_class_names_may_be_missing_or_labels_be_names(tmp_path):
    write(tmp_path, {"image": IMAGES, "label": LABELS})
    numbered = load(tmp_path)
    assert numbered.class_names == ("0", "1", "2")
    words = [layouts.CLASSES[label] for label in LABELS]
    write(tmp_path, {"image": [item.png for item in ITEMS], "label": words})
    named = load(tmp_path)
    assert named.class_names == layouts.CLASSES
    np.testing.assert_array_equal(named.test.labels, numbered.test.labels)
    np.testing.assert_array_equal(named.test.images, numbered.test.images)


def test_columns_as_other_writers_have_them(tmp_path):
    """Polars and pandas write large strings and categories, and a name may hold a dot."""
    words = [layouts.CLASSES[label] for label in LABELS]
    kinds = [pa.array(words, kind) for kind in (pa.large_string(), pa.string_view())]
    for labels in (*kinds, pa.array(words).dictionary_encode()):
        write(tmp_path, {"an.image": IMAGES, "label": labels})
        dataset = load(tmp_path, memory_limit=1)
        assert dataset.class_names == layouts.CLASSES
        assert dataset.test.labels.tolist() == LABELS
        np.testing.assert_array_equal(dataset.test.image(8), ITEMS[8].pixels)


def test_hidden_files_and_folders_of_shards_do_not_matter(tmp_path):
    write(tmp_path, {"image": IMAGES, "label": LABELS})
    (tmp_path / "._train.parquet").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "train.parquet").write_bytes(b"")
    (tmp_path / "train").rename(tmp_path / "train.parquet")  # a folder, as Spark names it
    (tmp_path / "train.parquet" / "0000.parquet").rename(tmp_path / "train.parquet" / "1.PARQUET")
    assert len(load(tmp_path).train) == 9


def test_cifar_100_as_it_is_laid_out_there(tmp_path):
    classes = {
        name: {"_type": "ClassLabel", "names": list(names)}
        for name, names in (("fine_label", "xyz"), ("coarse_label", "pq"))
    }
    metadata = {"huggingface": json.dumps({"info": {"features": classes}})}
    table = {"img": IMAGES, "fine_label": LABELS, "coarse_label": [0] * 9}
    write(tmp_path, table, metadata)
    assert load(tmp_path).class_names == ("x", "y", "z")
    other = {"info": {"features": {"fine": classes["fine_label"]}}}
    table = {"img": IMAGES, "fine": LABELS, "coarse": [0] * 9}
    write(tmp_path, table, {"huggingface": json.dumps(other)})
    assert load(tmp_path).class_names == ("x", "y", "z")
    other["info"]["features"]["coarse"] = classes["coarse_label"]
    write(tmp_path, table, {"huggingface": json.dumps(other)})
    with pytest.raises(data.DataError, match="and one of labels, named label, got img, fine, coar"):
        load(tmp_path)


@pytest.mark.parametrize("empty", [-1, None])
def test_a_test_split_without_labels_is_passed_over(tmp_path, empty):
    """As ImageNet's."""
    write(tmp_path, {"image": IMAGES, "label": LABELS})
    labels = pa.array([empty] * 9, pa.int64())
    write(tmp_path, {"image": IMAGES[::-1], "label": labels}, splits=["test"])
    assert sorted(load(tmp_path).test.labels.tolist()) == sorted(LABELS)


def test_a_thread_reads_a_row_group_once_and_keeps_no_other(tmp_path, monkeypatch):
    layouts.parquet(tmp_path / "set")
    test = load(tmp_path / "set", memory_limit=1).test
    images: ParquetImages = test.rows.images
    read, values = [], images._values
    monkeypatch.setattr(images, "_values", lambda group: read.append(group) or values(group))
    for row in (*range(9), 0):
        images.read(row)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(images.read, 0).result()
    assert read == [0, 1, 2, 3, 4, 0, 0]
    names = [images.name(row) for row in range(9)]
    assert names[0].endswith("test-00000-of-00002.parquet row 0")
    assert names[8].endswith("test-00001-of-00002.parquet row 3")
    assert len(set(names)) == 9


def test_rows_without_paths_keep_the_order_of_the_files(tmp_path):
    write(tmp_path, {"image": IMAGES, "label": LABELS})
    test = load(tmp_path, memory_limit=1).test
    held = [test.image(row) for row in range(9)]
    np.testing.assert_array_equal(held, [item.pixels for item in ITEMS])


def test_an_image_outside_of_the_file_is_named(tmp_path):
    images = [*IMAGES[:8], {"bytes": None, "path": "elsewhere.png"}]
    write(tmp_path, {"image": images, "label": LABELS})
    with pytest.raises(
        ImageError, match=r"0000.parquet row 8 must hold the bytes of an image, got"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"label": LABELS}, "one column of images .* got label in .*0000.parquet"),
        ({"image": IMAGES}, "and one of labels, named label, got image in"),
        ({"image": IMAGES, "other": IMAGES, "label": LABELS}, "got image, other, label in"),
        (
            {"image": IMAGES, "label": [0.5] * 9},
            "label in every row, got the type double in",
        ),
        ({"image": IMAGES, "label": [None, *LABELS[1:]]}, "got 1 empty ones in"),
        ({"image": IMAGES, "label": [-1, *LABELS[1:]]}, "from 0 to 2 .3 classes., got -1 in row 0"),
        (
            {"image": IMAGES, "label": [999, *LABELS[1:]]},
            "name them, got the label 999 among 9 tra",
        ),
        ({"image": IMAGES[:0], "label": LABELS[:0]}, "must have"),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path, table, message):
    write(tmp_path, table)
    with pytest.raises(data.DataError, match=message):
        load(tmp_path)


def test_labels_that_no_integer_holds_are_no_class(tmp_path):
    metadata = layouts.features()
    for label, kind in ((1 << 32, pa.int64()), ((1 << 64) - 1, pa.uint64())):
        labels = pa.array([label, *LABELS[1:]], kind)
        write(tmp_path, {"image": IMAGES, "label": labels}, metadata)
        with pytest.raises(
            data.DataError, match=r"training labels from 0 to 2 .* got 2147483647 in row"
        ):
            load(tmp_path)


def test_files_that_do_not_go_together_are_named(tmp_path):
    write(tmp_path, {"image": IMAGES, "label": LABELS})
    write(tmp_path, {"image": IMAGES, "label": ["a"] * 9}, splits=["train"])
    with pytest.raises(
        data.DataError, match="labels of one kind, got names in some splits and num"
    ):
        load(tmp_path)
    shutil.copy(tmp_path / "validation" / "0000.parquet", tmp_path / "train" / "0001.parquet")
    with pytest.raises(data.DataError, match=r"names in some files and numbers in others, such as"):
        load(tmp_path)
    write(tmp_path, {"image": IMAGES, "label": LABELS}, splits=["train"])
    table = pa.table({"picture": IMAGES, "label": LABELS})
    pq.write_table(table, tmp_path / "train" / "0001.parquet")
    with pytest.raises(data.DataError, match=r"same columns in every file, .* 0001\.parquet|0001"):
        load(tmp_path)


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(data.DataError, match="none wants the path of a folder, but there is none"):
        load(tmp_path / "none")
    with pytest.raises(data.DataError, match=r"must hold \*\.parquet files, got none"):
        load(tmp_path)
    write(tmp_path, {"image": IMAGES, "label": LABELS}, splits=["train"])
    with pytest.raises(data.DataError, match=r"as files train-\*.parquet and .*, got train\."):
        load(tmp_path)
    (tmp_path / "test.parquet").write_bytes(b"text")
    with pytest.raises(
        data.DataError, match=r"test.parquet cannot be read as a Parquet file: .*\.$"
    ):
        load(tmp_path)


def test_a_damaged_row_group_is_found_when_it_is_read(tmp_path):
    write(tmp_path, {"image": IMAGES, "label": LABELS})
    test = pickle.loads(pickle.dumps(load(tmp_path, memory_limit=1).test))  # with nothing kept
    file = tmp_path / "validation" / "0000.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = b"\xff" * 196
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r"parquet row \d cannot be read: .* page header failed; "):
        test.image(0)


def test_without_pyarrow_what_to_install_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(data.DataError, match=r"wants pyarrow, which .* pip install pyarrow\."):
        load(tmp_path)
