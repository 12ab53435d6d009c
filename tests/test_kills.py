"""Real runs that are killed at random moments end where an unbroken one ends, bit for bit."""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 30
TIMINGS = {"seconds", "images_per_second"}


class Runs:
    """Starts of one small run that saves and judges after each ten of its 30 steps.

    The folder of compiled programs is its own, so that kills hit compilation too.
    """

    def __init__(self, folder, devices):
        self.workdir, cache = folder / "run", folder / "cache"
        self._environment = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self._log = folder / "stderr.txt"

    def start(self, *shell):
        """Starts a process, by the words of a shell that is to become it if they are given."""
        command = [
            *(*shell, sys.executable, "-m", "mcl_jax.main", "--noreport"),
            *("--config=configs/quickstart.py:smoke", f"--workdir={self.workdir}"),
            *(f"--config.training.steps={STEPS}", "--config.training.log_every=1"),
            "--config.training.eval_every_epochs=1",
            "--config.training.checkpoint_every_epochs=1",
        ]
        with self._log.open("a") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=subprocess.DEVNULL, stderr=log
            )

    def finish(self):
        before = self._log.stat().st_size if self._log.exists() else 0
        assert self.start().wait(600) == 0, self._log.read_text()
        # Nothing that a kill cut short is stumbled over again and again.
        assert "warning" not in self._log.read_text()[before:].lower()

    def find_the_disk_full(self):
        """A start that can write no large file: it says so and leaves."""
        limited = "sh", "-c", 'ulimit -f 100 && exec "$@"', "sh"  # blocks of 512 bytes or 1024
        assert self.start(*limited).wait(600) == 1
        said = self._log.read_text().splitlines()[-1]
        assert said.startswith("error: ")
        assert "File too large" in said

    def starts(self):
        """How many processes have opened the log, which cuts what is after the checkpoint."""
        log = self.workdir / "log.jsonl"
        return log.read_text().count('"started"') if log.exists() else 0

    def steps_logged(self):
        log = self.workdir / "metrics.jsonl"
        text = log.read_text() if log.exists() else ""
        return max(map(int, re.findall(r'"step": (\d+)', text)), default=0)

    def steps_saved(self):
        saved = (self.workdir / "checkpoints").glob("*")
        return max((int(x.name) for x in saved if x.name.isdigit()), default=0)

    def kill(self, rng, longest):
        """Kills a start at a random moment; returns the steps that were logged and saved."""
        before, process, begun = self.starts(), self.start(), time.monotonic()
        if rng.random() < 0.25:  # any moment of the process: loading, compiling, the last figures
            delay = rng.uniform(0, longest)
            wait_for(process, lambda: time.monotonic() - begun > delay)
        else:
            step = rng.randint(self.steps_saved(), STEPS)
            wait_for(process, lambda: self.starts() > before)
            wait_for(process, lambda: self.steps_logged() >= step)
            time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        return self.steps_logged(), self.steps_saved()

    def results(self):
        """All that a run leaves, but for what depends on time or on how often it was started."""
        with np.load(self.workdir / "outputs.npz") as file:
            outputs = {name: (x.dtype, x.tobytes()) for name, x in file.items()}
        checkpoints = {}
        for path in sorted((self.workdir / "checkpoints").glob("*/manifest.json")):
            manifest = json.loads(path.read_text())
            checkpoints[path.parent.name] = manifest["leaves"], manifest["validation_accuracy"]
        return {
            "metrics": [without_timings(x) for x in records(self.workdir / "metrics.jsonl")],
            "summary": without_timings(json.loads((self.workdir / "summary.json").read_text())),
            "outputs": outputs,
            "checkpoints": checkpoints,
        }


def wait_for(process, wish):
    """Returns once the wish is true or the process is over."""
    while process.poll() is None and not wish():
        time.sleep(0.01)


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_timings(record):
    return {name: value for name, value in record.items() if name not in TIMINGS}


def survive(folder, devices, kills, seed):
    """Compares a run that is killed again and again with an unbroken one."""
    unbroken, broken = Runs(folder / "unbroken", devices), Runs(folder / "broken", devices)
    for runs in (unbroken, broken):
        runs.workdir.parent.mkdir(parents=True)
    begun = time.monotonic()
    unbroken.finish()
    longest = time.monotonic() - begun
    expected, rng = unbroken.results(), random.Random(seed)
    broken.find_the_disk_full()
    killed = []
    while len(killed) < kills:
        killed.append(broken.kill(rng, longest))
        if (broken.workdir / "summary.json").exists():  # begin again: there is more to be broken
            assert broken.results() == expected
            broken.workdir.rename(folder / f"done after {len(killed)} kills")
    broken.finish()
    found = broken.results()
    assert [x["step"] for x in found["metrics"] if "loss" in x] == list(range(1, STEPS + 1))
    assert [x["step"] for x in found["metrics"] if "loss" not in x] == list(
        range(10, STEPS + 1, 10)
    )
    for part, value in expected.items():
        assert found[part] == value, part
    print(f"{devices} devices, killed at (steps logged, steps saved): {killed}")  # noqa: T201


def test_a_run_survives_ten_kills(tmp_path):
    survive(tmp_path, devices=4, kills=10, seed=4)


@pytest.mark.long
@pytest.mark.parametrize("devices", [1, 4])
def test_a_run_survives_fifty_kills(tmp_path, devices):
    survive(tmp_path, devices, kills=50, seed=100 + devices)
