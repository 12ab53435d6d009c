"""Several runs side by side."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mcl_jax.report.page import curves, provenance, results, wording
from mcl_jax.report.page.svg import Picture
from mcl_jax.report.page.workdir import Workdir, flat


class Entry(NamedTuple):
    """A run of the comparison.

    Attributes:
        label: that no other run of the page has.
        path: its workdir.
        link: of its own page, seen from this one; None where there is none.
        status: in a word.
        cells: its figures.
    """

    label: str
    path: str
    link: str | None
    status: str
    cells: list[str]


FIGURES = (
    ("steps", "done"),
    ("validation, mean network", "classifier or neighbours, last judged step"),
    ("test, mean network", "classifier or neighbours, last step"),
    ("test, ensemble", "mean of logits or votes, last step"),
    ("test kNN, mean network", "vote of nearest training rows"),
    ("best baseline, kNN", "without training, on test"),
    ("time", "whole run"),
)


def entries(runs: Sequence[Workdir], folder: pathlib.Path) -> list[Entry]:
    """The runs as rows of a table whose page lies in ``folder``."""
    return [
        Entry(label, str(run.path), _link(run, folder), results.status(run)[0], _cells(run))
        for label, run in zip(labels(runs), runs, strict=True)
    ]


def labels(runs: Sequence[Workdir]) -> list[str]:
    """A name for each run that no other one has: its folder's, or as much of the path as it takes.

    Args:
        runs: with different paths.
    """
    paths = [run.path.resolve().parts for run in runs]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names)]


def differences(runs: Sequence[Workdir]) -> list[tuple[str, list[str]]]:
    """The configuration's fields that are not the same in all runs, each with its values."""
    configs = [flat(run.config) for run in runs]
    names = dict.fromkeys(name for config in configs for name in config)
    rows = []
    for name in names:
        values = [provenance.shown(config[name]) if name in config else "-" for config in configs]
        if len(set(values)) > 1:
            rows.append((name, values))
    return rows


def overlays(runs: Sequence[Workdir]) -> list[Picture]:
    """Curves of every metric that two runs or more have, validation first."""
    named = list(zip(labels(runs), runs, strict=True))
    pictures = []
    for name, title in (
        ("ensemble_accuracy", "Ensemble on validation"),
        ("accuracy", "Networks on validation"),
    ):
        found = [(label, curves.validation(run.records, name)) for label, run in named]
        kept = [(label, x) for label, x in found if x is not None]
        if len(kept) > 1:
            meaning = "Share of right answers on each run's validation rows."
            pictures.append(curves.overlay(kept, title, meaning, f"validation {name}"))
    for name in dict.fromkeys(name for run in runs for name in curves.metric_names(run.records)):
        shared = [(label, curves.series(run.records, name)) for label, run in named]
        held = [(label, x) for label, x in shared if x is not None]
        if len(held) > 1:
            title, meaning = wording.metric(name)
            pictures.append(curves.overlay(held, title, meaning, name))
    return pictures


def _cells(run: Workdir) -> list[str]:
    """One text for each of `FIGURES`."""
    summary = run.summary or {}
    test: dict[str, Any] = summary.get("test") or {}
    members = curves.validation(run.records, "accuracy")
    judged = (summary.get("validation") or {}).get("accuracy")
    if judged is None and members is not None:
        judged = members.values[-1]
    baselines = [_mean(x["knn_accuracy"]) for x in summary.get("baselines", {}).values()]
    seconds = summary.get("seconds") or (run.records[-1].get("seconds") if run.records else None)
    return [
        f"{run.step:,}",
        wording.percent(_mean(judged)),
        wording.percent(_mean(test.get("accuracy"))),
        wording.percent(test.get("ensemble_accuracy") if run.networks > 1 else None),
        wording.percent(_mean(test.get("knn_accuracy"))),
        wording.percent(max((x for x in baselines if x is not None), default=None)),
        wording.duration(seconds) if seconds else "-",
    ]


def _mean(values: Any) -> float | None:
    known = [x for x in (values if values is not None else []) if x is not None]
    return float(np.mean(known)) if known else None


def _link(run: Workdir, folder: pathlib.Path) -> str | None:
    page = run.path / "report.html"
    if not page.exists():
        return None
    try:
        return pathlib.Path(os.path.relpath(page.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return page.resolve().as_uri()
