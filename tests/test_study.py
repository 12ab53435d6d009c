"""The study as a user runs it, on a network of four channels."""

import contextlib
import json
import pathlib
import sys

import pytest

from mcl_jax import study as command
from mcl_jax.training import NotFiniteError, train_and_evaluate

sys.path.insert(0, str(pathlib.Path(__file__).parent / "training"))

import tiny


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command in this process, on tiny networks; returns its code."""
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())
    monkeypatch.setattr("mcl_jax.compilation.compiled_programs_kept", contextlib.nullcontext)
    file = tmp_path / "config.py"
    file.write_text(f"import sys\nsys.path.insert(0, {str(pathlib.Path(tiny.__file__).parent)!r})\n"
                    "import tiny\nget_config = tiny.config\n")  # fmt: skip

    def go(*words: str) -> int:
        return command.main([f"--config={file}", f"--workdir={tmp_path / 'study'}", *words])

    return go


ARMS = "--arms=solo: method.networks=1; cohort"


def test_a_study_is_interrupted_goes_on_and_is_told(run, tmp_path, monkeypatch, capsys):
    folder, trained = tmp_path / "study", []

    def train(config, workdir):
        if trained:
            raise KeyboardInterrupt
        trained.append(workdir.name)
        return train_and_evaluate(config, workdir)

    with monkeypatch.context() as patch:
        patch.setattr("mcl_jax.training.train_and_evaluate", train)
        assert run(ARMS, "--seeds=1", "--evaluate=never") == 130
    assert trained == ["solo-0"]
    said = capsys.readouterr()
    assert said.err.endswith("stopped; the same command goes on where the study stopped.\n")
    assert json.loads((folder / "study.json").read_text())["complete"] is False
    first = (folder / "solo-0" / "summary.json").read_text()
    assert run(ARMS, "--seeds=1", "--evaluate=always") == 0
    said = capsys.readouterr().out
    found = json.loads((folder / "study.json").read_text())
    assert found["complete"] is True
    assert (folder / "solo-0" / "summary.json").read_text() == first
    assert found["arms"]["cohort"]["changes"] == {"method.networks": 2}
    for measure in ("test.accuracy", "knn_20", "linear"):
        assert found["differences"][measure]["mean"]["cohort"]["number"] == 1
    for wanted in ("cohort - solo: mean of members", "equal steps", f"Page: {folder}/study.html"):
        assert wanted in said
    assert (folder / "study.html").exists()


def test_a_run_that_fails_makes_the_code_2_and_seeds_go_together(run, monkeypatch, capsys):
    together = []

    def fail(config, workdir):
        raise NotFiniteError(f"not finite at step 1 of {workdir.name}.")

    def train(configs, workdirs):
        together.append([folder.name for folder in workdirs])
        fail(configs[0], workdirs[0])

    monkeypatch.setattr("mcl_jax.training.train_and_evaluate", fail)
    monkeypatch.setattr("mcl_jax.training.together.train_together", train)
    assert run(ARMS, "--seeds=2", "--together=2") == 2
    assert together == [["solo-0", "solo-1"], ["cohort-0", "cohort-1"]]
    said = capsys.readouterr().out
    assert "solo has no figures with seed 1: not finite at step 1 of solo-1." in said


def test_bad_input_is_told_in_a_sentence(run, capsys):
    assert run("--arms=a: model.nam=x; b") == 1
    said = capsys.readouterr().err
    assert said == (
        "error: arm a: the configuration has no field model.nam; did you mean model.name?\n"
    )


def test_an_arm_that_cannot_be_trained_is_told_of_before_any_is(run, tmp_path, capsys):
    assert run("--arms=solo: method.networks=1; odd: views.padding=8") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "error: arm odd: views.padding must be below the side of the images, 8, got 8.\n"
    )
    assert not (tmp_path / "study").exists()


def test_views_that_cannot_be_read_are_told_of_before_any_run_is_trained(run, tmp_path, capsys):
    assert run(ARMS, "--evaluate=views") == 1
    said = capsys.readouterr()
    assert said.err == (
        "error: arm solo: part views wants a method that contrasts views of an image; positives of "
        "supervised_mcl are other images, or its views are still learned.\n"
    )
    assert not (tmp_path / "study").exists()
