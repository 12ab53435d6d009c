import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data import photographs


@pytest.fixture(scope="module")
def source():
    return photographs.load()


def test_photographs_are_balanced_colour_crops_with_content(source):
    for split, count in ((source.train, 500), (source.validation, 60), (source.test, 120)):
        assert split.images.shape == (14 * count, 32, 32, 3)
        assert set(np.bincount(split.labels)) == {count}
        assert split.images.mean(-1).std((1, 2)).min() >= photographs.FLAT
    assert len(source.class_names) == 14


def test_photographs_are_the_same_every_time(source):
    again = photographs.load()
    np.testing.assert_array_equal(again.test.images, source.test.images)
    np.testing.assert_array_equal(again.train.images, source.train.images)


def test_larger_crops_have_content_too():
    large = data.load("photographs:64", validation_size=14, train_size=28)
    assert large.train.images.shape == (28, 64, 64, 3)
    assert large.test.images.mean(-1).std((1, 2)).min() >= photographs.FLAT
    rows = large.test.images[:14]  # one of each picture, none twice
    assert len({row.tobytes() for row in rows}) == 14


def test_cells_are_dealt_once_and_crops_stay_in_theirs():
    # Every pixel of the picture is its own colour, so a crop tells where it was cut.
    place = np.arange(256 * 192).reshape(256, 192)
    picture = np.stack([place % 256, place // 256, place * 37 % 256], -1).astype(np.uint8)
    corners = photographs.cells(picture)
    assert len(corners) == 12
    rng = np.random.default_rng(0)
    dealt = photographs.deal(corners, rng)
    assert [len(part) for part in dealt] == [9, 1, 2]
    assert len({tuple(corner) for part in dealt for corner in part}) == 12
    seen = []
    for part in dealt:
        crops = photographs.crops(picture, part, 20, rng).astype(int)
        pixels = crops[..., 0] + 256 * crops[..., 1]
        cell = pixels // 192 // 64 * 3 + pixels % 192 // 64
        assert (cell == cell[:, :1, :1]).all()
        seen.append(set(cell.ravel().tolist()))
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_flat_cells_are_left_out_and_too_few_crops_are_named():
    flat = np.zeros([64, 64, 3], np.uint8)
    assert photographs.cells(flat).shape == (0, 2)
    with pytest.raises(data.DataError, match="must have 5 crops with content, got 0"):
        photographs.crops(flat, np.array([[0, 0]]), 5, np.random.default_rng(0))


def test_every_picture_states_source_and_licence():
    for picture in photographs.PICTURES:
        assert picture.source in photographs.NOTICE
        assert picture.licence in photographs.NOTICE
        assert picture.name not in ("motorcycle", "moon", "page")


def test_a_changed_picture_is_refused():
    changed = photographs.PICTURES[0]._replace(sha256="0" * 64)
    with pytest.raises(data.DataError, match=r"astronaut.png of scikit-image must have the sha256"):
        photographs.read(changed)


def test_a_missing_picture_is_named():
    missing = photographs.PICTURES[-1]._replace(file="datasets/images/none.jpg")
    with pytest.raises(data.DataError, match=r"none.jpg of scikit-learn, which this version"):
        photographs.read(missing)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(data.DataError, match="pip install scikit-image"):
        photographs.read(photographs.PICTURES[0])


def test_validation_size_does_not_move_training_rows():
    small = data.load("photographs", validation_size=14, train_size=700)
    large = data.load("photographs", validation_size=840, train_size=700)
    np.testing.assert_array_equal(small.train.images, large.train.images)
    assert set(np.bincount(small.validation.labels)) == {1}
    with pytest.raises(data.DataError, match="validation_size must be at most 840"):
        data.load("photographs", validation_size=854)


def test_a_colour_histogram_counts_pixels():
    images = np.zeros([2, 2, 2, 3], np.uint8)
    images[1, 0, 0] = (255, 64, 0)
    histogram = data.colour_histogram(images)
    assert histogram.shape == (2, 64)
    assert histogram.dtype == np.float32
    np.testing.assert_allclose(histogram.sum(1), 1)
    assert histogram[0, 0] == 1
    assert histogram[1, 3 + 4] == 0.25
    assert data.colour_histogram(images[..., :1], levels=8).shape == (2, 8)


@pytest.mark.parametrize(
    ("images", "levels", "message"),
    [
        (np.zeros([2, 2, 2, 3], np.float32), 4, "uint8"),
        (np.zeros([2, 2, 2], np.uint8), 4, r"shape \(2, 2, 2\)"),
        (np.zeros([2, 2, 2, 3], np.uint8), 0, "levels must be 1 to 256, got 0"),
    ],
)
def test_a_colour_histogram_says_what_it_wants(images, levels, message):
    with pytest.raises(data.DataError, match=message):
        data.colour_histogram(images, levels=levels)
