import itertools
import threading

import jax
import numpy as np
import pytest

from mcl_jax import data

KEY = jax.random.key(0)


class Rows:
    """Images of many sizes that hold their row number."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, row: int) -> np.ndarray:
        return np.random.default_rng(row).integers(0, 256, [20 + row, 30, 3], np.uint8)


SPLIT = data.Split(np.repeat(np.arange(4, dtype=np.int32), 6), rows=Rows())
SAMPLERS = [
    data.shuffled(24, 8),
    data.per_class(SPLIT.labels, batch_size=8, images_per_class=2, num_classes=4),
]


def crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return data.random_resized_crop(image, rng, 8)


def alive() -> int:
    return sum(thread.name.startswith("mcl_jax.data.stream") for thread in threading.enumerate())


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["shuffled", "per_class"])
def test_batches_are_a_function_of_key_and_step(sampler):
    run = list(data.stream(SPLIT, sampler, KEY, 0, crop, stop_step=7))
    assert len(run) == 7
    late = data.stream(SPLIT, sampler, KEY, 4, crop, threads=1, prefetch=1, stop_step=7)
    for early, again in zip(run[4:], late, strict=True):
        for mine, other in zip(early, again, strict=True):
            np.testing.assert_array_equal(mine, other)
    for step, batch in enumerate(run):
        np.testing.assert_array_equal(batch.index, sampler(KEY, step))
        np.testing.assert_array_equal(batch.labels, SPLIT.labels[batch.index])
        assert batch.images.shape == (8, 8, 8, 3)
        assert batch.images.dtype == np.uint8
        assert batch.index.dtype == np.int32


def test_a_raw_key_and_a_split_in_memory_do_too():
    held = data.Split(SPLIT.labels, images=np.zeros([24, 9, 9, 3], np.uint8))
    raw = data.stream(held, SAMPLERS[0], jax.random.PRNGKey(0), 0, crop, stop_step=1)
    typed = data.stream(held, SAMPLERS[0], KEY, 0, crop, stop_step=1)
    np.testing.assert_array_equal(next(raw).index, next(typed).index)


def test_another_epoch_crops_the_same_image_elsewhere():
    def of_row(start: int) -> np.ndarray:
        batches = data.stream(SPLIT, SAMPLERS[0], KEY, start, crop, stop_step=start + 3)
        return next(b.images[b.index == 5] for b in batches if (b.index == 5).any())

    assert (of_row(0) != of_row(3)).any()


def test_closing_ends_the_threads():
    batches = data.stream(SPLIT, SAMPLERS[0], KEY, 0, crop, prefetch=3)
    list(itertools.islice(batches, 2))
    assert alive() > 0
    batches.close()
    assert alive() == 0


def test_an_error_in_a_thread_reaches_the_caller_and_ends_the_threads():
    def fail(image, rng):
        raise OSError("cannot decode")

    batches = data.stream(SPLIT, SAMPLERS[0], KEY, 0, fail)
    with pytest.raises(OSError, match="cannot decode"):
        next(batches)
    assert alive() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads and prefetch must be at least 1, got 0 and 2"),
        ({"prefetch": 0}, "threads and prefetch must be at least 1, got 8 and 0"),
        ({"start_step": -1}, "start_step must be 0 or more"),
        ({"start_step": 3, "stop_step": 2}, "at most stop_step, got 3 and 2"),
        ({"sampler": data.shuffled(5, 2)}, "made for the 24 rows of split, got one for 5"),
    ],
)
def test_wrong_settings_are_named_at_once(options, message):
    settings = {"sampler": SAMPLERS[0], "start_step": 0, **options}
    with pytest.raises(data.DataError, match=message):
        data.stream(SPLIT, key=KEY, load=crop, **settings)


def test_images_of_different_shapes_are_refused():
    batches = data.stream(SPLIT, SAMPLERS[0], KEY, 0, lambda image, rng: image)
    with pytest.raises(data.DataError, match="load must return images of one shape"):
        next(batches)


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


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["shuffled", "per_class"])
def test_processes_decode_their_parts_of_the_batches_that_one_process_decodes(sampler):
    whole = list(data.stream(SPLIT, sampler, KEY, 2, crop, stop_step=5))
    for start, stop in ((0, 3), (3, 8)):
        here = np.arange(start, stop, dtype=np.int32)
        part = list(data.stream(SPLIT, sampler, KEY, 2, crop, stop_step=5, positions=here))
        for ours, all_rows in zip(part, whole, strict=True):
            np.testing.assert_array_equal(ours.position, here)
            for name in ("images", "labels", "index", "position"):
                np.testing.assert_array_equal(
                    getattr(ours, name), getattr(all_rows, name)[start:stop]
                )


def test_positions_are_within_a_batch():
    with pytest.raises(data.DataError, match=r"^positions must be from 0 to 7, got \[0, 8\]\.$"):
        data.stream(SPLIT, SAMPLERS[0], KEY, 0, crop, positions=np.array([0, 8], np.int32))


def test_crops_say_what_they_want():
    with pytest.raises(data.DataError, match="size must be 1 to resize=20, got 30"):
        data.centre_crop(np.zeros([40, 40, 3], np.uint8), size=30, resize=20)
    with pytest.raises(data.DataError, match=r"image must be uint8 .* shape \(40, 40, 4\)"):
        data.centre_crop(np.zeros([40, 40, 4], np.uint8), size=10, resize=20)
    with pytest.raises(data.DataError, match=r"image must be uint8 .* got float64"):
        data.random_resized_crop(np.zeros([40, 40, 3]), np.random.default_rng(0), 8)


def test_rows_are_drawn_where_the_environment_leaves_the_host_out(monkeypatch):
    split = data.Split(np.zeros([8], np.int32), images=np.zeros([8, 4, 4, 1], np.uint8))
    sampler, devices = data.shuffled(8, 4), jax.local_devices()

    def without_host(backend=None):
        if backend == "cpu":
            raise RuntimeError("Unknown backend cpu")
        return devices

    def rows():
        batches = data.stream(
            split, sampler, jax.random.key(0), 0, lambda image, rng: image, stop_step=3
        )
        return [batch.index.tolist() for batch in batches]

    expected = rows()
    monkeypatch.setattr(jax, "local_devices", without_host)
    assert rows() == expected
