"""The table of an evaluation, as it is read on a terminal."""

from typing import Any

import numpy as np
from rich.table import Table

_MOST = 4  # networks that have a column each
_SHORT = {"random network": "random", "raw pixels": "pixels", "colour histogram": "colours"}


def evaluation_table(evaluation: dict[str, Any]) -> Table:
    """A row for each figure; networks, their mean, ensembles and baselines as columns.

    Shares are in per cent, figures of geometry as they are.

    Args:
        evaluation: what ``evaluation.json`` holds.

    Returns:
        A table for `rich`.
    """
    networks, figures = evaluation["networks"], list(evaluation["figures"].values())
    groups = list(dict.fromkeys(figure["group"] for figure in figures))
    baselines = list(dict.fromkeys(name for figure in figures for name in figure["baselines"]))
    where = evaluation["source"]
    table = Table(
        title=f"{evaluation['name']}: {where}, step {evaluation['step']}, test rows "
        f"{evaluation['rows']['test']}",
        box=None,  # eight columns on a terminal of 80
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    table.add_column("", no_wrap=True)
    titles = [f"net {x}" for x in range(networks)] if networks <= _MOST else []
    titles += ["mean", "concat.", "averaged"] if networks > 1 else []
    for title in titles + [_SHORT.get(name, name) for name in baselines]:
        table.add_column(title, justify="right", no_wrap=True)
    for group in groups:
        for figure in (x for x in figures if x["group"] == group):
            cells = [shown(x, group) for x in _values(figure, networks, baselines)]
            table.add_row(figure["title"], *cells)
            if "spread" in figure:
                cells = [shown(x, group) for x in _values(figure["spread"], networks, baselines)]
                table.add_row("  ± over draws", *cells, style="dim")
        if group != groups[-1]:
            table.add_row()
    return table


def shown(value: float | None, group: str) -> str:
    """A figure as it is read: shares in per cent, geometry with two digits.

    Example:
        >>> shown(0.8465, "accuracy"), shown(-3.141, "geometry"), shown(None, "accuracy")
        ('84.7', '-3.14', '-')
    """
    if value is None or not np.isfinite(value):
        return "-"
    if group != "geometry":
        return f"{100 * value:.1f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def mean(values: list[float | None]) -> float | None:
    """The mean of what is known.

    Example:
        >>> mean([1.0, None, 2.0]), mean([])
        (1.5, None)
    """
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _values(figure: dict[str, Any], networks: int, baselines: list[str]) -> list[float | None]:
    """In the order of the columns."""
    members = figure["networks"]
    values = list(members) if networks <= _MOST else []
    if networks > 1:
        values += [mean(members), figure["concatenated"], figure["averaged"]]
    return values + [mean(figure["baselines"].get(name, [])) for name in baselines]
