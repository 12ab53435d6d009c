"""The command as a user runs it: small versions of every configuration, and mistakes."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from mcl_jax import main as command
from mcl_jax import methods, models

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
SMOKE = "--config=configs/quickstart.py:smoke"


def run(*arguments, check=True, platforms="cpu"):
    """Runs the command from the root of the repository, on one CPU device."""
    return subprocess.run(
        [sys.executable, "-m", "mcl_jax.main", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": platforms},
        capture_output=True,
        text=True,
        check=check,
        timeout=600,
    )


@pytest.fixture
def told(capsys, monkeypatch):
    """Runs the command in this process; returns the one sentence that it says."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("mcl_jax.compilation.compiled_programs_kept", contextlib.nullcontext)

    def run(*arguments):
        assert command.main(list(arguments)) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        return shown.err.removeprefix("error: ").strip()

    return run


@pytest.fixture
def runs_here(capsys, monkeypatch):
    """Runs the command in this process, on one device; returns what it shows and tells."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("mcl_jax.compilation.compiled_programs_kept", contextlib.nullcontext)

    def run(*arguments):
        assert command.main([*arguments, "--config.parallel.devices=1"]) == 0
        shown = capsys.readouterr()
        return shown.out, shown.err

    return run


@pytest.mark.parametrize("name", CONFIGS)
def test_the_smoke_version_of_every_configuration_runs(name, tmp_path, runs_here):
    pages = name in ("quickstart", "quickstart_moco")  # with a classifier, and with neighbours
    report = "--report" if pages else "--noreport"
    shown, told = runs_here(f"--config=configs/{name}.py:smoke", f"--workdir={tmp_path}", report)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 4
    assert set(summary["test"]) == {"answers", "accuracy", "ensemble_accuracy", "knn_accuracy"}
    count = len(summary["test"]["accuracy"])
    whole = ("mean of networks", "ensemble") if count > 1 else ()
    members = [f"network {number}" for number in range(count)]
    for row in (*members, *whole, "random network", "raw pixels"):
        assert row in shown
    assert (f"Page: {tmp_path}/report.html" in shown) == pages
    assert "images/s" in told
    assert "loss" in told
    for file in ("config.json", "metrics.jsonl", "checkpoints"):
        assert (tmp_path / file).exists()
    assert (tmp_path / "report.html").exists() == pages


def test_overrides_reach_the_run_and_a_finished_run_ends_at_once(tmp_path):
    arguments = (
        SMOKE,
        f"--workdir={tmp_path}",
        "--noreport",
        "--config.method.networks=1",
        "--config.training.steps=2",
        "--config.data.source=digits",
    )
    run(*arguments)
    first = json.loads((tmp_path / "summary.json").read_text())
    assert first["steps"] == 2
    assert len(first["test"]["accuracy"]) == 1
    run(*arguments)
    assert json.loads((tmp_path / "summary.json").read_text())["test"] == first["test"]
    assert not (tmp_path / "report.html").exists()


def test_a_dry_run_says_what_a_run_would_take_and_writes_nothing(tmp_path):
    result = run(SMOKE, f"--workdir={tmp_path / 'run'}", "--dry_run")
    assert "dry run" in result.stdout
    assert "parameters" in result.stdout
    assert not (tmp_path / "run").exists()


# What the user types behind a configuration that is fine, and what is said.
MISTAKES = [
    ("method.name=supervised_mlc", f"method.name must be one of {', '.join(methods.names())}, got "
     "'supervised_mlc'; did you mean supervised_mcl?"),
    ("model.name=resnet23", f"model.name must be one of {', '.join(models.names())}, got "
     "'resnet23'; did you mean resnet34?"),
    ("data.source=foo!", "data.source must be one of fashion_mnist, photographs, digits, "
     "tfds:NAME, folder:PATH, parquet:PATH, tar:PATH, npz:PATH, got 'foo!'."),
    ("data.source=cifar10", "data.source must be one of fashion_mnist, photographs, digits, "
     "tfds:NAME, folder:PATH, parquet:PATH, tar:PATH, npz:PATH, got 'cifar10'; did you mean "
     "tfds:cifar10?"),
    ("data.source=npz:/nowhere", "data.source npz:/nowhere wants the path of a file, but there is "
     "none."),
    ("data.data_dir=/x", "data.data_dir is for tfds:NAME only, got '/x' for 'digits'."),
    ("data.batch_size=25", "data.batch_size must be a multiple of data.images_per_class=2, got "
     "25."),
    ("data.batch_size=40", "data.batch_size=40 with data.images_per_class=2 wants 20 classes in a "
     "batch, but there are 10; the largest that fits is data.batch_size=20."),
    ("data.images_per_class=1", "data.images_per_class must be at least 2, or no image has a "
     "positive, got 1."),
    ("data.images_per_class=40 data.batch_size=40", "data.images_per_class must be at most the "
     "rows of the smallest class, got 40 where class 0 has 20."),
    ("data.sampler=shuffled data.batch_size=500", "data.batch_size must be 1 to the 200 rows there "
     "are, got 500."),
    ("data.train_size=55", "data.train_size=55 cannot be class-balanced over 10 classes; the "
     "nearest size that works is 60."),
    ("data.train_size=1500", "data.train_size must be at most 1300, the class-balanced rows there "
     "are, got 1500 of 1342 rows."),
    ("data.validation_size=1500", "data.validation_size must be at most 1400, the class-balanced "
     "rows there are, got 1500 of 1442 rows."),
    ("data.image_size=32", "data.image_size is for streamed images, got 32 for digits, whose "
     "images are 8 x 8; 0 takes them as they are."),
    ("data.mean=0.1,0.2,0.3 data.std=1,1,1", "data.mean and data.std must have 1 number each for "
     "digits, whose images are gray, got 3."),
    ("views.padding=8", "views.padding must be below the side of the images, 8, got 8."),
    ("evaluation.knn_neighbours=300", "evaluation.knn_neighbours must be at most the 200 training "
     "rows, got 300."),
    ("training.steps_per_dispatch=3", "training.steps_per_dispatch must divide the steps of the "
     "run, 4, got 3."),
    ("training.steps_per_dispatch=8", "training.steps_per_dispatch must divide the steps of the "
     "run, 4, got 8."),
    ("parallel.devices=99", "parallel.devices must be from 0 (all) to 8, the number of cpu "
     "devices, got 99."),
    ("parallel.devices=3", "data.batch_size must be a multiple of the number of devices, 3, got "
     "20."),
    ("model.dtype=float64", "model.dtype float64 wants JAX_ENABLE_X64=1 in the environment."),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "sentence"), MISTAKES, ids=lambda x: str(x)[:40])
def test_a_mistake_is_answered_in_one_sentence_and_leaves_nothing(fields, sentence, told, tmp_path):
    overrides = [f"--config.{field}" for field in ("parallel.devices=1", *fields.split(" "))]
    assert told(SMOKE, f"--workdir={tmp_path / 'run'}", *overrides) == sentence
    assert list(tmp_path.iterdir()) == []


def arrays(**changes):
    """Four classes of gray images, 8 x 8, as an npz file holds them."""
    return {
        "train_images": np.zeros([40, 8, 8, 1], np.uint8),
        "train_labels": np.arange(40) % 4,
        "test_images": np.zeros([8, 8, 8, 1], np.uint8),
        "test_labels": np.arange(8) % 4,
    } | changes


def mixed_sizes():
    images = np.empty(40, object)
    images[:] = [np.zeros([1 + row % 3, 2, 1], np.uint8) for row in range(40)]
    return images


DATA_SETS = [
    ({"test_labels": np.arange(8)}, "", "data.source npz:FILE must have test labels from 0 to 3 (4 "
     "classes), got 4 in row 4."),
    ({"train_labels": np.arange(40) % 4 - 1}, "", "data.source npz:FILE must have training labels "
     "from 0 to 2 (3 classes), got -1 in row 0."),
    ({"train_labels": np.arange(40) * 10**9}, "", "data.source: train_labels must count classes "
     "from 0, or class_names must name them, got 39000000000 among 40 rows in FILE."),
    ({"train_labels": np.zeros(40, int), "test_labels": np.zeros(8, int)}, "", "data.source must "
     "be a data set of two classes or more, got 1 in npz:FILE."),
    ({"test_images": np.zeros([0, 8, 8, 1], np.uint8), "test_labels": np.zeros(0, int)}, "",
     "data.source: test_images and test_labels must have as many rows, at least one, got 0 and 0 "
     "in FILE."),
    ({"train_images": np.zeros([40, 8, 8, 1], np.float32)}, "", "data.source: train_images must be "
     "uint8 [N, H, W, c], got float32 of shape (40, 8, 8, 1) in FILE; (images * "
     "255).astype('uint8') does, if they are from 0 to 1."),
    ({"train_images": np.zeros([40, 8, 8], np.uint8)}, "", "data.source: train_images must be "
     "uint8 [N, H, W, c], got uint8 of shape (40, 8, 8) in FILE; images[..., None] gives gray ones "
     "their channel."),
    ({"train_images": mixed_sizes()}, "", "data.source: train_images must be one array of numbers, "
     "got Python objects in FILE; images of mixed sizes must be brought to one size first."),
    ({"train_images": np.zeros([40, 8, 8, 3], np.uint8)}, "", "data.source: train_images and "
     "test_images must be of one size and colour, got (8, 8, 3) and (8, 8, 1) in FILE."),
    ({"train_images": np.zeros([40, 8, 0, 1], np.uint8)}, "", "data.source: train_images must be "
     "uint8 [N, H, W, c], got uint8 of shape (40, 8, 0, 1) in FILE."),
    ({"train_labels": np.arange(40)}, "data.sampler=shuffled", "data.sampler shuffled leaves no "
     "positives, since no class of npz:FILE has two of the 40 training rows; method.weights.vcl "
     "must be 0 then."),
    ({}, "data.mean=0.1,0.2,0.3 data.std=1,1,1", "data.mean and data.std must have 1 number each "
     "for npz:FILE, whose images are gray, got 3."),
    ({name: np.zeros([rows, 8, 8, 3], np.uint8) for name, rows in
      (("train_images", 40), ("test_images", 8))}, "data.mean=0.5 data.std=1", "data.mean and "
     "data.std must have 3 numbers each for npz:FILE, whose images are in colour, got 1."),
    ({name: np.zeros([rows, 8, 8, 4], np.uint8) for name, rows in
      (("train_images", 40), ("test_images", 8))}, "data.mean=0.5 data.std=1", "data.mean and "
     "data.std must have 4 numbers each for npz:FILE, whose images have 4 channels, got 1."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "fields", "sentence"), DATA_SETS, ids=lambda x: str(x)[:40])
def test_a_data_set_that_does_not_fit_is_answered_in_one_sentence(
    changes, fields, sentence, told, tmp_path
):
    file = tmp_path / "set.npz"
    np.savez(file, **arrays(**changes))
    values = f"data.source=npz:{file} data.train_size=0 data.validation_size=0 data.batch_size=8"
    overrides = [f"--config.{x}" for x in f"{values} parallel.devices=1 {fields}".split()]
    said = told(SMOKE, f"--workdir={tmp_path / 'run'}", *overrides)
    assert said.replace(str(file), "FILE") == sentence
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("config", "name"), [("cifar100", "cifar100"), ("stl10", "stl10"), ("imagenet", "imagenet2012")]
)
def test_a_data_set_that_is_not_prepared_comes_with_the_command_that_prepares_it(
    config, name, told, tmp_path
):
    fields = ("parallel.devices=1", f"data.data_dir={tmp_path}")
    said = told(f"--config=configs/{config}.py", *(f"--config.{field}" for field in fields))
    assert said.startswith(f"data.source: tfds:{name} is not prepared in {tmp_path}, and nothing")
    assert f"tfds.builder('{name}', file_format='array_record', data_dir='{tmp_path}')" in said


@pytest.mark.parametrize("dim", [2_000_000, 2_000_000_000])
def test_networks_that_do_not_fit_are_told_of_before_xla_ends_the_process(dim, told, tmp_path):
    dim = f"--config.method.embedding_dim={dim}"
    said = told(SMOKE, f"--workdir={tmp_path / 'run'}", "--config.parallel.devices=1", dim)
    assert said.startswith("the memory does not suffice: networks and optimizer take ")
    assert "method.embedding_dim" in said
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_that_cannot_be_written_is_told_of(told, tmp_path):
    (tmp_path / "file").write_text("")
    workdir = tmp_path / "file" / "run"
    said = told(SMOKE, f"--workdir={workdir}", "--config.parallel.devices=1")
    assert said == f"workdir {workdir} cannot be written: Not a directory."


def test_an_interrupted_command_says_how_it_goes_on(capsys, monkeypatch, tmp_path):
    def stop(arguments):
        raise KeyboardInterrupt

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(command, "_run", stop)
    (tmp_path / "checkpoints" / "2").mkdir(parents=True)
    assert command.main([SMOKE, f"--workdir={tmp_path}"]) == 130
    goes_on = f"stopped; the same command goes on from the newest checkpoint in {tmp_path}.\n"
    assert capsys.readouterr().err == goes_on


@pytest.mark.parametrize(
    ("error", "kept"), [(SystemExit(143), SystemExit), (KeyError("a bug"), KeyError)]
)
def test_the_signal_and_errors_of_the_program_itself_pass(error, kept, monkeypatch):
    def fail(arguments):
        raise error

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(command, "_run", fail)
    with pytest.raises(kept):
        command.main([SMOKE])


def test_the_command_ends_with_the_code_and_without_a_traceback(tmp_path):
    # On its own and without JAX, whose start takes seconds.
    result = run(SMOKE, f"--workdir={tmp_path / 'run'}", "--config.training.epoch=3", check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    field = "training.epoch; did you mean training.epochs?"
    assert result.stderr == f"error: the configuration has no field {field}\n"
    result = run("--help")
    assert result.stderr == ""
    assert "Exit codes:" in result.stdout


def test_no_device_of_the_wanted_kind_is_told_of(tmp_path):
    result = run(SMOKE, f"--workdir={tmp_path / 'run'}", platforms="nonsense", check=False)
    assert result.returncode == 1
    assert result.stderr == (
        "error: JAX finds no device with JAX_PLATFORMS=nonsense in the environment; without it JAX "
        "takes what there is.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_tests_have_eight_devices():
    assert jax.device_count() == 8


def catches_sigterm(process):
    """Whether the process has said what SIGTERM does; before, Python itself is starting."""
    status = pathlib.Path(f"/proc/{process.pid}/status")
    if not status.exists():  # not Linux
        return True
    caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 1.5, 2.5])
def test_sigterm_ends_a_start_with_its_code_wherever_it_is(tmp_path, seconds):
    words = [sys.executable, "-m", "mcl_jax.main", SMOKE, f"--workdir={tmp_path}", "--noreport"]
    words.append("--config.training.steps=2000")
    with subprocess.Popen(
        words, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, stderr=subprocess.PIPE
    ) as process:
        begun = time.monotonic()
        while not catches_sigterm(process) or time.monotonic() - begun < seconds:
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 143
    assert "Traceback" not in said
    assert "Exception ignored" not in said
