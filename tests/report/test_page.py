"""The page of a run and the one of several, from workdirs in every state a run leaves them in."""

import base64
import html.parser
import io
import json
import pathlib
import re
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mcl_jax.cohort import Output
from mcl_jax.data import Split
from mcl_jax.evaluation import Outputs, confusion_matrix, read_outputs, write_outputs
from mcl_jax.report import write_page
from mcl_jax.report.page import (
    WorkdirError,
    comparison,
    confusion,
    curves,
    matrices,
    pictures,
    results,
)
from mcl_jax.report.page.workdir import Workdir, read_workdir

COMMAND = "python -m mcl_jax.main --config=configs/x.py --config.name='<b>'"
EMPTY = {"meta", "link", "img", "br"}


class Page(html.parser.HTMLParser):
    """Elements with their attributes, text, and tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.source = text
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "text"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def titles(self) -> list[str]:
        return re.findall(r"<h2>(.*?)</h2>", self.source)


def config(networks: int, **changes: Any) -> dict[str, Any]:
    return {
        "name": "run <i>",
        "seed": 0,
        "method": {"name": "supervised_mcl", "networks": networks, "weights": {"vcl": 0.1}},
        "model": {"name": "small_resnet"},
        "data": {"source": "digits", "batch_size": 20},
        "evaluation": {"knn_neighbours": 20, "knn_rows": 500},
        "training": {"epochs": 3, "steps": 0},
        **changes,
    }


def records(networks: int, last: int = 30) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in range(10, last + 1, 10):
        about = {"step": step, "epoch": step / 10, "seconds": step / 5}
        lines = [1 / step * (network + 1) for network in range(networks)]
        metrics = {"loss": 5 / step, "vcl": 10.0 ** (4 - step / 5), "cross_entropy": lines}
        accuracy = [0.5 + 0.01 * step + 0.01 * network for network in range(networks)]
        validation = {"accuracy": accuracy, "ensemble_accuracy": 0.9}
        speed = None if step == 10 else 100.5
        found.append({**about, "images_per_second": speed, **metrics, "new<metric>": 1.0})
        found.append({**about, "images_per_second": speed, "validation": validation})
    return found


def summary(networks: int, validation: bool = True) -> dict[str, Any]:
    members = [0.6123 + 0.05 * network for network in range(networks)]
    figures = {
        "accuracy": members,
        "ensemble_accuracy": 0.8765,
        "knn_accuracy": [x - 0.1 for x in members],
    }
    return {
        "name": "run",
        "steps": 30,
        "seconds": 75.0,
        "train_rows": 300,
        "images_per_second": 1234.5,
        "validation": {**figures, "ensemble_accuracy": 0.8432} if validation else None,
        "test": figures,
        "baselines": {
            "random network": {"knn_accuracy": [0.1] * networks},
            "raw pixels": {"knn_accuracy": [0.4567]},
            "colour histogram": {"knn_accuracy": [0.3456]},
        },
        "best": {"step": 20, "validation_accuracy": 0.8531},
        "devices": "1 cpu",
        "versions": {"mcl_jax": "0.1.0"},
    }


def started(step: int = 0) -> dict[str, Any]:
    return {
        "time": "2025-01-02T03:04:05+00:00",
        "level": "info",
        "event": "started",
        "command": COMMAND,
        "step": step,
        "steps": 30,
        "devices": "1 cpu",
        "versions": {"jax": "9.8.7"},
        "python": "3.11.7",
        "platform": "Linux",
        "dataset": {"train": 300, "validation": 40, "test": 60, "classes": 3, "notice": "a & b"},
        "parameters": [12345, 12345],
    }


def write_lines(path: pathlib.Path, objects: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in objects))


def write_said(
    path: pathlib.Path,
    networks: int = 2,
    classes: int = 3,
    channels: int = 1,
    side: int = 8,
    rows: int = 60,
    groups: int = 1,
) -> None:
    """Networks that are mostly right, each wrong on rows of its own."""
    rng = np.random.default_rng(networks)
    labels = (np.arange(rows) % classes).astype(np.int32)
    logits = np.eye(classes)[labels] + rng.normal(size=(networks, rows, classes))
    embeddings = np.eye(classes, 8)[labels] + 0.3 * rng.normal(size=(networks, rows, 8))
    parts = np.array_split(np.arange(networks), groups)
    features = tuple(
        np.abs(embeddings[part] @ rng.normal(size=(8, 5 + 2 * number)))
        for number, part in enumerate(parts)
    )
    images = rng.integers(0, 256, (rows, side, side, channels), np.uint8)
    names = [f"<class> & ${number}$" for number in range(classes)]
    split = Split(labels, images=images)
    said = Output(features, embeddings, logits)
    write_outputs(path, said, split, name="test", step=30, class_names=names)


def workdir(path: pathlib.Path, networks: int = 2, **said: Any) -> pathlib.Path:
    """A finished run."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config(networks)))
    (path / "summary.json").write_text(json.dumps(summary(networks)))
    write_lines(path / "metrics.jsonl", records(networks))
    write_lines(path / "log.jsonl", [started(), {"event": "finished", "level": "info"}])
    write_said(path / "outputs.npz", networks, **said)
    return path


def bare(path: pathlib.Path, networks: int = 2) -> pathlib.Path:
    """A run that has just begun."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config(networks)))
    return path


def render(path: pathlib.Path) -> Page:
    return Page(write_page([path]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, Page]:
    path = workdir(tmp_path_factory.mktemp("finished") / "run")
    return path, render(path)


def assert_sound(page: Page) -> None:
    """What every page owes its readers, whatever the run."""
    assert page.open == []
    names = {name for name, _ in page.elements}
    assert not names & {"script", "iframe", "object", "i", "b-", "class"}
    links = [
        value or ""
        for name, attributes in page.elements
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href", "srcset", "data") and name != "a"
    ]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\((?!#)", page.source)
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', page.source))
    assert used <= set(identifiers)
    assert all(image["alt"] for image in page.all("img"))
    assert all(
        image["role"] == "img" and len(image["aria-label"] or "") > 20 for image in page.all("svg")
    )
    assert "viewport" in {x.get("name") for x in page.all("meta")}
    assert "#0a0b0c" not in page.source
    assert "#0a0c0" not in page.source


def test_the_page_of_a_finished_run_shows_all_that_is_known(finished):
    _, page = finished
    assert_sound(page)
    assert page.titles() == [
        "Accuracy",
        "Training, term by term",
        "How alike the networks are",
        "Where images lie",
        "Which classes are taken for which",
        "Images, and what each network says",
        "Nearest neighbours",
        "What was run",
    ]
    assert "run <i>" in page.text
    assert COMMAND in page.text
    assert "jax 9.8.7" in page.text
    assert "2 networks (small_resnet of 12,345 parameters each) learn together" in page.text
    assert "Finished: 30 steps in 1 min 15 s." in page.text
    assert "a & b" in page.text
    assert "85.3 % after step 20" in page.text


def test_every_figure_stands_in_the_table_under_its_protocol(finished):
    path, _ = finished
    table = results.accuracy_table(read_workdir(path))
    assert table is not None
    assert [column.title for column in table.columns] == [
        "validation", "test", "validation, kNN", "test, kNN",
    ]  # fmt: skip
    assert "40 rows" in table.columns[0].protocol
    assert "60 rows" in table.columns[1].protocol
    assert "20 nearest of 300 training rows" in table.columns[3].protocol
    assert all("step 30" in column.protocol for column in table.columns)
    assert {row.name: row.cells for row in table.rows} == {
        "network 0": ["61.2 %", "61.2 %", "51.2 %", "51.2 %"],
        "network 1": ["66.2 %", "66.2 %", "56.2 %", "56.2 %"],
        "mean of networks": ["63.7 %", "63.7 %", "53.7 %", "53.7 %"],
        "ensemble": ["84.3 %", "87.6 %", "-", "-"],
        "baseline: random network": ["-", "-", "-", "10.0 %"],
        "baseline: raw pixels": ["-", "-", "-", "45.7 %"],
        "baseline: colour histogram": ["-", "-", "-", "34.6 %"],
    }


def test_the_table_is_on_the_page(finished):
    path, page = finished
    table = results.accuracy_table(read_workdir(path))
    assert table is not None
    for row in table.rows:
        assert " ".join([row.name, *row.cells]) in page.text


def test_a_page_is_the_same_each_time_and_takes_the_place_of_the_old_one(finished):
    path, page = finished
    before = sorted(path.iterdir())
    assert write_page([path]) == path / "report.html"
    assert (path / "report.html").read_text(encoding="utf-8") == page.source
    assert sorted(path.iterdir()) == before


@pytest.mark.parametrize(
    ("networks", "options"),
    [
        (1, {"channels": 3}),
        (3, {"groups": 2, "classes": 12, "channels": 3, "side": 70}),
        (5, {"classes": 25, "rows": 80, "channels": 4}),
        (9, {"classes": 2, "rows": 30}),
        (2, {"classes": 60, "rows": 3}),
    ],
    ids=["solo", "unlike", "many classes", "many networks", "few rows"],
)
def test_cohorts_of_every_shape_have_a_page(tmp_path, networks, options):
    page = render(workdir(tmp_path / "run", networks, **options))
    assert_sound(page)
    assert ("How alike the networks are" in page.titles()) == (networks > 1)
    assert ("ensemble" in page.text) == (networks > 1)
    many = options.get("classes", 3) > 20
    labels = [image["aria-label"] or "" for image in page.all("svg")]
    assert any("Confusion matrix" in label for label in labels) != many
    assert ("too many for a matrix" in page.text) == many
    assert f"network {networks - 1}" in page.text


def test_a_single_row_of_outputs_is_enough(tmp_path):
    page = render(workdir(tmp_path / "run", rows=1))
    assert_sound(page)
    assert "Nearest neighbours" not in page.titles()


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    page = render(bare(tmp_path / "run"))
    assert_sound(page)
    assert page.titles() == ["Accuracy", "What was run"]
    assert "Nothing is judged yet" in page.text
    assert "The command is not known" in page.text
    assert "no outputs.npz" in page.text


def test_a_run_on_its_way_shows_where_it_is_and_what_it_said(tmp_path):
    path = workdir(tmp_path / "run")
    (path / "summary.json").unlink()
    write_lines(path / "metrics.jsonl", records(2, last=20))
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "los')
    warning = {"time": "t", "level": "warning", "event": "warning", "text": "odd <thing>"}
    write_lines(path / "log.jsonl", [started(), warning, started(10)])
    page = render(path)
    assert_sound(page)
    assert "at step 20 of 30" in page.text
    assert "odd <thing>" in page.text
    assert "2 times, the last time from step 10" in page.text
    assert "validation own classifier, all 40 rows, after step 20" in page.text
    assert "network 1 71.0 %" in page.text


@pytest.mark.parametrize("reason", ["", "SIGTERM."])
def test_a_stopped_run_says_why(tmp_path, reason):
    path = bare(tmp_path / "run")
    stopped = {"event": "stopped", "level": "info", "reason": reason, "step": 10}
    write_lines(path / "metrics.jsonl", records(2, last=10))
    write_lines(path / "log.jsonl", [started(), stopped])
    kind, words = results.status(read_workdir(path))
    assert kind == "stopped"
    assert words == f"Stopped at step 10 of 30{': SIGTERM' if reason else ''}."
    write_lines(path / "log.jsonl", [started(), stopped, started(10)])
    assert results.status(read_workdir(path))[0] == "unfinished"


def test_a_summary_of_a_run_that_was_made_longer_does_not_finish_it(tmp_path):
    path = workdir(tmp_path / "run")
    write_lines(path / "log.jsonl", [{**started(30), "steps": 60}])
    assert results.status(read_workdir(path))[1].endswith("at step 30 of 60.")


def test_damaged_files_are_told_and_done_without(tmp_path):
    path = workdir(tmp_path / "run")
    (path / "outputs.npz").write_bytes((path / "outputs.npz").read_bytes()[:1000])
    (path / "summary.json").write_text('{"steps": 3')
    (path / "log.jsonl").write_bytes(b'\xff\xfe {"event"\n[1]\n')
    page = render(path)
    assert_sound(page)
    assert "outputs.npz is damaged" in page.text
    assert "summary.json is damaged" in page.text
    assert "Training, term by term" in page.titles()


def test_without_validation_rows_there_is_no_column_and_no_curve(tmp_path):
    path = workdir(tmp_path / "run")
    (path / "summary.json").write_text(json.dumps(summary(2, validation=False)))
    write_lines(path / "metrics.jsonl", [x for x in records(2) if "validation" not in x])
    table = results.accuracy_table(read_workdir(path))
    assert table is not None
    assert [column.title for column in table.columns] == ["test", "test, kNN"]
    assert curves.validation_curve(read_workdir(path)) is None
    assert_sound(render(path))


def test_figures_that_are_no_numbers_are_left_out_of_curves():
    values = [1.0, None, float("nan"), float("inf"), 2.0]
    lines = [{"step": step, "x": value} for step, value in enumerate(values)]
    found = curves.series(lines, "x")
    assert found is not None
    assert found.steps.tolist() == [0, 4]
    assert curves.series(lines[1:4], "x") is None
    assert curves.series([{"step": 1, "x": "text"}], "x") is None
    assert curves.metric_names([{"step": 1, "epoch": 2, "x": "text", "vcl": 1, "a": 2}]) == [
        "vcl", "a",
    ]  # fmt: skip


def test_a_scale_is_logarithmic_where_values_span_more_than_two_decades(finished):
    path, _ = finished
    drawn = {picture.title: picture for picture in curves.metric_curves(read_workdir(path))}
    assert "log scale" in drawn["VCL"].alt
    assert "log scale" not in drawn["loss"].alt
    assert "from 0.5 at step 10 to 0.167 at step 30" in drawn["loss"].alt
    assert "new<metric>" in drawn
    assert "Weight 0.1." in drawn["VCL"].caption


@pytest.mark.parametrize(
    ("weight", "value", "titles"),
    [(0.0, 0.0, []), (0.0, 0.5, ["soft VCL"]), (1.0, 0.0, ["soft VCL"])],
)
def test_a_term_that_was_neither_trained_nor_measured_is_not_drawn(finished, weight, value, titles):
    run = read_workdir(finished[0])
    config = {**run.config, "method": {"weights": {"soft_vcl": weight}}}
    records = [{"step": step, "soft_vcl": value} for step in (1, 2)]
    drawn = curves.metric_curves(replace(run, config=config, records=records))
    assert [picture.title for picture in drawn] == titles


def test_a_network_whose_embeddings_collapsed_is_named(finished):
    path, page = finished
    outputs = read_outputs(path / "outputs.npz")
    assert "collapsed" not in page.text
    outputs.embeddings[1] = outputs.embeddings[1, :1]
    captions = [picture.caption for picture in matrices.network_matrices(outputs)]
    assert "network 1: the embeddings collapsed" in captions[1]


def test_disagreements_come_first_the_surest_before_the_others(finished):
    outputs = read_outputs(finished[0] / "outputs.npz")
    answers = outputs.logits.argmax(axis=-1)
    differ = set(np.flatnonzero(answers[0] != answers[1]).tolist())
    both_wrong = set(
        np.flatnonzero((answers[0] == answers[1]) & (answers[0] != outputs.labels)).tolist()
    )
    found = pictures.gallery(outputs)
    assert (found.differ, found.wrong) == (len(differ), len(both_wrong))
    kinds = [card.split for card in found.cards]
    assert kinds == sorted(kinds, reverse=True)
    assert {card.row for card in found.cards if card.split} <= differ
    assert {card.row for card in found.cards if not card.split} <= both_wrong
    assert len(found.cards) == min(24, len(differ) + len(both_wrong))
    surest = [min(a.sure for a in card.answers) for card in found.cards if card.split]
    assert surest == sorted(surest, reverse=True)


def test_a_card_holds_the_image_and_the_answer_of_every_network(finished):
    outputs = read_outputs(finished[0] / "outputs.npz")
    powers = np.exp(outputs.logits)
    probabilities = powers / powers.sum(axis=-1, keepdims=True)
    for card in pictures.gallery(outputs).cards:
        content = base64.b64decode(card.uri.partition(",")[2])
        np.testing.assert_array_equal(
            np.asarray(Image.open(io.BytesIO(content))), outputs.images[card.row, ..., 0]
        )
        assert card.name == outputs.class_names[outputs.labels[card.row]]
        for answer in card.answers:
            who = [0, 1] if "all" in answer.who else [int(answer.who[-1])]
            label = outputs.class_names.index(answer.name)
            assert outputs.logits[who, card.row].argmax(axis=-1).tolist() == [label] * len(who)
            assert answer.right == (label == outputs.labels[card.row])
            assert answer.sure == pytest.approx(probabilities[who, card.row, label].mean())


def test_neighbours_are_those_of_slow_loops(finished):
    outputs = read_outputs(finished[0] / "outputs.npz")
    queries, shares = pictures.neighbour_queries(outputs)
    for network, features in enumerate(outputs.features[0]):
        right = []
        for row, own in enumerate(features):
            cosines = features @ own / np.linalg.norm(features, axis=1) / np.linalg.norm(own)
            cosines[row] = -np.inf
            nearest = np.argsort(-cosines)[:5]
            right += (outputs.labels[nearest] == outputs.labels[row]).tolist()
            for query in queries:
                if query.row == row:
                    found = [neighbour.cosine for neighbour in query.strips[network][1]]
                    assert found == pytest.approx(cosines[nearest], abs=1e-5)
                    marks = [neighbour.right for neighbour in query.strips[network][1]]
                    assert marks == (outputs.labels[nearest] == outputs.labels[row]).tolist()
        assert shares[network] == pytest.approx(np.mean(right))
    assert len({query.name for query in queries}) == len(queries) == 3


def test_confusions_are_those_of_the_ensemble(finished):
    outputs: Outputs = read_outputs(finished[0] / "outputs.npz")
    answers = outputs.logits.mean(axis=0).argmax(axis=-1)
    counts = confusion_matrix(answers, outputs.labels, 3)
    pairs = confusion.ensemble_confusion(outputs)["confused"]
    assert sum(times for *_, times, _ in pairs) == counts.sum() - np.trace(counts)
    for true, said, times, share in pairs:
        row, column = outputs.class_names.index(true), outputs.class_names.index(said)
        assert times == counts[row, column]
        assert share == pytest.approx(counts[row, column] / counts[row].sum())
    assert [pair[2] for pair in pairs] == sorted((pair[2] for pair in pairs), reverse=True)


def test_several_runs_are_compared_on_one_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = workdir(tmp_path / "first"), bare(tmp_path / "second")
    write_lines(second / "metrics.jsonl", records(2, last=20))
    (second / "config.json").write_text(json.dumps(config(2, seed=7)))
    write_page([second])
    assert write_page([first, second]) == pathlib.Path("comparison.html")
    page = Page((tmp_path / "comparison.html").read_text(encoding="utf-8"))
    assert_sound(page)
    assert [link["href"] for link in page.all("a")] == ["second/report.html"]
    assert "first 30 63.7 % 63.7 % 87.6 % 53.7 % 45.7 % 1 min 15 s finished" in page.text
    assert "second 20 70.5 % - - - - 4 s unfinished" in page.text
    titles = re.findall(r"<h3>(.*?)</h3>", page.source)
    assert titles[:3] == ["Ensemble on validation", "Networks on validation", "loss"]
    runs = [read_workdir(first), read_workdir(second)]
    assert comparison.differences(runs) == [("seed", ["0", "7"])]
    assert not (first / "report.html").exists()


def test_runs_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / name / "seed" for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        bare(path)
    runs: list[Workdir] = [read_workdir(path) for path in paths]
    assert comparison.labels(runs) == ["a/seed", "b/seed"]
    output = write_page(paths, tmp_path / "both.html")
    assert output == tmp_path / "both.html"
    page = Page(output.read_text(encoding="utf-8"))
    assert_sound(page)
    assert "the configurations are equal" in page.text


def test_a_folder_that_is_given_twice_is_one_run(tmp_path):
    path = bare(tmp_path / "run")
    assert write_page([path, f"{path}/"]) == path / "report.html"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "holds no config.json"), ("{", "cannot be read"), ("[1]", "is no configuration")],
)
def test_a_folder_that_is_no_workdir_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(WorkdirError, match=message):
        write_page([tmp_path])
    assert not (tmp_path / "report.html").exists()


def test_a_page_that_cannot_be_written_leaves_nothing(finished, tmp_path):
    path = bare(tmp_path / "run")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "folder"))):
        write_page([path], tmp_path / "folder")
    with pytest.raises(OSError, match="nowhere"):
        write_page([path], tmp_path / "nowhere" / "page.html")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["folder", "run"]
    shutil.rmtree(path)
    with pytest.raises(WorkdirError, match="there is no folder"):
        write_page([path])
