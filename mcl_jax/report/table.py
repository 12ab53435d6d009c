"""The table that closes a run."""

from typing import Any

import numpy as np
from rich import box
from rich.table import Table


def closing_table(summary: dict[str, Any]) -> Table:
    """Members, their mean, the ensemble and the baselines, in per cent.

    Nearest neighbours answer for networks that have no classifier, which the caption says.

    Args:
        summary: what a run writes as ``summary.json``.

    Returns:
        A table for `rich`.
    """
    table = Table(
        title=f"{summary['name']}: {summary['dataset']}, {summary['steps']} steps, "
        f"{summary['seconds']:.0f} s",
        box=box.SIMPLE,
    )
    table.add_column("")
    test = summary["test"]
    neighbours = test.get("answers") == "neighbours"
    if neighbours:
        table.caption = (
            "nearest neighbours answer: their votes are weighed, in plain kNN they are not"
        )
    for column in ("validation", "test", "plain kNN" if neighbours else "test kNN"):
        table.add_column(column, justify="right")
    networks = len(test["accuracy"])
    unknown: dict[str, Any] = {"accuracy": [None] * networks, "ensemble_accuracy": None}
    validation = summary["validation"] or unknown
    columns = (validation["accuracy"], test["accuracy"], test["knn_accuracy"])
    for index, figures in enumerate(zip(*columns, strict=True)):
        table.add_row(f"network {index}", *map(_percent, figures))
    if networks > 1:
        table.add_row("mean of networks", *map(_percent, map(_mean, columns)))
        answers = (validation["ensemble_accuracy"], test["ensemble_accuracy"], None)
        table.add_row("ensemble", *map(_percent, answers))
    for name, figures in summary["baselines"].items():
        table.add_row(f"{name} (no training)", "-", "-", _percent(_mean(figures["knn_accuracy"])))
    return table


def _mean(fractions: list[float | None]) -> float | None:
    known = [fraction for fraction in fractions if fraction is not None]
    return float(np.mean(known)) if known else None


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.1f} %"
