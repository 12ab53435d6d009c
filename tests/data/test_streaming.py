import hashlib
import itertools
import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import jax
import numpy as np
import pytest

from mcl_jax import data

KEY = jax.random.key(0)
ROOT = pathlib.Path(__file__).parents[2]


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


def two_crops(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return data.several(image, rng, (crop, crop))


def threads_end() -> bool:
    """Whether no thread decodes, after what is under way."""
    until = time.monotonic() + 5
    while any(thread.name.startswith("grain") for thread in threading.enumerate()):
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def assert_same(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        for one, another in zip(mine, other, strict=True):
            np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["shuffled", "per_class"])
def test_batches_are_a_function_of_key_and_step(sampler):
    run = list(data.stream(SPLIT, sampler, KEY, 0, crop, stop_step=7))
    assert len(run) == 7
    late = data.stream(SPLIT, sampler, KEY, 4, crop, threads=1, prefetch=1, stop_step=7)
    assert_same(run[4:], late)
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


def test_several_crops_are_of_one_decoding_and_a_function_of_key_and_step(monkeypatch):
    decoded = []
    read = Rows.__getitem__
    monkeypatch.setattr(
        Rows, "__getitem__", lambda self, row: decoded.append(row) or read(self, row)
    )
    run = list(data.stream(SPLIT, SAMPLERS[0], KEY, 0, two_crops, stop_step=3))
    assert sorted(decoded) == list(range(24))
    late = data.stream(SPLIT, SAMPLERS[0], KEY, 1, two_crops, threads=1, stop_step=3)
    assert_same(run[1:], late)
    single = data.stream(SPLIT, SAMPLERS[0], KEY, 0, crop, stop_step=3)
    for batch, one in zip(run, single, strict=True):
        assert batch.images.shape == (8, 2, 8, 8, 3)
        np.testing.assert_array_equal(batch.images[:, 0], one.images)
        assert (batch.images[:, 1] != one.images).any(axis=(1, 2, 3)).all()


def test_closing_ends_the_threads():
    batches = data.stream(SPLIT, SAMPLERS[0], KEY, 0, crop, prefetch=3)
    list(itertools.islice(batches, 2))
    batches.close()
    assert threads_end()
    with pytest.raises(StopIteration):
        next(batches)


def test_an_error_in_a_thread_reaches_the_caller_and_ends_the_threads():
    def fail(image, rng):
        raise OSError("cannot decode")

    batches = data.stream(SPLIT, SAMPLERS[0], KEY, 0, fail)
    with pytest.raises(OSError, match="cannot decode"):
        next(batches)
    assert threads_end()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads and prefetch must be at least 1, got 0 and 2"),
        ({"prefetch": 0}, "threads and prefetch must be at least 1, got 8 and 0"),
        ({"workers": -1}, r"workers must be 0 \(threads\) or more, got -1"),
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


@pytest.mark.parametrize("positions", [[0, 8], []])
def test_positions_are_within_a_batch(positions):
    message = rf"^positions must be from 0 to 7, at least one, got {re.escape(str(positions))}\.$"
    with pytest.raises(data.DataError, match=message):
        data.stream(SPLIT, SAMPLERS[0], KEY, 0, crop, positions=np.array(positions, np.int32))


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


class Trouble(Rows):
    """Rows of which one is told of in a warning, and a later one cannot be decoded."""

    def __init__(self, odd: int, bad: int):
        self.odd, self.bad = odd, bad

    def __getitem__(self, row: int) -> np.ndarray:
        if row == self.odd:
            warnings.warn(f"{row}.jpg cannot be decoded: odd.", data.DataWarning, stacklevel=2)
        if row == self.bad:
            raise data.DataError(f"{row}.jpg cannot be decoded: bad.")
        return super().__getitem__(row)


def test_worker_processes_give_the_same_batches_warnings_and_errors(monkeypatch):
    here = np.array([1, 2, 5, 7], np.int32)
    settings = {"start_step": 1, "load": two_crops, "stop_step": 7, "positions": here}
    order = np.concatenate([SAMPLERS[1](KEY, step)[here] for step in range(1, 7)]).tolist()
    bad = next(row for row in reversed(order) if order.index(row) >= 4 * 4)
    trouble = data.Split(SPLIT.labels, rows=Trouble(order[0], bad))
    threads = data.stream(SPLIT, SAMPLERS[1], KEY, **settings)
    # A worker would not find this device, so it asks for none.
    monkeypatch.setenv("JAX_PLATFORMS", "none such")
    workers = data.stream(trouble, SAMPLERS[1], KEY, **settings, workers=2)
    with pytest.warns(data.DataWarning, match=rf"^{order[0]}.jpg cannot be decoded: odd"):
        first = next(workers)
    assert len(multiprocessing.active_children()) == 2
    assert type(first.images) is np.ndarray
    ours = [first]
    with pytest.raises(data.DataError, match="bad") as caught:
        ours.extend(workers)
    assert str(caught.value) == f"{bad}.jpg cannot be decoded: bad."
    assert "in __getitem__" in caught.value.__notes__[0]
    assert len(ours) >= 4
    assert_same(ours, itertools.islice(threads, len(ours)))
    assert bad in next(threads).index
    assert multiprocessing.active_children() == []


# A script of a user, which tells of every batch.
SCRIPT = """
import hashlib, multiprocessing, os, sys, time
sys.path.insert(0, {folder!r})
from test_streaming import KEY, SAMPLERS, SPLIT, crop, digest
from mcl_jax import data

if __name__ == "__main__":
    batches = data.stream(SPLIT, SAMPLERS[0], KEY, 0, crop, workers=1)
    for batch in batches:
        worker = multiprocessing.active_children()[0]
        print(digest(batch), worker.pid, flush=True)
        time.sleep(0.01)
"""


def digest(batch: data.Batch) -> str:
    return hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in batch)).hexdigest()


def test_a_killed_script_goes_on_with_the_very_next_batch_and_leaves_no_worker(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(folder=str(pathlib.Path(__file__).parent)))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, path]
    options = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **options) as script:
        told = [script.stdout.readline().split() for _ in range(5)]
        # As a terminal or a cluster tells all processes at once: workers leave it to their parent.
        worker = int(told[0][1])
        os.kill(worker, signal.SIGINT)
        os.kill(worker, signal.SIGTERM)
        told += [script.stdout.readline().split() for _ in range(5)]
        script.send_signal(signal.SIGKILL)
        told += [line.split() for line in script.stdout if line.endswith(b"\n")]
    until = time.monotonic() + 20
    while pathlib.Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not pathlib.Path(f"/proc/{worker}").exists()
    done = len(told)
    unbroken = data.stream(SPLIT, SAMPLERS[0], KEY, 0, crop, stop_step=done + 2)
    digests = [digest(batch) for batch in unbroken]
    assert [x[0].decode() for x in told] == digests[:done]
    resumed = data.stream(SPLIT, SAMPLERS[0], KEY, done, crop, stop_step=done + 2)
    assert [digest(batch) for batch in resumed] == digests[done:]


def test_what_a_worker_cannot_be_sent_is_named_at_once():
    rows = Trouble(0, 0)
    rows.lock = threading.Lock()
    with pytest.raises(data.DataError, match=r"must be picklable, .* got TypeError: cannot pickle"):
        data.stream(data.Split(SPLIT.labels, rows=rows), SAMPLERS[0], KEY, 0, crop, workers=1)


def test_images_in_memory_are_cropped_in_this_process():
    split = data.Split(SPLIT.labels, images=np.zeros([24, 9, 9, 3], np.uint8))
    next(data.stream(split, SAMPLERS[0], KEY, 0, crop, workers=2))
    assert multiprocessing.active_children() == []


def end(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    os._exit(3)


def test_a_worker_that_ends_is_told_of():
    batches = data.stream(SPLIT, SAMPLERS[0], KEY, 0, end, workers=1)
    with pytest.raises(data.DataError, match=r"has ended \(.*exit code 3\); .*workers=0 decodes"):
        next(batches)
    assert multiprocessing.active_children() == []
