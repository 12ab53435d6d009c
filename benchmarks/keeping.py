"""What a run of the quickstart pays for what it keeps, and for its page.

    python benchmarks/keeping.py [--runs=5]

Seconds that training stands still for checkpoints, ``outputs.npz`` and syncing its logs; processor
seconds of the thread that writes checkpoints meanwhile; both beside the seconds of the whole run.
Then the page by its own command: seconds and size.
"""

import contextlib
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from absl import app, flags, logging

from configs import quickstart
from mcl_jax.compilation import keep_compiled_programs
from mcl_jax.report import Recorder
from mcl_jax.training import train, train_and_evaluate
from mcl_jax.training.checkpoint import Checkpoints

_RUNS = flags.DEFINE_integer("runs", 5, "Runs of the quickstart.", lower_bound=1)


@contextlib.contextmanager
def timed(owner: Any, name: str, clock: Callable[[], float], spent: list[float]) -> Iterator[None]:
    """Adds what each call of a function takes to ``spent``."""
    function = getattr(owner, name)

    def call(*args: Any, **options: Any) -> Any:
        start = clock()
        try:
            return function(*args, **options)
        finally:
            spent.append(clock() - start)

    with mock.patch.object(owner, name, call):
        yield


def keep(workdir: str) -> dict[str, float]:
    """Runs the quickstart; returns seconds by what they were spent on."""
    parts: dict[str, list[float]] = {"checkpoints": [], "outputs": [], "logs": [], "thread": []}
    with contextlib.ExitStack() as stack:
        for owner, name, part, clock in (
            (Checkpoints, "save", "checkpoints", time.perf_counter),
            (Checkpoints, "wait", "checkpoints", time.perf_counter),
            (train, "write_outputs", "outputs", time.perf_counter),
            (Recorder, "sync", "logs", time.perf_counter),
            (Checkpoints, "_write", "thread", time.thread_time),
        ):
            stack.enter_context(timed(owner, name, clock, parts[part]))
        summary = train_and_evaluate(quickstart.get_config(), workdir)
    return {name: sum(spent) for name, spent in parts.items()} | {"run": summary["seconds"]}


def page(workdir: str) -> tuple[float, float]:
    """Writes the page; returns seconds of the whole command, and megabytes."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mcl_jax.report", workdir], check=True, stdout=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - start
    return seconds, pathlib.Path(workdir, "report.html").stat().st_size / 1e6


def show(name: str, values: list[float], unit: str) -> None:
    """Prints a median and a range."""
    print(
        f"{name}: median {statistics.median(values):.3f} {unit}, range {min(values):.3f} to "
        f"{max(values):.3f}, {len(values)} runs"
    )


def main(argv: list[str]) -> None:
    """Prints every part, their share of the run, and the page."""
    del argv
    logging.set_verbosity(logging.WARNING)
    keep_compiled_programs()
    runs, pages = [], []
    for _ in range(_RUNS.value):
        with tempfile.TemporaryDirectory() as workdir:
            runs.append(keep(workdir))
            pages.append(page(workdir))
    for name in runs[0]:
        show(name, [run[name] for run in runs], "s")
    held = [100 * (run["checkpoints"] + run["outputs"] + run["logs"]) / run["run"] for run in runs]
    show("training held up", held, "% of the run")
    show(
        "with the thread",
        [h + 100 * r["thread"] / r["run"] for h, r in zip(held, runs, strict=True)],
        "% of the run",
    )
    show("page", [seconds for seconds, _ in pages], "s")
    show("page", [size for _, size in pages], "MB")


if __name__ == "__main__":
    app.run(main)
