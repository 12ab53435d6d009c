"""A run's one door to its files, its trackers and its terminal."""

import json
import pathlib
import subprocess
import sys
import types
from typing import Any

import pytest
from ml_collections import ConfigDict
from test_tensorboard import shown

from mcl_jax.report import Recorder

ROOT = pathlib.Path(__file__).parents[2]
LOSS = {"epoch": 0.5, "seconds": 2.0, "images_per_second": 100.0, "loss": 2.5, "vcl": [1.0, 2.0]}
VALIDATION = {
    "epoch": 0.5,
    "seconds": 2.0,
    "images_per_second": None,
    "validation": {"accuracy": [0.5, 0.75], "ensemble_accuracy": 0.875},
}


def config(*, tensorboard: bool = False, wandb: str = "") -> ConfigDict:
    return ConfigDict({"name": "tiny", "logging": {"tensorboard": tensorboard, "wandb": wandb}})


def objects(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_goes_to_its_file_and_to_the_terminal(tmp_path, capsys):
    with Recorder(tmp_path, config(), start=0, steps=3) as recorder:
        recorder.metrics({"step": 3, **LOSS})
        recorder.metrics({"step": 3, **VALIDATION})
    assert objects(tmp_path / "metrics.jsonl") == [{"step": 3, **LOSS}, {"step": 3, **VALIDATION}]
    assert capsys.readouterr().err.splitlines() == [
        "step 3/3, epoch 0.5: loss 2.500 vcl 1.500, 100 images/s",
        "step 3/3, epoch 0.5: validation accuracy 50.0 75.0 %, ensemble 87.5 %",
    ]


class Tracker(types.SimpleNamespace):
    """Stands for the package ``wandb``."""

    Error = RuntimeError


@pytest.fixture
def tracked(monkeypatch) -> list[tuple[int, dict[str, float]]]:
    """What Weights & Biases is told."""
    told: list[tuple[int, dict[str, float]]] = []
    run = types.SimpleNamespace(
        starting_step=0,
        log=lambda figures, step: told.append((step, figures)),
        finish=lambda exit_code: None,
    )
    monkeypatch.setitem(sys.modules, "wandb", Tracker(init=lambda **options: run))
    return told


def test_trackers_get_every_figure_under_its_tag(tmp_path, tracked):
    both = config(tensorboard=True, wandb="project")
    with Recorder(tmp_path, both, start=0, steps=3) as recorder:
        recorder.metrics({"step": 3, **LOSS})
        recorder.metrics({"step": 3, **VALIDATION})
    figures = {
        "run/epoch": 0.5,
        "run/seconds": 2.0,
        "run/images_per_second": 100.0,
        "train/loss": 2.5,
        "train/vcl/network_0": 1.0,
        "train/vcl/network_1": 2.0,
    }
    validation = {
        "validation/accuracy/network_0": 0.5,
        "validation/accuracy/network_1": 0.75,
        "validation/ensemble_accuracy": 0.875,
    }
    assert tracked == [(3, figures), (3, validation)]
    expected = {tag: {3: [value]} for tag, value in (figures | validation).items()}
    assert shown(tmp_path / "tensorboard") == expected


def test_a_figure_that_is_not_known_has_no_tag(tmp_path, tracked):
    with Recorder(tmp_path, config(wandb="project"), start=0, steps=3) as recorder:
        recorder.metrics({"step": 1, "images_per_second": None, "loss": 2.5})
    assert tracked == [(1, {"train/loss": 2.5})]


def test_what_is_off_leaves_nothing(tmp_path, tracked):
    with Recorder(tmp_path, config(), start=0, steps=3) as recorder:
        recorder.metrics({"step": 3, **LOSS})
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl", "metrics.jsonl"}
    assert tracked == []


def test_events_and_warnings_are_told_in_the_log(tmp_path, capsys):
    with Recorder(tmp_path, config(), start=0, steps=3) as recorder:
        recorder.event("start", step=0)
        recorder.warn("the clock runs backwards")
    lines = [{k: x[k] for k in x if k != "time"} for x in objects(tmp_path / "log.jsonl")]
    assert lines == [
        {"level": "info", "event": "start", "step": 0},
        {"level": "warning", "event": "warning", "text": "the clock runs backwards"},
    ]
    assert capsys.readouterr().err == "warning: the clock runs backwards\n"


def test_a_run_goes_on_after_its_step_and_its_history_stays(tmp_path):
    for start in (0, 2):
        with Recorder(tmp_path, config(tensorboard=True), start=start, steps=9) as recorder:
            assert [record["step"] for record in recorder.kept] == list(range(1, start + 1))
            recorder.event("start", step=start)
            for step in range(start + 1, 5):
                recorder.metrics({"step": step, "loss": 0.5})
    assert [x["step"] for x in objects(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert [x["step"] for x in objects(tmp_path / "log.jsonl")] == [0, 2]
    losses = shown(tmp_path / "tensorboard")["train/loss"]
    assert losses == {step: [0.5] for step in range(1, 5)}


def test_a_door_that_cannot_open_closes_what_it_had_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"^logging\.wandb is 'project'"):  # open files would warn
        Recorder(tmp_path, config(wandb="project"), start=0, steps=9)


KILLED = """
import json, os, pathlib, signal, sys
from ml_collections import ConfigDict
from mcl_jax.report import Recorder

folder, last = pathlib.Path(sys.argv[1]), int(sys.argv[2])
checkpoint = folder / "checkpoint"
start = int(checkpoint.read_text()) if checkpoint.exists() else 0
config = ConfigDict({"name": "tiny", "logging": {"tensorboard": True, "wandb": ""}})
with Recorder(folder, config, start=start, steps=9) as recorder:
    recorder.event("start", step=start)
    for step in range(start + 1, 10):
        recorder.metrics({"step": step, "loss": 1 / step})
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        if step % 3 == 0:
            recorder.sync()
            checkpoint.write_text(str(step))
"""


def test_a_run_that_is_killed_has_neither_gaps_nor_repeats(tmp_path):
    for last in (2, 3, 5, 8, 10):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(last)]
        subprocess.run(command, cwd=ROOT, check=False)
    steps = list(range(1, 10))
    assert [x["step"] for x in objects(tmp_path / "metrics.jsonl")] == steps
    assert [x["step"] for x in objects(tmp_path / "log.jsonl")] == [0, 0, 0, 3, 6]
    losses = shown(tmp_path / "tensorboard")["train/loss"]
    assert losses == {step: [pytest.approx(1 / step)] for step in steps}


def test_trackers_are_loaded_when_they_are_wanted():
    code = "import sys, mcl_jax.report; print(*{x.split('.')[0] for x in sys.modules})"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not set(process.stdout.split()) & {"tensorboardX", "wandb", "orbax"}


def test_figures_that_are_lost_are_told_of(tmp_path, capsys):
    with Recorder(tmp_path, config(), start=0, steps=4) as recorder:
        for step in (1, 2, 3):
            recorder.metrics({"step": step, **LOSS})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace("{", "x", 1))
    with Recorder(tmp_path, config(), start=3, steps=4) as recorder:
        assert [x["step"] for x in recorder.kept] == [2, 3]
    assert "warning: 1 lines of metrics.jsonl are damaged" in capsys.readouterr().err
    path.unlink()
    with Recorder(tmp_path, config(), start=3, steps=4):
        pass
    assert "warning: metrics.jsonl holds nothing of the 3 steps" in capsys.readouterr().err
