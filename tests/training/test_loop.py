"""A run from its start to its summary; interrupted, resumed, refused."""

import json
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mcl_jax import cohort
from mcl_jax import config as config_lib
from mcl_jax.data import Dataset, DataWarning, Split
from mcl_jax.evaluation import read_outputs
from mcl_jax.report import Recorder
from mcl_jax.training import NotFiniteError, StorageError, loop, restore, train_and_evaluate
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


def without_timings(folder):
    drop = {"seconds", "images_per_second"}
    return [{k: v for k, v in x.items() if k not in drop} for x in records(folder)]


def final_state(folder, like):
    with Checkpoints(folder / "checkpoints", 2) as checkpoints:
        return checkpoints.restore(like, 8).state


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
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    expected = train_and_evaluate(config(), whole)
    write = Recorder.metrics

    def stop_at_six(self, record):
        write(self, record)
        if record["step"] == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "metrics", stop_at_six)
        with pytest.raises(KeyboardInterrupt):
            train_and_evaluate(config(), cut)
    found = train_and_evaluate(config(), cut)
    for part in ("test", "validation"):
        assert found[part] == expected[part]
    assert without_timings(whole) == without_timings(cut)
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
    with pytest.raises(config_lib.ConfigError, match=r"data.mean and data.std must have .* got 3"):
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
    with pytest.raises(NotFiniteError, match=r"not finite at step \d: .*gradient"):
        train_and_evaluate(config(optimizer__learning_rate=1e12), tmp_path)
    assert not (tmp_path / "summary.json").exists()


def test_the_best_state_on_validation_is_kept_and_restored(tmp_path):
    every = config(training__eval_every_epochs=1, training__keep_checkpoints=1)
    summary = train_and_evaluate(every, tmp_path)
    lines = [x for x in records(tmp_path) if "validation" in x]
    judged = {x["step"]: x["validation"]["accuracy"] for x in lines}
    means = {step: np.mean(accuracy) for step, accuracy in judged.items()}
    best = max(means, key=lambda step: (means[step], step))
    assert summary["best"] == {"step": best, "validation_accuracy": pytest.approx(means[best])}
    kept = {int(x.name) for x in (tmp_path / "checkpoints").iterdir()}
    assert kept == {best, 8}
    run, state = restore(every, tmp_path, step="best")
    output = run.method.predict(state.params, state.extras, run.dataset.validation.images)
    right = np.mean(np.argmax(output.logits, axis=-1) == run.dataset.validation.labels, axis=-1)
    assert right.tolist() == judged[best]
    assert int(restore(every, tmp_path, step=8)[1].step) == 8
    with pytest.raises(StorageError, match=r"step must be newest, best .* \(.*8\), got 3"):
        restore(every, tmp_path, step=3)


def test_nothing_is_restored_from_a_folder_without_checkpoints(tmp_path):
    with pytest.raises(
        StorageError, match=r"step must be newest, .* \(there is none\), got 'newest'"
    ):
        restore(config(), tmp_path / "misspelt")
    assert not (tmp_path / "misspelt").exists()


def damage(folder, step):
    path = folder / "checkpoints" / str(step) / "manifest.json"
    path.write_text(path.read_text().replace("a", "b", 1))


def test_a_damaged_newest_state_is_told_of_and_the_run_ends_where_an_unbroken_one_does(
    tmp_path, capsys
):
    expected = train_and_evaluate(config(), tmp_path)
    whole = without_timings(tmp_path)
    (tmp_path / "summary.json").unlink()
    damage(tmp_path, 8)
    capsys.readouterr()
    assert train_and_evaluate(config(), tmp_path)["test"] == expected["test"]
    assert without_timings(tmp_path) == whole
    (told,) = [x for x in capsys.readouterr().err.splitlines() if "damaged" in x]
    assert told.startswith("warning: the checkpoint of step 8 is damaged: the file manifest.json ")
    assert told.endswith("; going on from step 4.")
    assert (tmp_path / "checkpoints" / "damaged-8").is_dir()


def test_a_damaged_state_is_told_of_by_restore_too_and_nothing_is_moved(tmp_path):
    train_and_evaluate(config(), tmp_path)
    damage(tmp_path, 8)
    with pytest.warns(UserWarning, match=r"step 8 is damaged: .*; step 4 is used"):
        _, state = restore(config(), tmp_path)
    assert int(state.step) == 4
    assert (tmp_path / "checkpoints" / "8").is_dir()


def test_a_workdir_can_be_moved_and_goes_on_with_other_devices(tmp_path, monkeypatch, capsys):
    found = jax.devices()
    monkeypatch.setattr("jax.devices", lambda *platform: found[:1])
    train_and_evaluate(config(parallel__devices=0), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.setattr("jax.devices", lambda *platform: found[:4])
    longer = config(parallel__devices=0)
    longer.training.steps = 12
    assert train_and_evaluate(longer, tmp_path / "there")["devices"] == "4 cpu"
    (told,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("warning: the run")]
    assert "the run goes on with other devices (1 cpu before, 4 cpu now); it will not end" in told
    assert [x["step"] for x in records(tmp_path / "there") if "loss" in x][-3:] == [8, 10, 12]


def test_a_run_without_its_configuration_is_not_gone_on_with(tmp_path):
    train_and_evaluate(config(), tmp_path)
    for content in ("{", "[1]"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(config_lib.ConfigError, match=r"config.json is missing or damaged"):
            train_and_evaluate(config(), tmp_path)


def test_the_log_tells_what_was_run_and_each_start(tmp_path):
    train_and_evaluate(config(), tmp_path)
    longer = config()
    longer.training.steps = 12
    train_and_evaluate(longer, tmp_path)
    events = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    starts = [x for x in events if x["event"] == "started"]
    assert [x["step"] for x in starts] == [0, 8]
    assert starts[1]["steps"] == 12
    assert starts[0]["versions"]["jax"] == jax.__version__
    assert starts[0]["command"]
    assert starts[0]["dataset"]["classes"] == 4
    assert [x["event"] for x in events][-1] == "finished"


def test_what_the_networks_say_of_test_is_kept(tmp_path):
    summary = train_and_evaluate(config(), tmp_path)
    outputs = read_outputs(tmp_path / "outputs.npz")
    assert (outputs.split, outputs.step) == ("test", 8)
    right = np.mean(np.argmax(outputs.logits, axis=-1) == outputs.labels, axis=-1)
    assert right.tolist() == summary["test"]["accuracy"]


def test_a_run_is_restored_and_its_members_are_saved_alone(tmp_path):
    summary = train_and_evaluate(config(), tmp_path / "run")
    run, state = restore(config(), tmp_path / "run")
    assert int(state.step) == 8
    variables = {"params": state.params, **state.extras}
    cohort.save_member(tmp_path / "network_1.npz", variables, 1)
    member = cohort.load_member(tmp_path / "network_1.npz")
    blank = jax.tree.map(jnp.zeros_like, variables)
    alone = cohort.replace(blank, 1, member)
    test = run.dataset.test
    extras = {"batch_stats": alone["batch_stats"]}
    output = run.method.predict(alone["params"], extras, test.images)
    right = np.mean(np.argmax(output.logits[1], axis=-1) == test.labels)
    assert right == summary["test"]["accuracy"][1]


def test_a_damaged_summary_is_made_again(tmp_path):
    expected = train_and_evaluate(config(), tmp_path)
    for content in ('{"ste', "[]", "{}", '{"steps": 8}', '{"steps": "x"}'):
        (tmp_path / "summary.json").write_text(content)
        assert train_and_evaluate(config(), tmp_path)["test"] == expected["test"], content


def test_another_evaluation_of_a_finished_run_is_made(tmp_path):
    before = train_and_evaluate(config(), tmp_path)
    after = train_and_evaluate(config(evaluation__knn_neighbours=1), tmp_path)
    assert after["evaluation"]["knn_neighbours"] == 1
    assert after["test"]["accuracy"] == before["test"]["accuracy"]
    assert after["test"]["knn_accuracy"] != before["test"]["knn_accuracy"]


def test_which_states_are_kept_does_not_depend_on_the_disk(tmp_path, monkeypatch):
    often = {"training__eval_every_epochs": 1, "training__keep_checkpoints": 1}
    kept = []
    for name, seconds in (("fast", 0), ("slow", 0.3)):
        write = Checkpoints._write

        def slowly(self, *args, write=write, seconds=seconds):
            time.sleep(seconds)
            write(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "_write", slowly)
            train_and_evaluate(config(**often), tmp_path / name)
        kept.append(sorted(x.name for x in (tmp_path / name / "checkpoints").iterdir()))
    assert kept[0] == kept[1]


def warn_of_data_and_else(tell):
    with loop._told_of_data(tell):
        for _ in range(2):
            warnings.warn("a.jpg cannot be decoded.", DataWarning, stacklevel=1)
        warnings.warn("odd", stacklevel=1)


def test_what_the_data_package_warns_of_is_told_as_the_run_tells_its_own():
    told = []
    with pytest.warns(UserWarning, match="odd"):
        warn_of_data_and_else(told.append)
    assert told == ["a.jpg cannot be decoded."] * 2
