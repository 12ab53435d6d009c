"""The table and the page of a study, finished or not."""

import copy
import json
import pathlib
import re
import sys

import pytest
from rich.console import Console

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "studies"))

from made_up import Quick, study

from mcl_jax.report import write_study_page
from mcl_jax.report.page import WorkdirError, study_pictures
from mcl_jax.report.study_table import study_tables
from mcl_jax.report.study_words import baseline_rows, difference_cell, mean_cell
from mcl_jax.studies import carry_out
from mcl_jax.studies.results import results


def finished(folder, trainer=None, **options):
    """The value of a made-up study, which is written too."""
    wanted = study(folder, **options)
    runs = carry_out(wanted, trainer or Quick(), lambda runs, sentence: None)
    found = json.loads(json.dumps(results(wanted, runs)))
    (folder / "study.json").write_text(json.dumps(found))
    return found


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    found = finished(folder, evaluate="always")
    return folder, found, write_study_page(folder).read_text(encoding="utf-8")


def test_cells_are_in_per_cent_and_points(evaluated):
    _, found, _ = evaluated
    assert mean_cell(found, "test.accuracy", "mean", "solo") == "53.00 ± 3.00"
    assert difference_cell(found, "test.accuracy", "mean", "cohort") == "+2.40 [+1.90, +2.90]"
    assert difference_cell(found, "test.accuracy", "mean", "solo") == "-"
    assert mean_cell(found, "rank", "mean", "solo") == "0.400 ± 0.000"
    rows = dict(baseline_rows(found, ["linear", "test.knn_accuracy"]))
    assert rows == {
        "raw pixels": ["35.00 ± 0.00", "30.00 ± 0.00"],
        "random network": ["25.00 ± 0.00", "21.00 ± 1.00"],
    }
    found = copy.deepcopy(found)
    found["baselines"]["linear"]["random network"]["cohort"]["mean"] = 0.5
    rows = dict(baseline_rows(found, ["linear"]))
    assert rows["random network of solo, long"] == ["25.00 ± 0.00"]
    assert rows["random network of cohort"] == ["50.00 ± 0.00"]


def test_a_baseline_of_many_arms_has_a_short_name():
    same = {name: {"mean": 0.25, "deviation": None} for name in "abcd"}
    found = {
        "measures": {"linear": {"group": "accuracy"}},
        "baselines": {"linear": {"random network": same | {"e": {"mean": 0.5, "deviation": None}}}},
    }
    assert dict(baseline_rows(found, ["linear"])) == {
        "random network of a, b, 2 others": ["25.00"],
        "random network of e": ["50.00"],
    }


def test_the_printed_tables_hold_arms_differences_and_baselines(evaluated):
    console = Console(width=140, record=True)
    for table in study_tables(evaluated[1]):
        console.print(table)
    text = console.export_text()
    for wanted in (
        "test: mean and standard deviation over 3 seeds",
        "cohort: ensemble, answers averaged",
        "solo: the network",
        "cohort - solo: member best on validation",
        "raw pixels (no training)",
        "+2.40 [+1.90, +2.90]",
        "geometry: paired differences from solo, 95 % intervals",
    ):
        assert wanted in text


def test_the_page_holds_tables_costs_and_pictures(evaluated):
    _, found, text = evaluated
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    for wanted in (*found["notes"], "method.networks = 2", "Finished.", "baseline: raw pixels"):
        assert wanted in plain
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == [
        "Arms, and what they cost",
        "Test",
        "Validation",
        "Accuracy",
        "Geometry",
        "Differences, seed by seed",
        "Means with their intervals",
        "As training goes on",
        "Every figure",
    ]
    assert text.count("<figure>") == 2 * len(found["measures"]) + 3
    identifiers = re.findall(r'\bid="([^"]+)"', text)
    assert len(identifiers) == len(set(identifiers))
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", text)  # it needs nothing else
    assert (
        "Members on validation: solo ends at 50.0%; cohort ends at 50.0%; long ends at 60.0%."
        in text
    )


def test_pictures_say_what_they_show(evaluated):
    found = evaluated[1]
    difference = study_pictures.differences_picture(found, "test.accuracy")
    assert "cohort, mean of members: +2.40 [+1.90, +2.90]" in difference.alt
    assert "long, mean of members: " in difference.alt
    mean = study_pictures.means_picture(found, "test.knn_accuracy")
    assert "solo, mean of members: 43.00 ± 3.00" in mean.alt
    assert "raw pixels" in mean.image


def test_a_study_of_one_seed_has_no_intervals_but_a_page(tmp_path):
    found = finished(tmp_path, seeds=1)
    assert difference_cell(found, "test.accuracy", "mean", "cohort") == "+2.20"
    assert mean_cell(found, "test.accuracy", "mean", "solo") == "50.00"
    assert "each with 1 seed" in write_study_page(tmp_path).read_text(encoding="utf-8")


def test_a_study_that_is_not_finished_has_a_page(tmp_path):
    failing = [f"{arm}-{seed}" for arm in ("cohort", "long") for seed in range(3)]
    found = finished(tmp_path, Quick(fails=failing))
    assert study_tables(found) != []
    text = write_study_page(tmp_path).read_text(encoding="utf-8")
    assert "Not finished" in text
    assert "So far 3 of 9 runs have figures." in text
    assert "Differences, seed by seed" not in text
    (tmp_path / "none").mkdir()
    finished(tmp_path / "none", Quick(fails=[*failing, "solo-0", "solo-1", "solo-2"]))
    text = write_study_page(tmp_path / "none").read_text(encoding="utf-8")
    assert "No run has figures yet." in text


@pytest.mark.parametrize("content", [None, "{", "[]", '{"measures": {}}'])
def test_a_folder_without_a_study_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "study.json").write_text(content)
    message = f"{tmp_path} holds no study.json of a study that can be read."
    with pytest.raises(WorkdirError, match=f"^{re.escape(message)}$"):
        write_study_page(tmp_path)
