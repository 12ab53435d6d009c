import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data.crops import middle


def test_a_random_crop_is_a_part_of_the_image_within_the_limits():
    # Red is the column and green the row, so the corners of a crop tell what was cut.
    image = np.zeros([100, 200, 3], np.uint8)
    image[..., 0], image[..., 1] = np.arange(200), np.arange(100)[:, None]
    rng = np.random.default_rng(0)
    for _ in range(50):
        crop = data.random_resized_crop(image, rng, 16, scale=(0.2, 0.5)).astype(float)
        width = (crop[0, -1, 0] - crop[0, 0, 0]) * 16 / 15
        height = (crop[-1, 0, 1] - crop[0, 0, 1]) * 16 / 15
        assert 0.15 < width * height / 20_000 < 0.58
        assert 0.65 < width / height < 1.5


def test_an_image_too_long_for_the_ratio_is_cut_in_its_centre():
    image = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], [4, 1, 1])
    crop = data.random_resized_crop(image, np.random.default_rng(0), 8, scale=(1, 1))
    assert crop.shape == (8, 8, 1)
    assert 95 < crop.mean() < 104


def test_a_centre_crop_keeps_the_aspect_and_the_centre():
    image = np.zeros([40, 80, 3], np.uint8)
    image[10:30, 30:50] = 255
    crop = data.centre_crop(image, size=10, resize=20)
    assert crop.shape == (10, 10, 3)
    np.testing.assert_array_equal(crop[1:-1, 1:-1], 255)
    same = data.centre_crop(image, size=40, resize=40)
    np.testing.assert_array_equal(same, image[:, 20:60])


def test_crops_say_what_they_want():
    with pytest.raises(data.DataError, match="size must be 1 to resize=20, got 30"):
        data.centre_crop(np.zeros([40, 40, 3], np.uint8), size=30, resize=20)
    with pytest.raises(data.DataError, match=r"image must be uint8 .* shape \(40, 40, 4\)"):
        data.centre_crop(np.zeros([40, 40, 4], np.uint8), size=10, resize=20)
    with pytest.raises(data.DataError, match=r"image must be uint8 .* got float64"):
        data.random_resized_crop(np.zeros([40, 40, 3]), np.random.default_rng(0), 8)


def test_the_middle_is_a_square_that_draws_nothing():
    image = np.zeros([20, 40, 3], np.uint8)
    image[:, 10:30] = 255
    square = middle(image, None, 10)
    assert square.shape == (10, 10, 3)
    np.testing.assert_array_equal(square[:, 1:-1], 255)
