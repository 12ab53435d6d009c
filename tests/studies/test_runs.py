"""Studies that are interrupted, fail, grow and go on; and what they find."""

import json
import pathlib
import sys

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from made_up import GAIN, Quick, study

from mcl_jax.studies import carry_out, changed
from mcl_jax.studies.results import results
from mcl_jax.studies.statistics import student


def ignore(runs, sentence):
    del runs, sentence


def test_every_arm_is_run_with_every_seed_pair_by_pair(tmp_path):
    trainer, told = Quick(), []
    runs = carry_out(study(tmp_path), trainer, lambda runs, sentence: told.append(sentence))
    names = [f"{arm}-{seed}" for seed in range(3) for arm in ("solo", "cohort", "long")]
    assert [run.folder.name for run in runs] == names
    assert trainer.checked == ["solo", "cohort", "long"]
    assert trainer.trained == [[name] for name in names]
    assert trainer.evaluated == []
    assert told[1] == "cohort-0 (2 of 9): 52.2 % on test, mean of members."
    assert all(run.summary for run in runs)


def test_a_study_goes_on_where_it_stopped_and_grows(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        carry_out(study(tmp_path), Quick(stop_after=4), ignore)
    trainer = Quick()
    carry_out(study(tmp_path), trainer, ignore)
    assert len(trainer.trained) == 5
    (tmp_path / "long-1" / "summary.json").write_text("{")  # torn
    changed = json.loads((tmp_path / "solo-2" / "config.json").read_text())
    changed["optimizer"]["learning_rate"] = 7.0
    (tmp_path / "solo-2" / "config.json").write_text(json.dumps(changed))
    trainer = Quick()
    runs = carry_out(study(tmp_path, seeds=4), trainer, ignore)
    again = [["long-1"], ["solo-2"], ["solo-3"], ["cohort-3"], ["long-3"]]
    assert trainer.trained == again
    wanted, trainer = study(tmp_path), Quick()
    (tmp_path / "cohort-1" / "summary.json").unlink()
    carry_out(wanted, trainer, ignore)
    assert (trainer.checked, trainer.trained) == (["cohort"], [["cohort-1"]])
    assert len(runs) == 12


def test_seeds_of_an_arm_are_trained_together(tmp_path):
    trainer = Quick()
    wanted = study(tmp_path, together=2)
    found = results(wanted, carry_out(wanted, trainer, ignore))
    assert found["notes"][-1].startswith("Up to 2 seeds of an arm are trained in one program: ")
    first = [["solo-0", "solo-1"], ["cohort-0", "cohort-1"], ["long-0", "long-1"]]
    assert trainer.trained == [*first, ["solo-2"], ["cohort-2"], ["long-2"]]


def test_a_run_that_fails_is_told_of_and_the_others_go_on(tmp_path):
    told = []
    wanted, trainer = study(tmp_path, together=2), Quick(fails=["cohort-1"])
    runs = carry_out(wanted, trainer, lambda runs, sentence: told.append(sentence))
    assert ["cohort-0"] in trainer.trained
    assert ["cohort-1"] in trainer.trained
    assert "cohort-1 (5 of 9) failed: not finite at step 3 of cohort-1." in told
    found = results(wanted, runs)
    assert found["complete"] is False
    assert found["arms"]["cohort"]["failed"] == {"1": "not finite at step 3 of cohort-1."}
    assert "cohort has no figures with seed 1: not finite at step 3 of cohort-1." in found["notes"]
    difference = found["differences"]["test.accuracy"]["mean"]["cohort"]
    assert list(difference["by_seed"]) == ["0", "2"]


def test_differences_are_paired_and_costs_are_told(tmp_path):
    wanted = study(tmp_path)
    found = results(wanted, carry_out(wanted, Quick(), ignore))
    assert json.loads(json.dumps(found)) == found
    gains = [GAIN["cohort"] * (1 + 0.1 * seed) for seed in range(3)]
    expected = student([x + 0.002 for x in gains])  # of two members, one is better by 0.004
    difference = found["differences"]["test.accuracy"]["mean"]["cohort"]
    assert difference["mean"] == pytest.approx(expected.mean)
    assert difference["high"] == pytest.approx(expected.high)
    best = found["differences"]["test.accuracy"]["best"]["cohort"]["mean"]
    assert best == pytest.approx(expected.mean + 0.002)
    # A single network is its own ensemble.
    ensemble = found["differences"]["test.accuracy"]["averaged"]["cohort"]["mean"]
    assert ensemble == pytest.approx(np.mean(gains) + 0.05)
    mean = found["means"]["test.accuracy"]["mean"]["solo"]
    assert (mean["mean"], mean["number"]) == (pytest.approx(0.53), 3)
    assert mean["deviation"] == pytest.approx(0.03)
    assert found["made_with"] == [{"devices": "1 cpu", "versions": {"jax": "9.8.7"}}]
    arms = found["arms"]
    assert arms["cohort"]["changes"] == {"method.networks": 2}
    assert [arms[x]["network_images"] for x in arms] == [1000, 2000, 2000]
    assert [arms[x]["training_seconds"]["mean"] for x in arms] == [2.0, 4.0, 4.0]
    assert found["notes"] == [
        "cohort beside solo: equal steps, 2.00 times the compute (networks x steps x batch), 2.00 "
        "times the measured training time; same batches and views, same initialisation of the "
        "networks that both have.",
        "long beside solo: 2.00 times the steps, 2.00 times the compute (networks x steps x "
        "batch), 2.00 times the measured training time; same batches and views, same "
        "initialisation.",
    ]
    baselines = found["baselines"]["test.knn_accuracy"]
    assert baselines["raw pixels"]["solo"]["mean"] == pytest.approx(0.3)
    assert baselines["random network"]["cohort"]["mean"] == pytest.approx(0.21)


def test_arms_of_equal_compute_are_told_of(tmp_path):
    wanted = study(tmp_path)
    wanted = wanted._replace(arms=wanted.arms[1:])
    found = results(wanted, carry_out(wanted, Quick(), ignore))
    assert "2.00 times the steps, equal compute (networks x steps x batch)" in found["notes"][0]


@pytest.mark.parametrize(
    ("evaluate", "neighbours", "count"),
    [("auto", False, 0), ("auto", True, 3), ("always", False, 3), ("never", True, 0)],
)
def test_runs_are_evaluated_where_it_is_wanted_and_once(tmp_path, evaluate, neighbours, count):
    wanted = study(tmp_path, seeds=1, evaluate=evaluate)
    trainer = Quick(neighbours=neighbours)
    runs = carry_out(wanted, trainer, ignore)
    carry_out(wanted, trainer, ignore)
    assert len(trainer.evaluated) == count
    found = results(wanted, runs)
    assert ("linear" in found["measures"]) == bool(count)
    # The baselines' vote is the plain one.
    assert next(iter(found["baselines"])) == "test.knn_accuracy"
    title = found["measures"]["test.accuracy"]["title"]
    assert title == ("test, weighted kNN" if neighbours else "test, classifier")
    if count:
        linear = found["means"]["linear"]
        assert {who: linear[who]["cohort"]["mean"] for who in linear} == pytest.approx(
            {"mean": 0.45, "best": 0.5, "averaged": 0.6, "concatenated": 0.7}
        )
        assert {who: linear[who]["solo"]["mean"] for who in linear} == dict.fromkeys(linear, 0.4)
        assert found["baselines"]["linear"]["random network"]["solo"]["mean"] == pytest.approx(0.25)
        assert (
            "averaged" not in found["means"]["rank"]
            or "cohort" not in (found["means"]["rank"]["averaged"])
        )


def test_baselines_are_taken_from_a_run_on_the_same_data(tmp_path):
    wanted = study(tmp_path, seeds=2, evaluate="always")
    solo, cohort, long = wanted.arms
    other = long._replace(config=changed(long.config, {"data.validation_size": 7}))
    trainer = Quick()
    carry_out(wanted._replace(arms=(solo, cohort, other)), trainer, ignore)
    assert trainer.evaluated == ["solo-0", "cohort-0", "long-0", "solo-1", "cohort-1", "long-1"]
    assert trainer.likes == [None, "solo-0", None, "solo-0", "solo-0", "long-0"]


def test_an_evaluation_of_other_parts_is_done_again(tmp_path):
    wanted, trainer = study(tmp_path, seeds=1, evaluate="always"), Quick()
    carry_out(wanted, trainer, ignore)
    path = tmp_path / "cohort-0" / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"parts": ["knn"]}))
    carry_out(wanted, trainer, ignore)
    assert trainer.evaluated[3:] == ["cohort-0"]
    assert trainer.likes[3:] == ["solo-0"]


def test_a_study_without_figures_yet_is_a_value_too(tmp_path):
    wanted = study(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        carry_out(wanted, Quick(stop_after=0), ignore)
    runs = carry_out(wanted, Quick(fails=[f"{x}-{s}" for x in GAIN for s in range(3)]), ignore)
    found = results(wanted, runs)
    assert (found["measures"], found["means"], found["complete"]) == ({}, {}, False)


def test_what_views_share_is_measured_where_it_is_asked_for(tmp_path):
    wanted, trainer = study(tmp_path, seeds=2, evaluate="always"), Quick()
    carry_out(wanted, trainer, ignore)
    wanted = wanted._replace(evaluate="views")
    found = results(wanted, carry_out(wanted, trainer, ignore))
    assert len(trainer.evaluated) == 12
    steps = wanted.arms[0].config.training.steps
    shared = found["means"]["shared"]["mean"]["solo"]
    assert shared["mean"] == pytest.approx(100 / steps + 0.005)
    assert found["baselines"]["shared"]["colours"]["solo"]["mean"] == pytest.approx(
        0.9 * shared["mean"]
    )
    protocol = found["measures"]["shared"]["protocol"]
    assert "at most log 256" in protocol
    assert "12,345 parameters, 400 steps" in protocol
    warnings = [note for note in found["notes"] if note.startswith("Warning, ")]
    assert warnings[0] == (
        "Warning, solo: with 2 of 2 seeds colours alone tell it: a shortcut (the first of them)."
    )
    assert warnings[1] == (
        "Warning, solo: by 20 neighbours the colour histogram answers as well as the networks, "
        "45.0 and 40.0 %."
    )
    assert not any(note.startswith("Warning, cohort: with") for note in warnings)
