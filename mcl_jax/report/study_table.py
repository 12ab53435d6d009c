"""The tables that close a study: means of every arm, and differences from the first."""

from typing import Any

from rich import box
from rich.table import Table

from mcl_jax.report.study_words import (
    baseline_rows,
    difference_cell,
    mean_cell,
    measure_groups,
    rows,
)


def study_tables(study: dict[str, Any]) -> list[Table]:
    """For each group of figures a table of means and one of differences.

    Args:
        study: what a study writes as ``study.json``.

    Returns:
        Tables for `rich`.
    """
    tables = []
    for group, names in measure_groups(study).items():
        tables += [_means(study, group, part) for part in _parts(names, 5)]
        tables += [_differences(study, group, part) for part in _parts(names, 3)]
    return [table for table in tables if table.row_count]


def _parts(names: list[str], most: int) -> list[list[str]]:
    """So many measures as a line of a terminal has room for."""
    return [names[start : start + most] for start in range(0, len(names), most)]


def _means(study: dict[str, Any], group: str, names: list[str]) -> Table:
    """A row for each arm and whose figure it is, and the baselines."""
    seeds = len(study["seeds"])
    table = _empty(study, f"{group}: mean and standard deviation over {seeds} seeds", names)
    for arm in study["arms"]:
        for who, words in rows(study, arm).items():
            cells = [mean_cell(study, name, who, arm) for name in names]
            if any(cell != "-" for cell in cells):
                table.add_row(f"{arm}: {words}", *cells)
    for baseline, cells in baseline_rows(study, names):
        table.add_row(f"{baseline} (no training)", *cells)
    return table


def _differences(study: dict[str, Any], group: str, names: list[str]) -> Table:
    """A row for each other arm; no rows where no seed is done in two arms."""
    reference = study["reference"]
    table = _empty(study, f"{group}: paired differences from {reference}, 95 % intervals", names)
    for arm in study["arms"]:
        for who, words in rows(study, arm, reference).items():
            cells = [difference_cell(study, name, who, arm) for name in names]
            if any(cell != "-" for cell in cells):
                table.add_row(f"{arm} - {reference}: {words}", *cells)
    return table


def _empty(study: dict[str, Any], title: str, names: list[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("", no_wrap=True)
    for name in names:
        title = study["measures"][name]["title"].replace(", ", ",\n")  # lines are short
        table.add_column(title, justify="right", no_wrap=True)
    return table
