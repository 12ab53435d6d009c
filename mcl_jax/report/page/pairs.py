"""Metrics with a number for each pair of networks: the newest as a matrix, and their course."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcl_jax.report.page import wording
from mcl_jax.report.page.curves import Series, is_numeric, metric_picture
from mcl_jax.report.page.heat import draw_heat
from mcl_jax.report.page.svg import Picture, drawing, to_svg
from mcl_jax.report.page.workdir import Workdir


def pair_pictures(run: Workdir) -> list[Picture]:
    """A matrix and a curve for every metric [M, M] of the records; one network has but a curve."""
    pictures = []
    for name in pair_metric_names(run.records):
        steps, matrices = pair_series(run.records, name)
        if matrices.shape[1] > 1:
            pictures.append(_matrix(name, int(steps[-1]), matrices[-1]))
        pictures.append(_curve(name, steps, matrices))
    return pictures


def pair_metric_names(records: Sequence[dict[str, Any]]) -> list[str]:
    """Every metric [M, M] of the records: those that are known in their order, then the others."""
    names = {name for record in records for name, value in record.items() if _is_matrix(value)}
    known = [name for name in wording.METRICS if name in names]
    return known + sorted(names - set(known))


def pair_series(records: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n] and values [n, M, M] of a metric, M as in the newest record that has it.

    Example:
        >>> lines = [{"step": 2, "a": [[1.0, None], [0.5, 1.0]]}, {"step": 4}]
        >>> steps, values = pair_series(lines, "a")
        >>> steps.tolist(), values.tolist()
        ([2], [[[1.0, nan], [0.5, 1.0]]])
    """
    found = [
        (record["step"], np.array(record[name], np.float64))
        for record in records
        if _is_matrix(record.get(name))
    ]
    kept = [(step, matrix) for step, matrix in found if matrix.shape == found[-1][1].shape]
    return np.array([step for step, _ in kept]), np.stack([matrix for _, matrix in kept])


def _is_matrix(value: Any) -> bool:
    """Whether a record's value is a square list of lists of numbers or nulls."""
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(row, list) and len(row) == len(value) for row in value)
        and all(is_numeric(row) for row in value)
    )


def _matrix(name: str, step: int, matrix: np.ndarray) -> Picture:
    """The newest values; a row a network that learns, a column its peer."""
    title, meaning = wording.metric(name)
    networks = len(matrix)
    largest = np.nanmax(np.abs(matrix), initial=0.0)
    cells = [[_cell(value) for value in row] for row in matrix]
    side = max(2.6, 1.0 + 0.34 * networks)
    with drawing(side + 0.35, side) as figure:
        axes = figure.subplots()
        draw_heat(axes, np.nan_to_num(matrix) / (largest or 1.0), 0, cells, 10 - networks // 3)
        axes.set_xticks(range(networks))
        axes.set_yticks(range(networks))
        axes.set_xlabel("network")
        axes.set_ylabel("network")
        told = "; ".join(
            f"{a} and {b}: {cells[a][b]}" for a, b in np.ndindex(matrix.shape) if a != b
        )
        alt = f"{title} at step {step}, {networks} by {networks} networks. {told}."
        svg = to_svg(figure, f"pairs-{name.replace('_', '-')}", alt)
    caption = f"{meaning} At step {step:,}; row and column are networks."
    return Picture(f"{title}, newest", svg, alt, caption, wide=networks > 8)


def _curve(name: str, steps: np.ndarray, matrices: np.ndarray) -> Picture:
    """Means over steps: of what is within a network, and of what is between two."""
    title, meaning = wording.metric(name)
    own = np.diagonal(matrices, axis1=1, axis2=2)
    lines: dict[str, np.ndarray] = {}
    if not np.all(own == 1):  # with itself a network agrees
        lines["within a network"] = _mean(own)
    if matrices.shape[1] > 1:
        others = matrices[:, ~np.eye(matrices.shape[1], dtype=bool)]
        lines["between two networks"] = _mean(others)
    found = Series(steps, np.stack(list(lines.values()), axis=1))
    return metric_picture(f"pairs-{name}", title, f"{meaning} Means over networks.", found, lines)


def _mean(values: np.ndarray) -> np.ndarray:
    """[n, k] to [n]; NaN where a row has no number."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"
