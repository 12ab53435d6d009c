"""Streaming of JPEGs: images a second, memory, what a kill costs, and steps that wait for images.

    python benchmarks/input.py [--images=50000] [--side=224] [--batch=64] [--rounds=5]
                               [--part=rate --part=memory --part=kill --part=wait]

The images are made once, in ``--folder``: parts, of any scale, of the pictures in the wheels of
scikit-image and scikit-learn.

rate: what a stream delivers beside decoding and cropping in a bare loop, and beside decoding alone,
in turn (loop, stream, loop, stream, ...). Each turn is a process of its own that has one core for
all its threads and workers. Processor time is that of all of them together, so that it says the
same on a machine in use.
memory: what the process and its workers hold while every image passes a few times.
kill: a process is killed between two steps, and others with other numbers of workers go on.
wait: how long the steps of a training run stand still for images.
"""

import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import jax
import numpy as np
from absl import app, flags, logging
from PIL import Image

from mcl_jax import data
from mcl_jax.data.photographs import PICTURES, read

PARTS = ("rate", "memory", "kill", "wait")
_IMAGES = flags.DEFINE_integer("images", 50_000, "Images to make.", lower_bound=2000)
_SIDE = flags.DEFINE_integer("side", 224, "Pixels of a side.")
_BATCH = flags.DEFINE_integer("batch", 64, "B.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Turns of each kind.", lower_bound=1)
_BATCHES = flags.DEFINE_integer("batches", 32, "Batches of a turn.", lower_bound=1)
_MODEL = flags.DEFINE_string("model", "resnet18", "Encoders of the training run.")
_STEPS = flags.DEFINE_integer("steps", 10, "Steps of the training run.", lower_bound=1)
_FOLDER = flags.DEFINE_string(
    "folder", str(pathlib.Path(tempfile.gettempdir()) / "mcl_jax_jpegs"), "Where images are kept."
)
_PART = flags.DEFINE_multi_enum("part", PARTS, PARTS, "What to measure.")
_PASSES = flags.DEFINE_integer("passes", 3, "Over all images, for memory.", lower_bound=1)
_WORKERS = flags.DEFINE_multi_integer("workers", [0, 2], "Of the stream, for memory.")
_TASK = flags.DEFINE_list("task", None, "Used by the program itself.")

CLASSES = 100
WARM_UP = 8  # batches


def make(numbers: range, root: pathlib.Path, side: int) -> None:
    """Writes the images of some numbers: a part of a picture each."""
    pictures = [Image.fromarray(read(picture)) for picture in PICTURES]
    for number in numbers:
        rng, picture = np.random.default_rng(number), pictures[number % len(pictures)]
        length = int(rng.integers(160, min(picture.size), endpoint=True))
        left, top = (int(rng.integers(x - length, endpoint=True)) for x in picture.size)
        box = (left, top, left + length, top + length)
        image = picture.resize((side, side), Image.Resampling.BICUBIC, box=box)
        split = "test" if number // CLASSES % 10 == 0 else "train"
        path = root / split / f"{number % CLASSES:03d}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "jpeg", quality=90)


def folder() -> pathlib.Path:
    """The folder of images, which are made where they are not there."""
    root = pathlib.Path(_FOLDER.value) / f"{_IMAGES.value}_of_{_SIDE.value}"
    if not (root / "done").exists():
        parts = [range(start, _IMAGES.value, 8) for start in range(8)]
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(make, parts, [root] * 8, [_SIDE.value] * 8))
        (root / "done").touch()
    return root


def training_rows() -> data.Split:
    """The images, streamed."""
    return data.load(f"folder:{folder()}", validation_size=0, memory_limit=0).train


def stream(
    split: data.Split, workers: int, start: int = 0, stop: int | None = None
) -> Iterator[data.Batch]:
    """The library's stream with what an ImageNet run does on the host."""
    sampler = data.shuffled(len(split), _BATCH.value)
    crop = functools.partial(data.random_resized_crop, size=_SIDE.value)
    key = jax.random.key(0)
    return data.stream(split, sampler, key, start, crop, stop_step=stop, workers=workers)


def loop(split: data.Split, cropped: bool) -> Iterator[list[np.ndarray]]:
    """The same images, in a bare loop."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(split))
    for start in range(0, len(order), _BATCH.value):
        images = (split.image(row) for row in order[start : start + _BATCH.value])
        yield [
            data.random_resized_crop(image, rng, _SIDE.value) if cropped else image
            for image in images
        ]


def together() -> list[int]:
    """The numbers of this process and its workers."""
    return [os.getpid(), *(child.pid for child in multiprocessing.active_children())]


def processor_seconds() -> float:
    """What this process and its workers have used."""
    total = 0
    for number in together():
        stat = pathlib.Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(stat[11]) + int(stat[12])
    return total / os.sysconf("SC_CLK_TCK")


def held() -> float:
    """MiB of this process and its workers, without files and what they share."""
    pages = (pathlib.Path(f"/proc/{number}/status").read_text() for number in together())
    lines = (line for page in pages for line in page.splitlines() if line.startswith("RssAnon"))
    return sum(int(line.split()[1]) for line in lines) / 1024


# What the program does in processes of its own, by the first word of --task.


def tell_rate(kind: str) -> None:
    """Prints seconds and processor seconds of a turn."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    split = training_rows()
    alone = {"loop": True, "decode": False}
    made = loop(split, alone[kind]) if kind in alone else stream(split, int(kind))
    for _ in range(WARM_UP):
        next(made)
    start, used = time.perf_counter(), processor_seconds()
    for _ in range(_BATCHES.value):
        next(made)
    print(json.dumps([time.perf_counter() - start, processor_seconds() - used]), flush=True)
    made.close()


def tell_memory(workers: str) -> None:
    """Prints the memory after every tenth batch, and the seconds all took."""
    split, sizes = training_rows(), []
    start = time.perf_counter()
    steps = _PASSES.value * (len(split) // _BATCH.value)
    for step, _ in enumerate(stream(split, int(workers), stop=steps)):
        if step % 10 == 0:
            sizes.append(held())
    print(json.dumps([sizes, time.perf_counter() - start]), flush=True)


def tell_batches(workers: str, start: str, count: str) -> None:
    """Prints a digest of every batch."""
    for batch in stream(training_rows(), int(workers), int(start), int(start) + int(count)):
        whole = b"".join(np.ascontiguousarray(x).tobytes() for x in batch)
        print(json.dumps(hashlib.sha256(whole).hexdigest()), flush=True)


def tell_wait(workers: str) -> None:
    """Prints, for every step, its seconds and those it stood still for images."""
    from configs import imagenet
    from mcl_jax.training import loop
    from mcl_jax.training.run import batches, initial_state

    config = imagenet.get_config()
    config.data.source = f"folder:{folder()}"
    config.data.memory_limit = config.data.validation_size = 0
    config.data.workers = int(workers)
    config.data.batch_size = _BATCH.value
    config.data.image_size = _SIDE.value
    config.model.name, config.model.dtype = _MODEL.value, "float32"
    run = loop.ready(config)
    state = initial_state(config, run)
    made = batches(config, run, state)
    for step in range(_STEPS.value + 2):
        start = time.perf_counter()
        batch = next(made)
        waited = time.perf_counter() - start
        state, metrics = run.step(state, batch)
        jax.block_until_ready(metrics)
        if step >= 2:
            print(json.dumps([time.perf_counter() - start, waited]), flush=True)
    made.close()


TASKS = {"rate": tell_rate, "memory": tell_memory, "batches": tell_batches, "wait": tell_wait}


def process(*task: object) -> subprocess.Popen:
    """A process of this program that does a task."""
    options = [f"--{f.name}={f.value}" for f in _PASSED_ON]
    words = [sys.executable, __file__, f"--task={','.join(map(str, task))}", *options]
    # A tracker of shared memory tells of a process that was killed.
    errors = subprocess.DEVNULL if task[0] == "batches" else None
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)


_PASSED_ON = (_IMAGES, _SIDE, _BATCH, _BATCHES, _PASSES, _MODEL, _STEPS, _FOLDER)


def told(*task: object) -> list:
    """What a task prints."""
    with process(*task) as running:
        return [json.loads(line) for line in running.stdout]


def show_rate() -> None:
    """Streams beside loops."""
    kinds = {"loop": "decoding and cropping in a loop", "decode": "decoding alone"}
    kinds |= {"0": "stream, threads", "1": "stream, one worker"}
    images, turns = _BATCHES.value * _BATCH.value, []
    for _ in range(_ROUNDS.value):
        turns.append({kind: told("rate", kind)[0] for kind in kinds})
    for place, clock in enumerate(("elapsed on one core", "processor time")):
        print(f"images a second, {clock}")
        for kind, name in kinds.items():
            rates = [images / turn[kind][place] for turn in turns]
            ratios = [turn["loop"][place] / turn[kind][place] for turn in turns]
            print(
                f"  {name}: median {statistics.median(rates):.0f} ({min(rates):.0f} to "
                f"{max(rates):.0f}); of the loop {statistics.median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f})",
                flush=True,
            )


def show_memory() -> None:
    """What is held in each fifth of the run, and the slope over its second half."""
    for workers in _WORKERS.value:
        [(sizes, seconds)] = told("memory", workers)
        batches, half = 10 * len(sizes), sizes[len(sizes) // 2 :]
        fifths = [f"{np.median(part):.0f}" for part in np.array_split(sizes, 5)]
        slope = np.polyfit(10 * np.arange(len(half)), half, 1)[0]
        print(
            f"workers {workers}: {batches} batches in {seconds:.0f} s; MiB by fifths of them "
            f"{', '.join(fifths)}; slope {1024 * slope:.2f} KiB a batch, "
            f"{slope * batches / seconds * 3600:.0f} MiB an hour",
            flush=True,
        )


def show_kill() -> None:
    """Kills a process with two workers after some batches, and lets others go on."""
    steps, more = 23, 3
    with process("batches", 2, 0, 10**6) as running:
        before = [json.loads(running.stdout.readline()) for _ in range(steps)]
        running.kill()
        before += [json.loads(line) for line in running.stdout if line.endswith("\n")]
    done = len(before)
    unbroken = told("batches", 0, 0, done + more)
    after = {workers: told("batches", workers, done, more) for workers in (0, 1, 3)}
    same = {workers: before + batches == unbroken for workers, batches in after.items()}
    print(f"killed after {done} batches; goes on bit for bit, by its workers: {same}", flush=True)


def show_wait() -> None:
    """The share of a run's steps that is spent on waiting for images."""
    for workers in (0, 1):
        steps = told("wait", workers)
        share = sum(waited for _, waited in steps) / sum(took for took, _ in steps)
        took = statistics.median(took for took, _ in steps)
        print(
            f"{_MODEL.value}, batch {_BATCH.value}, workers {workers}: a step {took:.2f} s, of it "
            f"{100 * share:.2f} % waiting for images",
            flush=True,
        )


SHOWN = {"rate": show_rate, "memory": show_memory, "kill": show_kill, "wait": show_wait}


def main(argv: list[str]) -> None:
    """Measures, or does a task of it."""
    del argv
    logging.set_verbosity(logging.WARNING)
    if _TASK.value:
        TASKS[_TASK.value[0]](*_TASK.value[1:])
        return
    print(f"{_IMAGES.value} images of {_SIDE.value} pixels in {folder()}", flush=True)
    for part in PARTS:
        if part in _PART.value:
            print(f"{part}:", flush=True)
            SHOWN[part]()


if __name__ == "__main__":
    app.run(main)
