import tarfile

import layouts
import numpy as np
import pytest

from mcl_jax import data


def load(root, **options):
    return data.load(f"tar:{root}", validation_size=0, **options)


ITEMS = layouts.SPLITS["test"]


def write(file, members):
    with tarfile.open(file, "w") as opened:
        for name, content in members:
            layouts.add(opened, name, content)


def samples(labels=None, folder=""):
    for row, item in enumerate(ITEMS):
        yield f"{folder}{item.stem}.png", item.png
        label = item.label if labels is None else labels[row]
        yield f"{folder}{item.stem}.cls", str(label).encode()


def both(root, members):
    members = list(members)
    write(root / "train.tar", members)
    write(root / "val.tar", members)


def test_without_a_list_numbers_name_the_classes(tmp_path):
    both(tmp_path, samples())
    assert load(tmp_path).class_names == ("0", "1", "2")


def test_labels_may_be_names(tmp_path):
    both(tmp_path, [
        (name, layouts.CLASSES[int(held)].encode() if name.endswith("cls") else held)
        for name, held in samples(folder="some/where/")
    ])  # fmt: skip
    dataset = load(tmp_path)
    assert dataset.class_names == layouts.CLASSES
    truth = {item.pixels.tobytes(): item.label for item in ITEMS}
    found = [truth[image.tobytes()] for image in dataset.test.images]
    np.testing.assert_array_equal(found, dataset.test.labels)


def test_other_members_are_passed_over_and_endings_may_be_large(tmp_path):
    extra = [("README", b""), (".hidden.png", b""), (f"{ITEMS[0].stem}.json", b"{}")]
    members = [(name.replace("png", "PNG"), held) for name, held in samples()]
    both(tmp_path, [*extra, *members])
    assert len(load(tmp_path).test) == 9


def test_names_beyond_a_hundred_characters_are_read(tmp_path):
    both(tmp_path, samples(folder="x" * 90 + "/" + "y" * 90 + "/"))
    test = load(tmp_path, memory_limit=1).test
    assert test.image(0).shape == (8, 8, 3)
    assert test.rows.images.name(0).endswith("val.tar: " + "x" * 90 + "/" + "y" * 90 + "/2_000.png")


def cut(size):
    def make(root):
        both(root, samples())
        file = root / "train.tar"
        file.write_bytes(file.read_bytes()[:size])

    return make


def compressed(root):
    for split in ("train", "test"):
        with tarfile.open(root / f"{split}.tar", "w:gz") as opened:
            layouts.add(opened, "one.cls", b"0")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, r"must hold \*\.tar files, got none"),
        (
            lambda root: write(root / "a.tar", samples()),
            r"as files train-\*.tar and .*none of them",
        ),
        (lambda root: both(root, []), "must have training rows, got none"),
        (lambda root: both(root, [("a.png", b"")]), r"must have a label a\.cls beside a\.png\."),
        (lambda root: both(root, [("a.cls", b"0"), ("a.png", b""), ("a.jpg", b"")]), "two of a"),
        (lambda root: both(root, [("a.left.png", b""), ("a.cls", b"0")]), r"beside a\.cls\.$"),
        (
            lambda root: both(root, [("a.cls", b"\xff")]),
            r"train.tar must have labels in UTF-8, .*a.cls",
        ),
        (lambda root: both(root, samples(["1" * 9999] * 9)), "got the label 4611686018427387904"),
        (lambda root: both(root, samples([7, *[10**30] * 8])), "got the label 4611686018427387904"),
        (lambda root: both(root, samples([-1] * 9)), "two classes or more, got 1"),
        (compressed, r"train\.tar cannot be read as a tar, uncompressed: .*\.$"),
        (cut(1000), r"train\.tar cannot be read as a tar, uncompressed: unexpected end of data\.$"),
        (cut(2100), r"train\.tar must be a whole tar, got one that breaks off at byte 2048\.$"),
        (cut(5), r"train\.tar cannot be read as a tar, uncompressed: truncated header\.$"),
        (lambda root: (root / "classes.txt").write_text("a\nb"), "must hold"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(data.DataError, match=message):
        load(tmp_path)
