"""The command as a user runs it: small versions of every configuration, and mistakes."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))


def run(*arguments, check=True):
    """Runs the command from the root of the repository, on one CPU device."""
    return subprocess.run(
        [sys.executable, "-m", "mcl_jax.main", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=check,
        timeout=600,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_the_smoke_version_of_every_configuration_runs(name, tmp_path):
    result = run(f"--config=configs/{name}.py:smoke", f"--workdir={tmp_path}")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 4
    assert set(summary["test"]) == {"accuracy", "ensemble_accuracy", "knn_accuracy"}
    for row in ("network 0", "network 1", "ensemble", "random network", "raw pixels"):
        assert row in result.stdout
    assert "images/s" in result.stderr
    assert "loss" in result.stderr
    for file in ("config.json", "metrics.jsonl", "checkpoints"):
        assert (tmp_path / file).exists()


def test_overrides_reach_the_run_and_a_finished_run_ends_at_once(tmp_path):
    arguments = (
        "--config=configs/quickstart.py:smoke",
        f"--workdir={tmp_path}",
        "--config.method.networks=1",
        "--config.training.steps=2",
        "--config.data.name=digits",
    )
    run(*arguments)
    first = json.loads((tmp_path / "summary.json").read_text())
    assert first["steps"] == 2
    assert len(first["test"]["accuracy"]) == 1
    run(*arguments)
    assert json.loads((tmp_path / "summary.json").read_text())["test"] == first["test"]


MISTAKES = [
    (["--config.nope=1"], "error: the configuration has no field 'nope'."),
    (["--config.method.networks=two"], "error: flag --config.method.networks=two: invalid"),
    (["--config.method.name=foo"], "error: method.name must be one of supervised_mcl, got 'foo'"),
    (["--config.model.name=foo"], "error: model.name must be one of resnet20, "),
    (["--config.data.name=foo"], "error: data.name must be one of fashion_mnist, "),
    (["--config.data.name=tfds:cifar100", "--config.data.data_dir=/nowhere"], "is not prepared in"),
    (
        ["--config.data.batch_size=25"],
        "error: data.batch_size must be a multiple of images_",
    ),
    (["--config.parallel.devices=99"], "error: parallel.devices must be from 0 (all) to "),
    (["--config.optimizer.learning_rate=-1."], "error: optimizer.learning_rate must be at least"),
    (["--workdir=/proc/nowhere"], "error: workdir /proc/nowhere cannot be written: "),
    (["--nope"], "error: Unknown command line flag 'nope'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda x: str(x)[:40])
def test_a_mistake_is_answered_in_one_sentence(arguments, message, tmp_path):
    workdir = [] if any("workdir" in x for x in arguments) else [f"--workdir={tmp_path}"]
    result = run("--config=configs/quickstart.py:smoke", *workdir, *arguments, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config=configs/nope.py", "error: the file of --config cannot be loaded: "),
        (
            "--config=configs/quickstart.py:tiny",
            "error: the part of --config behind the colon must be",
        ),
        ("--workdir=x", "error: flag --config=None: Flag --config must have a value"),
    ],
)
def test_a_configuration_that_is_not_there_is_answered_in_one_sentence(argument, message):
    result = run(argument, check=False)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
