"""The evaluation of a run as a user asks for it, on a tiny run."""

import contextlib
import dataclasses
import json
import pathlib
import sys

import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).parent / "training"))
import tiny

from mcl_jax import cohort, evaluate
from mcl_jax.data import DataError, Dataset, Split
from mcl_jax.evaluation import knn_votes
from mcl_jax.training import restore, train_and_evaluate
from mcl_jax.training.run import predictor

CONFIG = {
    "training__steps": 8,
    "training__checkpoint_every_epochs": 1,
    "evaluation__knn_neighbours": 5,
    "data__validation_size": 64,
    "logging__tensorboard": False,
}


def load(source, **options) -> Dataset:
    """The data set of the run, and others that its networks can be judged on."""
    if source == "digits":
        raise DataError("source digits is not here.")
    found = tiny.dataset()
    channels = {"photographs": 3, "npz:two": 2}.get(source, 1)
    if channels == 1:
        rows = options.get("train_size") or 64
        return dataclasses.replace(found, train=found.train.take(np.arange(rows)))
    wide = {
        name: Split(x.labels, images=x.images.repeat(2, axis=1).repeat(channels, axis=3))
        for name, x in (("train", found.train), ("test", found.test))
    }
    return Dataset(source, wide["train"], wide["train"].take([]), wide["test"], tuple("abcd"), "")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcl_jax.data.load", load)
        patch.setattr("mcl_jax.compilation.compiled_programs_kept", contextlib.nullcontext)
        tiny.know_tiny_network(patch)
        folder = tmp_path_factory.mktemp("evaluated")
        train_and_evaluate(tiny.config(**CONFIG), folder)
        yield folder


def asked(workdir, *words) -> dict:
    """What the command leaves."""
    assert evaluate.main([f"--workdir={workdir}", *words]) == 0
    newest = max(workdir.glob("evaluation*.json"), key=lambda x: x.stat().st_mtime_ns)
    return json.loads(newest.read_text())


def told(capsys, workdir, *words) -> str:
    """The one sentence that the command says."""
    capsys.readouterr()
    assert evaluate.main([f"--workdir={workdir}", *words]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    return shown.err.removeprefix("error: ").strip()


def test_the_command_leaves_figures_a_table_and_a_page(workdir, capsys, monkeypatch):
    monkeypatch.setattr("mcl_jax.report.write_page", lambda folders: f"{folders[0]}/a_page.html")
    found = asked(workdir, "--parts=classifier,knn,retrieval")
    assert (found["step"], found["source"], found["trained_on"]) == (8, *["fashion_mnist"] * 2)
    run, state = restore(tiny.config(**CONFIG), workdir)
    predict, dataset = predictor(run, state), run.dataset
    train, test = (predict(x.images) for x in (dataset.train, dataset.test))
    votes = knn_votes(train.features[0][1], dataset.train.labels, test.features[0][1], classes=4)
    expected = np.mean(votes.argmax(axis=-1) == dataset.test.labels, axis=-1)
    assert [found["figures"][f"knn_{k}"]["networks"][1] for k in (1, 20, 200)] == expected.tolist()
    right = np.argmax(test.logits, axis=-1) == dataset.test.labels
    assert found["figures"]["classifier"]["networks"] == np.mean(right, axis=-1).tolist()
    assert set(found["figures"]["knn_1"]["baselines"]) == {"random network", "raw pixels"}
    shown = capsys.readouterr().out
    for text in (
        "tiny: fashion_mnist, step 8",
        "kNN, k = 20",
        "MAP@R",
        "random",
        f"Page: {workdir}/a_page.html",
    ):
        assert text in shown


def test_features_are_judged_on_other_images(workdir, capsys):
    found = asked(workdir, "--source=photographs", "--parts=knn", "--noreport", "--rows=40")
    assert (workdir / "evaluation-photographs.json").exists()
    assert found["adapted"] == [[16, 8, 3], [8, 8, 1]]
    assert found["rows"] == {"train": 40, "validation": 0, "test": 64}
    assert "colour histogram" in found["figures"]["knn_1"]["baselines"]
    assert told(capsys, workdir, "--source=photographs", "--parts=classifier") == (
        "part classifier wants networks with a classifier for the data set's classes, and "
        "photographs has others."
    )
    assert told(capsys, workdir, "--source=photographs", "--parts=views") == (
        "part views is of the views that a run learned from, of fashion_mnist, got "
        "--source=photographs."
    )
    assert told(capsys, workdir, "--parts=knn,views") == (
        "part views wants a method that contrasts views of an image; positives of supervised_mcl "
        "are other images, or its views are still learned."
    )
    assert told(capsys, workdir, "--source=npz:two") == (
        "--source must be of images with 1 channels, as the networks were trained on, or of gray "
        "or colour images in each other's place, got 2 channels."
    )
    assert told(capsys, workdir, "--source=digits") == "--source digits is not here."
    assert told(capsys, workdir, "--source=photographs", "--parts=knn", "--finetune") == (
        "--finetune wants images of 1 channels, as the networks were trained on, got 3 in "
        "photographs."
    )


def test_a_checkpoint_that_there_is_not_is_told(workdir, capsys, tmp_path):
    assert "or a checkpoint in" in told(capsys, workdir, "--step=5")
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    assert "there is none" in told(capsys, tmp_path, "--step=newest")


def test_all_weights_are_trained_on_from_the_run_and_from_scratch(workdir):
    words = ("--parts=knn", "--finetune", "--finetune_epochs=1", "--finetune_rows=32")
    found = asked(workdir, *words, "--noreport")["figures"]["fine_tuned"]
    assert [len(found["networks"]), len(found["baselines"]["random network"])] == [2, 2]
    (folder,) = (workdir / "fine_tuned").iterdir()
    assert folder.name == "step-8-fashion_mnist-32-rows-1-epochs-0.05"
    summary = json.loads((folder / "tuned" / "summary.json").read_text())
    assert summary["test"]["accuracy"] == found["networks"]
    config = json.loads((folder / "tuned" / "config.json").read_text())
    assert set(config["method"]["weights"].values()) == {0.0}
    _, state = restore(tiny.config(**CONFIG), workdir)
    variables = {"params": state.params, "batch_stats": state.extras["batch_stats"]}
    expected = cohort.select(variables, 1)["params"]["encoder"]
    written = cohort.load_member(folder / "network_1.npz")
    # A head, which nothing is trained on here, may be one that a supervised run knows nothing of.
    assert {part for tree in written.values() for part in tree} == {"encoder"}
    member = written["params"]["encoder"]
    assert set(expected) - set(member) == {"classifier"}
    np.testing.assert_array_equal(member["conv1"]["kernel"], expected["conv1"]["kernel"])


def test_help_is_shown(capsys):
    assert evaluate.main(["--help"]) == 0
    assert "python -m mcl_jax.evaluate --workdir=runs/quickstart" in capsys.readouterr().out
