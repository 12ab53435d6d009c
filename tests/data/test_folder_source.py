import shutil

import layouts
import numpy as np
import pytest

from mcl_jax import data


def load(source, **options):
    return data.load(source, validation_size=0, **options)


@pytest.fixture
def root(tmp_path):
    layouts.folder(tmp_path)
    return tmp_path


def test_classes_are_numbered_in_the_order_of_their_names(root):
    dataset = load(f"folder:{root}")
    assert dataset.class_names == layouts.CLASSES
    assert dataset.notice == f"The folder {root}."


def test_numbers_are_ordered_as_numbers(root):
    for split in ("train", "test"):
        for old, new in zip(layouts.CLASSES, ("10", "9", "2"), strict=True):
            (root / split / old).rename(root / split / new)
    assert load(f"folder:{root}").class_names == ("2", "9", "10")


def test_a_file_may_number_the_classes(root):
    (root / "classes.txt").write_text("cat\nant\nbee\n", "utf-8-sig")  # as Windows does
    dataset, before = load(f"folder:{root}"), layouts.CLASSES
    assert dataset.class_names == ("cat", "ant", "bee")
    truth = {item.pixels.tobytes(): before[item.label] for item in layouts.SPLITS["test"]}
    for image, label in zip(dataset.test.images, dataset.test.labels, strict=True):
        assert dataset.class_names[label] == truth[image.tobytes()]


def test_validation_stands_in_for_a_missing_test_and_is_itself_where_there_are_both(root):
    shutil.copytree(root / "test", root / "val")
    dataset = data.load(f"folder:{root}", validation_size=6)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (24, 6, 9)
    shutil.rmtree(root / "test")
    (root / "test").mkdir()  # as ImageNet's, whose images have no classes
    (root / "test" / "one.png").write_bytes(b"")
    dataset = data.load(f"folder:{root}", validation_size=6)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (18, 6, 9)


def test_other_files_hidden_ones_and_depth_do_not_matter(root):
    wanted = load(f"folder:{root}")
    for folder in (root, root / "train", root / "train" / "bee"):
        (folder / "notes.csv").write_text("")
        (folder / ".hidden").mkdir()
        (folder / ".hidden" / "one.png").write_bytes(b"")
        (folder / ".hidden.png").write_bytes(b"")
    deeper = root / "train" / "bee" / "more"
    deeper.mkdir()
    (deeper / "round").symlink_to(root / "train" / "bee")
    (root / "train" / "bee" / "1_001.png").rename(deeper / "1_001.PNG")
    dataset = load(f"folder:{root}")
    np.testing.assert_array_equal(dataset.train.images, wanted.train.images)
    np.testing.assert_array_equal(dataset.train.labels, wanted.train.labels)


def changed(root, change):
    change(root)
    with pytest.raises(data.DataError) as raised:
        load(f"folder:{root}")
    return str(raised.value).replace(str(root), "ROOT")


LAYOUT = "source folder:ROOT must have the splits train and test (or val), as folders "


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: shutil.rmtree(root), "wants the path of a folder, but there is none."),
        (lambda root: [shutil.rmtree(root / x) for x in ("train", "test")], "got none of them."),
        (lambda root: shutil.rmtree(root / "test"), "test/CLASS/*.jpg, got train."),
        (lambda root: shutil.rmtree(root / "train"), "test/CLASS/*.jpg, got test."),
        (
            lambda root: [shutil.rmtree(root / "test"), (root / "train").rename(root / "x")],
            "got images without them; move some of each class, for instance a fifth, to test/.",
        ),
        (
            lambda root: (root / "train" / "dog").mkdir(),
            "source folder:ROOT must have images in ROOT/train/dog, got none.",
        ),
        (
            lambda root: shutil.copytree(root / "test", root / "Test"),
            "source folder:ROOT must have one folder a split, got Test and test.",
        ),
        (
            lambda root: shutil.copytree(root / "test" / "ant", root / "test" / "dog"),
            "must have no other classes than ant, bee, cat in test, got dog.",
        ),
        (
            lambda root: [shutil.rmtree(root / x / y) for x in ("train", "test") for y in
                          ("bee", "cat")],
            "source must be a data set of two classes or more, got 1 in folder:ROOT.",
        ),
        (
            lambda root: (root / "classes.txt").write_text("ant\nant\nbee\ncat"),
            "ROOT/classes.txt must name every class once, a line each, got 4 lines.",
        ),
        (
            lambda root: (root / "classes.txt").write_text("ant\nbee\ncat\ndog"),
            "must have a folder in train for each class of classes.txt, got none for dog.",
        ),
        (
            lambda root: (root / "classes.txt").write_text("ant\nbee"),
            "must have no other classes than ant, bee in train, got cat.",
        ),
        (
            lambda root: (root / "classes.txt").write_bytes(b"\xff"),
            "ROOT/classes.txt cannot be read: 'utf-8' codec can't decode byte 0xff",
        ),
    ],
)  # fmt: skip
def test_a_folder_of_another_layout_is_named(root, change, sentence):
    said = changed(root, change)
    assert sentence in said
    assert said.endswith(".")


@pytest.mark.parametrize("function", ["pathlib.Path.iterdir", "os.scandir"])
def test_what_may_not_be_read_is_named(root, monkeypatch, function):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(function, refused)
    with pytest.raises(data.DataError, match=r"cannot be read: Permission denied\.$"):
        load(f"folder:{root}")


def test_a_tilde_is_home(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(load(f"folder:~/{root.name}").train) == 24
    with pytest.raises(data.DataError, match="folder:~nobody-here/x wants the path of a folder"):
        load("folder:~nobody-here/x")
