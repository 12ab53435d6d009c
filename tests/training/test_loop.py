"""A run from its start to its summary; interrupted, resumed, refused."""

import json

import jax
import numpy as np
import pytest
import tiny

from mcl_jax import cohort
from mcl_jax import config as config_lib
from mcl_jax.data import Dataset, Split
from mcl_jax.training import restore, train_and_evaluate
from mcl_jax.training.checkpoint import Checkpoints


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())


def config(**changes):
    return tiny.config(
        training__steps=8, training__checkpoint_every_epochs=1, training__log_every=2, **changes
    )


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def final_state(folder, like):
    with Checkpoints(folder / "checkpoints", 2) as checkpoints:
        return checkpoints.restore(8, like)


def test_a_run_leaves_its_results(tmp_path):
    summary = train_and_evaluate(config(), tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert json.loads((tmp_path / "config.json").read_text())["training"]["steps"] == 8
    test = summary["test"]
    assert len(test["accuracy"]) == len(test["knn_accuracy"]) == 2
    figures = [*test["accuracy"], *test["knn_accuracy"], test["ensemble_accuracy"]]
    assert all(0 <= figure <= 1 for figure in figures)
    assert summary["steps"] == 8
    assert summary["seconds"] > 0
    assert summary["images_per_second"] > 0
    assert set(summary["baselines"]) == {"random network", "raw pixels"}
    lines = records(tmp_path)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 4, 6, 8]
    assert [line["step"] for line in lines if "validation" in line] == [8]


def test_a_run_learns_and_beats_chance(tmp_path):
    summary = train_and_evaluate(config().copy_and_resolve_references(), tmp_path / "short")
    long = config()
    long.training.steps = 60
    learned = train_and_evaluate(long, tmp_path / "long")
    assert np.mean(learned["test"]["accuracy"]) > 0.6
    assert np.mean(learned["test"]["accuracy"]) > np.mean(summary["test"]["accuracy"])


def test_a_run_cut_short_ends_bit_for_bit_where_an_unbroken_one_does(tmp_path, monkeypatch):
    from mcl_jax.report import Progress

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = train_and_evaluate(config(), whole)
    show = Progress.show

    def stop_at_six(self, step, speed, metrics):
        show(self, step, speed, metrics)
        if step == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "show", stop_at_six)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(config(), cut)
    monkeypatch.undo()
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())
    found = train_and_evaluate(config(), cut)
    for part in ("test", "validation"):
        assert found[part] == expected[part]
    drop = {"seconds", "images_per_second"}
    strip = [
        [{k: v for k, v in x.items() if k not in drop} for x in records(f)] for f in (whole, cut)
    ]
    losses = [{x["step"]: x["loss"] for x in lines if "loss" in x} for lines in strip]
    assert all(losses[0][step] == losses[1][step] for step in losses[0])
    steps = [x["step"] for x in strip[1] if "loss" in x]
    assert steps == sorted(set(steps))
    run, state, _ = tiny.run_steps(config(), tiny.dataset(), steps=0)
    states = [
        jax.tree.leaves(final_state(folder, state)._replace(key=None)) for folder in (whole, cut)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*states, strict=True))
    assert run.steps == 8


def test_a_finished_run_started_again_is_neither_trained_nor_judged_again(tmp_path):
    first = train_and_evaluate(config(), tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    again = train_and_evaluate(config(), tmp_path)
    assert again == first
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_a_longer_run_goes_on_where_the_shorter_ended(tmp_path):
    train_and_evaluate(config(), tmp_path)
    longer = config()
    longer.training.steps = 12
    assert train_and_evaluate(longer, tmp_path)["steps"] == 12
    steps = [line["step"] for line in records(tmp_path) if "loss" in line]
    assert steps == sorted(set(steps))


def test_another_configuration_is_refused_in_the_same_workdir(tmp_path):
    train_and_evaluate(config(), tmp_path)
    with pytest.raises(config_lib.ConfigError, match=r"method.networks \(2 there, 3 now\)"):
        train_and_evaluate(config(method__networks=3), tmp_path)


def test_a_dispatch_that_does_not_divide_the_run_is_refused(tmp_path):
    with pytest.raises(config_lib.ConfigError, match=r"dispatch must divide .* 8, got 3"):
        train_and_evaluate(config(training__steps_per_dispatch=3), tmp_path)


def test_statistics_of_another_number_of_channels_are_refused(tmp_path):
    three = {"data__mean": (0.5,) * 3, "data__std": (0.5,) * 3}
    with pytest.raises(config_lib.ConfigError, match=r"each of the 1 channels of .*, got 3"):
        train_and_evaluate(config(**three), tmp_path)


def streamed():
    """The tiny set as images of several sizes that are decoded when asked for."""
    resident = tiny.dataset()

    class Rows:
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def __getitem__(self, row):
            return np.repeat(np.repeat(self.images[row], 2 + row % 2, axis=0), 2, axis=1)

    splits = {
        name: Split(getattr(resident, name).labels, rows=Rows(getattr(resident, name).images))
        for name in ("train", "validation", "test")
    }
    return Dataset("streamed", **splits, class_names=resident.class_names, notice="")


@pytest.mark.parametrize("devices", [1, 2])
def test_a_streamed_set_is_trained_and_evaluated(tmp_path, monkeypatch, devices):
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: streamed())
    summary = train_and_evaluate(
        config(data__image_size=8, data__mean=(0.4,), data__std=(0.2,), parallel__devices=devices),
        tmp_path,
    )
    assert summary["steps"] == 8
    assert set(summary["baselines"]) == {"random network"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__mean": (0.4,), "data__std": (0.2,)}, "data.image_size must be given for"),
        ({"data__image_size": 8}, "data.mean and data.std must be given for"),
        (
            {"data__image_size": 8, "training__steps_per_dispatch": 2},
            "training.steps_per_dispatch must be 1 for .*, got 2",
        ),
    ],
)
def test_a_streamed_set_needs_a_size_statistics_and_one_step_a_dispatch(
    tmp_path, monkeypatch, changes, message
):
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: streamed())
    with pytest.raises(config_lib.ConfigError, match=message):
        train_and_evaluate(config(**changes), tmp_path)


def test_fewer_steps_than_are_done_are_refused(tmp_path):
    train_and_evaluate(config(), tmp_path)
    shorter = config()
    shorter.training.steps = 4
    with pytest.raises(config_lib.ConfigError, match=r"at least the 8 that .* has done, got 4"):
        train_and_evaluate(shorter, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["training"]["steps"] == 8


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(FloatingPointError, match=r"loss.* at step \d is not finite"):
        train_and_evaluate(config(optimizer__learning_rate=1e12), tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_a_run_is_restored_and_its_members_are_saved_alone(tmp_path):
    summary = train_and_evaluate(config(), tmp_path / "run")
    run, state = restore(config(), tmp_path / "run")
    assert int(state.step) == 8
    variables = {"params": state.params, **state.extras}
    cohort.save_member(tmp_path / "network_1.npz", variables, 1)
    member = jax.tree.map(lambda x: x[None], cohort.load_member(tmp_path / "network_1.npz"))
    extras = {"batch_stats": member["batch_stats"]}
    test = run.dataset.test
    output = run.method.predict(member["params"], extras, test.images)
    right = np.mean(np.argmax(output.logits[0], axis=-1) == test.labels)
    assert right == summary["test"]["accuracy"][1]
