"""What a run would take, held against the run itself."""

import io
import itertools
import types

import jax
import numpy as np
import pytest
import tiny
from rich.console import Console

from mcl_jax import config as config_lib
from mcl_jax.data import Dataset, Split
from mcl_jax.report.dry_run_table import dry_run_table
from mcl_jax.training import dry_run, footprint, train_and_evaluate

# A network of `tiny` by hand: the stem of 3 x 3 weights, its scale and offset; two convolutions of
# 4 channels with theirs; the classifier of 4 classes; the head of two layers, 8 wide.
PARAMETERS = (9 * 4 + 8) + 2 * (9 * 4 * 4 + 8) + (4 * 4 + 4) + (4 * 8 + 8) + (8 * 8 + 8)


class Clock:
    """Six seconds pass between two looks."""

    def __init__(self) -> None:
        self.perf_counter = itertools.count(step=6).__next__


class Rows:
    """Images of two sizes that are made when they are asked for."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> np.ndarray:
        return np.tile(self.images[row], (1 + row % 2, 1, 1))


def streamed() -> Dataset:
    """The tiny set, streamed."""
    resident = tiny.dataset()
    splits = {
        name: Split(getattr(resident, name).labels, rows=Rows(getattr(resident, name).images))
        for name in ("train", "validation", "test")
    }
    return Dataset("streamed", **splits, class_names=resident.class_names, notice="")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, tmp_path):
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())
    for module in (dry_run, footprint):
        monkeypatch.setattr(module, "time", Clock())
    monkeypatch.chdir(tmp_path)


def bytes_of(tree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_it_tells_what_the_run_is_and_writes_nothing(tmp_path):
    config = tiny.config(training__steps=0, training__epochs=2, method__networks=1)
    figures = dry_run.dry_run(config)
    assert list(tmp_path.iterdir()) == []
    assert figures["rows"] == {"train": 64, "validation": 64, "test": 64}
    assert (figures["steps_per_epoch"], figures["epochs"]) == (4, 2)
    assert figures["steps"] == train_and_evaluate(config, tmp_path / "run")["steps"] == 8


KINDS = [
    ({"parallel__devices": 4, "training__steps_per_dispatch": 2, "training__steps": 6}, False),
    ({"parallel__devices": 2, "parallel__mapper": "pmap", "method__networks": 1}, True),
]


@pytest.mark.parametrize(("changes", "streams"), KINDS)
def test_memory_and_time_are_those_of_the_run(changes, streams, monkeypatch):
    if streams:
        monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: streamed())
        changes = changes | {"data__image_size": 8, "data__mean": (0.4,), "data__std": (0.2,)}
    config = tiny.config(**changes)
    figures = dry_run.dry_run(config)
    dataset = streamed() if streams else tiny.dataset()
    _, state, _ = tiny.run_steps(config, dataset, steps=0)

    networks = config.method.networks
    cohort = networks * PARAMETERS
    assert figures["parameters"] == {"networks": [PARAMETERS] * networks, "cohort": cohort}
    held = figures["held_bytes"]
    assert held["parameters"] == bytes_of(state.params) == 4 * cohort
    assert held["optimizer"] == bytes_of(state.optimizer) > held["parameters"]  # momenta, a count
    assert held["other state"] == bytes_of(state._replace(params=None, optimizer=None))
    assert held["data set"] == (0 if streams else 64 * (8 * 8 + 4))

    step, whole = figures["step_bytes"], bytes_of(state)
    assert step["total"] == step["arguments"] + step["temporary"] + step["results"]
    # The state and this device's data go in; all of the state but for numbers is used again.
    images = 16 // config.parallel.devices * 8 * 8 if streams else held["data set"]
    assert whole + images <= step["arguments"] <= whole + images + 2000
    assert step["temporary"] > 0
    assert 0 < step["results"] < 1000
    assert figures["peak_bytes"] is None  # a CPU does not tell

    # Two looks at the clock around three dispatches.
    seconds = 6 / 3 / config.training.steps_per_dispatch
    assert figures["compile_seconds"] == 6
    assert figures["step_seconds"] == seconds
    assert figures["images_per_second"] == 16 / seconds
    assert figures["epoch_seconds"] == 4 * seconds
    assert figures["run_seconds"] == config.training.steps * seconds

    console = Console(record=True, width=100, file=io.StringIO())
    console.print(dry_run_table(figures))
    assert f"cohort of {config.method.networks} " in console.export_text()


def test_what_a_platform_tells_of_its_memory_is_told():
    def device(stats: dict[str, int] | None) -> types.SimpleNamespace:
        return types.SimpleNamespace(memory_stats=lambda: stats)

    assert dry_run._peak((device({"peak_bytes_in_use": 3}), device({"peak_bytes_in_use": 5}))) == 5
    assert dry_run._peak((device({"bytes_in_use": 3}), device(None))) is None
    assert footprint._memory(types.SimpleNamespace(memory_analysis=lambda: None)) is None
    assert footprint.Footprint(2.34, None).sentence() == "the step is compiled (2.3 s)"


def test_a_run_that_cannot_be_is_refused_as_it_would_be():
    with pytest.raises(config_lib.ConfigError, match=r"^parallel\.devices must be from 0"):
        dry_run.dry_run(tiny.config(parallel__devices=99))
