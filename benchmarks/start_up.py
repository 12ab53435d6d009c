"""Seconds from the command to the first training step of the quickstart, cold and warm.

    python benchmarks/start_up.py [--runs=5]

A cold run finds an empty cache of compiled programs, a warm one the cache of the run before it. The
first line of ``metrics.jsonl`` is written after the first step.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

_RUNS = flags.DEFINE_integer("runs", 5, "Pairs of a cold and a warm run.", lower_bound=1)

ROOT = pathlib.Path(__file__).parents[1]


def first_step(cache: pathlib.Path) -> float:
    """Runs the quickstart up to its first step; returns the seconds that took."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mcl_jax.main", "--config=configs/quickstart.py"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, f"--workdir={folder}"],
            cwd=ROOT,
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
            stderr=subprocess.DEVNULL,
        )
        log = pathlib.Path(folder) / "metrics.jsonl"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        process.terminate()
        process.wait()
    return seconds


def main(argv: list[str]) -> None:
    """Prints the median and range of both."""
    del argv
    with tempfile.TemporaryDirectory() as folder:
        cache = pathlib.Path(folder) / "compiled"
        cold, warm = [], []
        for _ in range(_RUNS.value):
            shutil.rmtree(cache, ignore_errors=True)
            cold.append(first_step(cache))
            warm.append(first_step(cache))
    for name, seconds in (("cold", cold), ("warm", warm)):
        print(
            f"{name}: median {statistics.median(seconds):.1f} s, range {min(seconds):.1f} to "
            f"{max(seconds):.1f}, {len(seconds)} runs"
        )


if __name__ == "__main__":
    app.run(main)
