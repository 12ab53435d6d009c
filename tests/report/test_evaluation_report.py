"""Evaluations on a terminal and on the page, and the words where neighbours answer."""

import io
import json
import pathlib
import re
from typing import Any

import pytest
from ml_collections import ConfigDict
from rich.console import Console

from mcl_jax.report import Recorder, closing_table, write_page
from mcl_jax.report.evaluation_table import evaluation_table
from mcl_jax.report.page import evaluation, results
from mcl_jax.report.page.workdir import read_workdir
from mcl_jax.report.recorder import tagged


def figure(group: str, first: float, networks: int, **changes: Any) -> dict[str, Any]:
    several = networks > 1
    return {
        "title": f"{group[:14]} <{first}>",
        "protocol": "in a & way",
        "group": group,
        "networks": [first + 0.01 * number for number in range(networks)],
        "concatenated": first + 0.05 if several else None,
        "averaged": None if group == "geometry" or not several else first + 0.06,
        "baselines": {"random network": [0.1, 0.2], "raw pixels": [0.3]},
        **changes,
    }


def found(networks: int = 2, source: str = "digits", **changes: Any) -> dict[str, Any]:
    spread = figure("few labels", 0.02, networks)
    return {
        "name": "run",
        "source": source,
        "trained_on": "digits",
        "step": 1234,
        "networks": networks,
        "rows": {"train": 1000, "validation": 40, "test": 60},
        "classes": 10,
        "adapted": None,
        "figures": {
            "knn_1": figure("accuracy", 0.5, networks),
            "linear_ece": figure("retrieval and calibration", 0.04, networks),
            "few_1": figure("few labels", 0.3, networks, spread=spread),
            "few_5": figure("few labels", 0.4, networks, spread=spread),
            "features_rank": figure("geometry", 12.5, networks),
        },
        "cka": [[1.0, 0.5], [0.5, 1.0]] if networks == 2 else None,
        "best_on_validation": 1 if networks > 1 else None,
        "notes": ["10 labels a class are too many."],
        **changes,
    }


def on_terminal(evaluation: dict[str, Any], width: int = 80) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(evaluation_table(evaluation))
    return console.export_text()


def workdir(path: pathlib.Path, *evaluations: dict[str, Any], networks: int = 2) -> pathlib.Path:
    path.mkdir(exist_ok=True)
    config = {"name": "run", "method": {"networks": networks}, "data": {"source": "digits"}}
    (path / "config.json").write_text(json.dumps(config))
    for each in evaluations:
        name = "" if each["source"] == "digits" else f"-{each['source']}"
        (path / f"evaluation{name}.json").write_text(json.dumps(each))
    return path


def test_a_terminal_of_80_columns_shows_every_figure():
    evaluation = found()
    evaluation["figures"]["long"] = figure("geometry", -1.5, 2, title="uniformity, embeddings")
    evaluation["figures"]["long"]["baselines"]["colour histogram"] = [-1.234]
    text = on_terminal(evaluation)
    rows = {line[:20].strip(): line.split()[-7:] for line in text.splitlines() if "<" in line}
    assert "run: digits, step 1234, test rows 60" in text
    assert rows["accuracy <0.5>"] == ["51.0", "50.5", "55.0", "56.0", "15.0", "30.0", "-"]
    assert rows["geometry <12.5>"] == ["12.5", "12.5", "12.6", "-", "0.15", "0.30", "-"]
    assert re.search(r"± over draws +2\.0 +3\.0 +2\.5 +7\.0 +8\.0", text)
    assert "…" not in text


@pytest.mark.parametrize("networks", [1, 4, 5])
def test_many_networks_are_told_by_their_mean(networks):
    header = next(x for x in on_terminal(found(networks), 120).splitlines() if "random" in x)
    assert [f"net {number}" in header for number in range(5)] == [
        number < networks < 5 for number in range(5)
    ]
    assert ("mean" in header) == (networks > 1)


def test_the_page_shows_each_evaluation_with_its_protocols(tmp_path):
    other = found(source="other", adapted=[[28, 28, 1], [8, 8, 3]])
    path = workdir(tmp_path / "run", found(), other)
    page = write_page([path]).read_text()
    assert page.index("<h2>Evaluation</h2>") < page.index("<h2>Evaluation on other</h2>")
    for text in (
        "in a &amp; way",
        "accuracy &lt;0.5&gt;",
        "30.0 ± 2.0",
        "network 1 (best on validation)",
        "baseline: raw pixels",
        "10 labels a class are too many.",
        "Images are changed from 28 x 28 x 1 to 8 x 8 x 3",
        "After step 1,234; 1,000 train, 40 validation and 60 test rows of digits",
        "Linear CKA on other",
    ):
        assert text in page
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_rows_without_a_figure_are_left_out(tmp_path):
    path = workdir(tmp_path / "run", found())
    (section,) = evaluation.sections(read_workdir(path))
    rows = {group: [row.name for row in table.rows] for group, table in section.tables}
    assert "ensemble: mean of answers" in rows["accuracy"]
    assert "ensemble: mean of answers" not in rows["geometry"]
    solo = workdir(tmp_path / "solo", found(1), networks=1)
    (section,) = evaluation.sections(read_workdir(solo))
    assert [row.name for row in section.tables[0][1].rows] == [
        "network 0", "baseline: random network", "baseline: raw pixels",
    ]  # fmt: skip
    assert "network 30.0 % to 40.0 %" in section.pictures[0].alt


@pytest.mark.parametrize("text", ['{"figures"', "[]", '{"figures": {}}'])
def test_a_damaged_evaluation_is_told_and_done_without(tmp_path, text):
    path = workdir(tmp_path / "run")
    (path / "evaluation.json").write_text(text)
    run = read_workdir(path)
    assert "evaluation.json is damaged; its figures are missing here." in run.notes
    assert evaluation.sections(run) == []


def summary(answers: str) -> dict[str, Any]:
    split = {"answers": answers, "accuracy": [0.5, 0.6], "ensemble_accuracy": 0.7}
    return {
        "name": "run",
        "dataset": "digits",
        "steps": 10,
        "seconds": 1.0,
        "validation": split,
        "test": split | {"knn_accuracy": [0.1, 0.2]},
        "baselines": {"raw pixels": {"knn_accuracy": [0.3]}},
    }


@pytest.mark.parametrize("answers", ["classifier", "neighbours"])
def test_who_answers_is_told_wherever_figures_are(tmp_path, answers):
    path = workdir(tmp_path / "run")
    (path / "summary.json").write_text(json.dumps(summary(answers)))
    table = results.accuracy_table(read_workdir(path))
    assert table is not None
    words = {"classifier": "own classifier", "neighbours": "weighted vote of the"}
    assert all(column.protocol.startswith(words[answers]) for column in table.columns[:2])
    neighbours = answers == "neighbours"
    assert ("shares of votes" in table.remarks[0]) == neighbours
    assert any("learned no classes" in remark for remark in table.remarks) == neighbours
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(closing_table(summary(answers)))
    assert ("nearest neighbours answer" in console.export_text()) == neighbours


def test_who_answers_is_in_the_log_and_no_number_on_a_board(tmp_path):
    config = ConfigDict({"name": "run", "logging": {"tensorboard": True, "wandb": ""}})
    judged = {"answers": "neighbours", "accuracy": [0.5], "ensemble_accuracy": 0.5}
    with Recorder(tmp_path, config, start=0, steps=1) as recorder:
        recorder.metrics({"step": 1, "validation": judged})
    kept = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert kept["validation"] == judged
    assert set(dict(tagged(kept))) == {
        "validation/accuracy/network_0", "validation/ensemble_accuracy",
    }  # fmt: skip
    path = workdir(tmp_path)
    assert read_workdir(path).neighbours
