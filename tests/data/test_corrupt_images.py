import pickle
import shutil

import layouts
import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data import encoded_source
from mcl_jax.data.decoding import ImageError
from mcl_jax.data.replacing import replacing

STREAM = {"memory_limit": 1}
BROKEN = ("ant/1_003.png", "bee/1_004.png", "bee/1_013.png")


@pytest.fixture
def source(tmp_path):
    """A folder of which three training images are cut short."""
    held = layouts.folder(tmp_path)
    for name in BROKEN:
        file = tmp_path / "train" / name
        file.write_bytes(file.read_bytes()[:-60])
    return held


def load(source, **options):
    return data.load(source, validation_size=0, **options)


def pixels(name: str) -> np.ndarray:
    return next(item.pixels for item in layouts.SPLITS["train"] if item.stem in name)


def test_in_memory_the_first_corrupt_image_stops_and_is_named(source):
    with pytest.raises(data.DataError, match=r"train/ant/1_003.png cannot be decoded: .* corrupt="):
        load(source)


def test_in_memory_corrupt_images_are_left_out_counted_and_named(source):
    with pytest.warns(UserWarning, match=r"3 of 24 train images are left out: ") as told:
        dataset = load(source, corrupt="skip")
    assert all(name in str(told[0].message) for name in BROKEN)
    assert (len(dataset.train), len(dataset.test)) == (21, 9)
    held = {image.tobytes() for image in dataset.train.images}
    assert not held & {pixels(name).tobytes() for name in BROKEN}


def test_streamed_corrupt_images_stop_when_they_are_asked_for(source, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(encoded_source, "decode", None)  # nothing is decoded at the start
        train = load(source, **STREAM).train
    named = []
    for row in range(len(train)):
        try:
            train.image(row)
        except data.DataError as error:
            named.append(str(error).split(" cannot be decoded: ")[0])
    assert sorted(name[-len(BROKEN[0]) :] for name in named) == list(BROKEN)


@pytest.mark.filterwarnings("ignore:.*another of its class stands")
def test_streamed_corrupt_images_give_way_to_one_of_their_class_whatever_was_asked_before(source):
    forwards, backwards = (load(source, corrupt="skip", **STREAM).train for _ in range(2))
    first = [forwards.image(row) for row in range(24)]
    last = [backwards.image(row) for row in reversed(range(24))][::-1]
    np.testing.assert_array_equal(first, last)
    assert len(forwards.rows.skipped) == len(BROKEN)
    labels = {item.pixels.tobytes(): item.label for item in layouts.SPLITS["train"]}
    assert [labels[image.tobytes()] for image in first] == forwards.labels.tolist()
    strict = load(source, **STREAM).train
    for row in set(range(24)) - set(forwards.rows.skipped):
        np.testing.assert_array_equal(first[row], strict.image(row))


def test_each_is_named_once_and_counted(source):
    train = load(source, corrupt="skip", **STREAM).train
    with pytest.warns(UserWarning, match="another of its class stands for it") as told:
        _ = [train.image(row) for row in (*range(24), *range(24))]
    assert len(told) == 3
    assert "(3 so far)" in str(told[-1].message)
    assert pickle.loads(pickle.dumps(train)).rows.skipped == train.rows.skipped


def test_a_class_without_readable_images_stops(source, tmp_path):
    for file in (tmp_path / "train" / "bee").iterdir():
        file.write_bytes(b"")
    train = load(source, corrupt="skip", **STREAM).train
    row = train.labels.tolist().index(1)
    with (
        pytest.warns(UserWarning, match="it is empty; another of its class stands for it"),
        pytest.raises(
            data.DataError, match=r"found no readable image of class 1: .*it is empty\.$"
        ),
    ):
        train.image(row)


@pytest.mark.filterwarnings("ignore:.*another of its class stands")
def test_replacements_come_from_the_split_itself(source):
    """A row of the other split would let validation into training."""
    for seed in range(4):
        dataset = data.load(source, validation_size=12, seed=seed, corrupt="skip", **STREAM)
        sets = [
            {split.image(row).tobytes() for row in range(len(split))}
            for split in (dataset.train, dataset.validation)
        ]
        assert not sets[0] & sets[1]


def test_a_set_of_nothing_readable_stops_at_once(source, tmp_path):
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"text")
    with pytest.raises(
        data.DataError, match=r"got 33 of 33 that cannot be taken: .*Pillow knows\."
    ):
        load(source, corrupt="skip")


@pytest.mark.filterwarnings("ignore:.*24 of 24 train images are left out")
def test_a_split_of_which_nothing_is_left_stops(source, tmp_path):
    for file in (tmp_path / "train").rglob("*.png"):
        file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(data.DataError, match="must have training rows, got none"):
        load(source, corrupt="skip")


def test_many_are_counted_and_the_first_named(source, tmp_path):
    for file in (tmp_path / "train" / "cat").iterdir():
        file.write_bytes(b"")
    for file in sorted((tmp_path / "train" / "ant").iterdir())[:5]:
        file.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"15 of 24 train .*cat/1_005.png cann.* and 5 more\.$"):
        assert len(load(source, corrupt="skip").train) == 9


def test_a_file_that_cannot_be_read_is_named(source, tmp_path):
    dataset = load(source, **STREAM)
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(
        ImageError, match=r"/test/.*png cannot be read: No such file or directory; "
    ):
        dataset.test.image(0)


@pytest.mark.parametrize("places", [1, 16])  # the larger image is not, or is looked at
def test_images_of_several_sizes_stream(tmp_path, monkeypatch, places):
    monkeypatch.setattr(encoded_source, "_PLACES", places)
    items = [*layouts.images(20, 3), *layouts.images(1, 4, size=9)]
    train = load(layouts.folder(tmp_path, {"train": items, "test": items[:3]})).train
    assert train.streams
    sizes = [train.image(row).shape for row in range(len(train))]
    assert (sizes.count((8, 8, 3)), sizes.count((9, 9, 3))) == (20, 1)


def test_gray_sets_stay_gray_and_gray_images_among_colour_become_colour(tmp_path):
    def gray(items):
        return [item._replace(pixels=item.pixels[:, :, :1]) for item in items]

    all_gray = {split: gray(items) for split, items in layouts.SPLITS.items()}
    dataset = load(layouts.folder(tmp_path / "gray", all_gray))
    assert dataset.train.images.shape == (24, 8, 8, 1)
    mixed = {"train": layouts.SPLITS["train"], "test": gray(layouts.SPLITS["test"])}
    dataset = load(layouts.folder(tmp_path / "mixed", mixed))
    assert dataset.test.images.shape == (9, 8, 8, 3)
    assert (dataset.test.images == dataset.test.images[..., :1]).all()


def test_in_memory_splits_are_left_alone():
    split = data.Split(np.zeros([2], np.int32), images=np.zeros([2, 4, 4, 1], np.uint8))
    assert replacing(split) is split
