"""The accuracies of a run with how each was measured, and the run in a sentence."""

from typing import Any, NamedTuple

import numpy as np

from mcl_jax.report.page import wording
from mcl_jax.report.page.curves import validation
from mcl_jax.report.page.workdir import Workdir
from mcl_jax.report.units import each


class Column(NamedTuple):
    """A way of measuring: its name, and the protocol in words."""

    title: str
    protocol: str


class Row(NamedTuple):
    """Who is measured, the cells, and the kind: ``"member"``, ``"whole"`` or ``"baseline"``."""

    name: str
    cells: list[str]
    kind: str


class Table(NamedTuple):
    """Accuracies: a column for each way of measuring, a row for each who is measured."""

    columns: list[Column]
    rows: list[Row]
    remarks: list[str]


def accuracy_table(run: Workdir) -> Table | None:
    """The figures of the summary; those of the last validation where there is none yet.

    Args:
        run: a workdir.

    Returns:
        The table, or None before the first validation.
    """
    if run.summary:
        return _final(run, run.summary)
    members = validation(run.records, "accuracy")
    if members is None:
        return None
    together = validation(run.records, "ensemble_accuracy")
    step = int(members.steps[-1])
    figures = {
        "accuracy": members.values[-1].tolist(),
        "ensemble_accuracy": None if together is None else float(together.values[-1, 0]),
    }
    column = Column("validation", _answer(run, "validation", step))
    return Table([column], _rows([_answers(figures)]), _remarks(run))


def status(run: Workdir) -> tuple[str, str]:
    """Whether a run is ``"finished"``, ``"stopped"`` or ``"unfinished"``, and that in words."""
    if run.finished and run.summary:
        took = wording.duration(run.summary.get("seconds", 0))
        return "finished", f"Finished: {wording.count(run.step, 'step')} in {took}."
    where = f"step {run.step:,} of {run.steps:,}" if run.steps else f"step {run.step:,}"
    last = run.events[-1] if run.events else {}
    if last.get("event") == "stopped":
        why = f": {str(last['reason']).rstrip('.')}" if last.get("reason") else ""
        return "stopped", f"Stopped at {where}{why}."
    return "unfinished", f"Running, or ended without a word, at {where}."


def sentence(run: Workdir) -> str:
    """What was run, for a human."""
    networks, model = run.networks, run.setting("model.name", "?")
    sizes = np.atleast_1d(run.started.get("parameters") or []).tolist()
    alike = " each" if len(sizes) > 1 and len(set(sizes)) == 1 else ""
    parameters = f" of {each(sizes)} parameters{alike}" if sizes else ""
    classes = run.started.get("dataset", {}).get("classes") or (
        len(run.outputs.class_names) if run.outputs else None
    )
    rows = run.rows("train")
    data = f"{rows:,} images of {run.setting('data.source', '?')}" if rows else (
        f"images of {run.setting('data.source', '?')}"
    )  # fmt: skip
    if run.rows("unlabelled"):
        data += f" and {run.rows('unlabelled'):,} without labels"
    length = f"for {run.steps:,} steps " if run.steps else ""
    learn = "learns alone" if networks == 1 else "learn together"
    return (
        f"{wording.count(networks, 'network')} ({model}{parameters}) {learn} on {data}"
        f"{f' in {classes:,} classes' if classes else ''}, by {run.setting('method.name', '?')}, "
        f"{length}in batches of {run.setting('data.batch_size', '?')}."
    )


def headline(run: Workdir) -> list[tuple[str, str]]:
    """The few figures that stand on top: value and meaning."""
    tiles = []
    if run.summary:
        test, of = run.summary["test"], _of(run, "test")
        if run.networks > 1:
            tiles.append((wording.percent(test["ensemble_accuracy"]), f"ensemble, test{of}"))
            tiles.append((wording.percent(_mean(test["accuracy"])), f"mean network, test{of}"))
        else:
            tiles.append((wording.percent(test["accuracy"][0]), f"test accuracy{of}"))
        baselines = {
            name: _mean(x["knn_accuracy"]) for name, x in run.summary.get("baselines", {}).items()
        }
        if baselines:
            best = max(baselines, key=lambda name: baselines[name] or 0.0)
            tiles.append((wording.percent(baselines[best]), f"best baseline: {best}, kNN on test"))
    else:
        members = validation(run.records, "accuracy")
        if members is not None:
            where = f"validation, step {members.steps[-1]:,}"
            tiles.append((wording.percent(_mean(members.values[-1])), f"mean network, {where}"))
        tiles.append(
            (f"{run.step:,}", f"steps done of {run.steps:,}" if run.steps else "steps done")
        )
    speed = _speed(run)
    if speed:
        tiles.append((f"{speed:,.0f}", "images per second in training"))
    return tiles


def _final(run: Workdir, summary: dict[str, Any]) -> Table:
    step = summary["steps"]
    splits = [name for name in ("validation", "test") if summary.get(name)]
    columns, cells = [], []
    for name in splits:
        columns.append(Column(name, _answer(run, name, step)))
        cells.append(_answers(summary[name]))
    for name in splits:
        if "knn_accuracy" in summary[name]:
            columns.append(Column(f"{name}, kNN", _neighbours(run, name, step)))
            knn = summary[name]["knn_accuracy"]
            cells.append({"members": knn, "ensemble": None})
    rows = _rows(cells)
    for name, figures in summary.get("baselines", {}).items():
        empty = ["-"] * (len(columns) - 1)
        value = wording.percent(_mean(figures["knn_accuracy"]))
        rows.append(Row(f"baseline: {name}", [*empty, value], "baseline"))
    return Table(columns, rows, _remarks(run))


def _answers(figures: dict[str, Any]) -> dict[str, Any]:
    return {"members": figures["accuracy"], "ensemble": figures.get("ensemble_accuracy")}


def _rows(cells: list[dict[str, Any]]) -> list[Row]:
    """Members, their mean and the ensemble; a single network has but itself."""
    networks = len(cells[0]["members"])
    rows = [
        Row(f"network {i}", [wording.percent(x["members"][i]) for x in cells], "member")
        for i in range(networks)
    ]
    if networks > 1:
        means = [wording.percent(_mean(x["members"])) for x in cells]
        rows.append(Row("mean of networks", means, "whole"))
        rows.append(Row("ensemble", [wording.percent(x["ensemble"]) for x in cells], "whole"))
    return rows


def _answer(run: Workdir, split: str, step: int) -> str:
    """Who answers: the networks' classifiers, or nearest neighbours by weight."""
    if run.neighbours:
        return _neighbours(run, split, step, "weighted vote")
    rows = run.rows(split)
    return f"own classifier, {f'all {rows:,} rows, ' if rows else ''}after step {step:,}"


def _neighbours(run: Workdir, split: str, step: int, vote: str = "vote") -> str:
    """The vote, and the rows that are searched."""
    train = run.rows("train")
    most = run.setting("evaluation.knn_rows", None)
    searched = min(x for x in (train, most) if x) if train or most else None
    of = f" of {searched:,} training rows" if searched else ""
    k = run.setting("evaluation.knn_neighbours", "?")
    rows = run.rows(split)
    return (
        f"{vote} of the {k} nearest{of} by cosine of features, "
        f"{f'all {rows:,} rows, ' if rows else ''}after step {step:,}"
    )


def _remarks(run: Workdir) -> list[str]:
    remarks = []
    if run.networks > 1:
        what = "shares of votes" if run.neighbours else "logits"
        remarks.append(f"The ensemble answers with the mean of the networks' {what}.")
    if run.neighbours:
        remarks.append(
            "The networks have learned no classes: nearest training rows answer for them, a vote "
            "weighing exp(cosine / 0.07); in the kNN column every vote weighs the same."
        )
    if (run.summary or {}).get("baselines"):
        remarks.append(
            "Baselines are not trained: the same nearest-neighbour vote for test rows, on features "
            "of the networks as initialised (random network, mean over them) or on the images."
        )
    rows = run.rows("test" if run.summary else "validation")
    if rows:
        error = 100 * np.sqrt(0.85 * 0.15 / rows)
        remarks.append(
            f"With {rows:,} rows a figure of 85 % has a standard error of {error:.1f} points from "
            "the choice of rows alone; seeds add to it."
        )
    best = (run.summary or {}).get("best")
    if best:
        remarks.append(
            "Best mean of networks on validation: "
            f"{wording.percent(best['validation_accuracy'])} after step {best['step']:,}; the "
            "figures here are of the last step."
        )
    return remarks


def _speed(run: Workdir) -> float | None:
    if run.summary and run.summary.get("images_per_second"):
        return float(run.summary["images_per_second"])
    known = [x["images_per_second"] for x in run.records if x.get("images_per_second")]
    return float(np.median(known)) if known else None


def _of(run: Workdir, split: str) -> str:
    rows = run.rows(split)
    return f" ({rows:,} rows)" if rows else ""


def _mean(fractions: Any) -> float | None:
    known = [x for x in fractions if x is not None and np.isfinite(x)]
    return float(np.mean(known)) if known else None
