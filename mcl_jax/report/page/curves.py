"""Curves over the steps of a run, and of several runs on one another."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from mcl_jax.report.page import wording
from mcl_jax.report.page.svg import INK, LINES, Picture, drawing, to_svg
from mcl_jax.report.page.workdir import Workdir

_ABOUT = {"step", "epoch", "seconds", "validation"}  # of a record, but no metric
_SIZE = 4.2, 2.7  # inches


class Series(NamedTuple):
    """A metric over steps.

    Attributes:
        steps: [n].
        values: [n, lines], a line a network, or one; NaN where a network has no number.
    """

    steps: np.ndarray
    values: np.ndarray


def series(records: Sequence[dict[str, Any]], name: str) -> Series | None:
    """One metric of the records that hold a number for it, or None where none does.

    Example:
        >>> series([{"step": 1, "a": None}, {"step": 5, "a": [2.0, None]}], "a")
        Series(steps=array([5]), values=array([[ 2., nan]]))
    """
    found = [
        (record["step"], np.ravel(np.array(record[name], np.float64)))
        for record in records
        if name in record and is_numeric(record[name])
    ]
    if not found:
        return None
    lines = len(found[-1][1])
    kept = [(step, values) for step, values in found if len(values) == lines]
    steps, values = np.array([step for step, _ in kept]), np.array([values for _, values in kept])
    values[~np.isfinite(values)] = np.nan
    told = ~np.isnan(values).all(axis=1)
    return Series(steps[told], values[told]) if told.any() else None


def validation(records: Sequence[dict[str, Any]], name: str) -> Series | None:
    """One figure on validation over steps: ``"accuracy"`` or ``"ensemble_accuracy"``."""
    judged = [
        {"step": record["step"], **record["validation"]}
        for record in records
        if isinstance(record.get("validation"), dict)
    ]
    return series(judged, name)


def metric_names(records: Sequence[dict[str, Any]]) -> list[str]:
    """Every metric of the records: those that are known in their order, then the others."""
    names = {name for record in records for name in record} - _ABOUT
    known = [name for name in wording.METRICS if name in names]
    others = sorted(names - set(known))
    return [name for name in known + others if series(records, name) is not None]


def validation_curve(run: Workdir) -> Picture | None:
    """Accuracy on validation of each network and of the ensemble, with the baselines."""
    members = validation(run.records, "accuracy")
    if members is None:
        return None
    together = validation(run.records, "ensemble_accuracy") if run.networks > 1 else None
    with drawing(4.6, 3.3) as figure:
        axes = figure.subplots()
        _lines(axes, Series(members.steps, 100 * members.values), "network", marker="o")
        if together is not None:
            values = 100 * together.values[:, 0]
            axes.plot(together.steps, values, color=INK, marker="s", label="ensemble")
        baselines = _baselines(axes, run)
        _finish(figure, axes, "accuracy, %")
        last = f"at step {members.steps[-1]} " + wording.listed(
            [f"network {i} {x:.1%}" for i, x in enumerate(members.values[-1])]
            + ([f"the ensemble {together.values[-1, 0]:.1%}"] if together is not None else [])
        )
        alt = f"Validation accuracy over steps: {last}."
        rows = run.rows("validation")
        rows_text = f" ({rows:,} rows)" if rows else ""
        caption = f"Share of right answers on the validation rows{rows_text}, every network alone"
        mean = "votes" if run.neighbours else "logits"
        caption += f" and the mean of their {mean} (ensemble)." if together is not None else "."
        if run.neighbours:
            caption += " Nearest training rows answer, by weighted votes."
        if baselines:
            caption += " Grey lines: baselines without training, nearest neighbours, on test rows."
        svg = to_svg(figure, "validation", alt)
    return Picture("Accuracy on validation", svg, alt, caption)


def metric_curves(run: Workdir) -> list[Picture]:
    """Every metric over the steps; the ensemble's accuracy is drawn among its networks'.

    Terms without weight that were not measured either, and so are 0 at all steps, are left out.
    """
    names = metric_names(run.records)
    if "accuracy" in names and "ensemble_accuracy" in names:
        names.remove("ensemble_accuracy")
    weights, drawn = run.setting("method.weights", {}), []
    for name in names:
        values = series(run.records, name)
        if values is not None and (weights.get(name, 1) or values.values.any()):
            drawn.append(_metric_curve(run, name, values))
    return drawn


def _metric_curve(run: Workdir, name: str, found: Series) -> Picture:
    """One metric over the steps, a line a network where it has one."""
    title, meaning = wording.metric(name)
    with drawing(*_SIZE) as figure:
        axes = figure.subplots()
        _lines(axes, found, "network" if found.values.shape[1] > 1 else "", marker="")
        together = series(run.records, "ensemble_accuracy") if name == "accuracy" else None
        if together is not None and run.networks > 1:
            axes.plot(together.steps, together.values[:, 0], color=INK, label="ensemble")
        log = _log_scale(axes, [found.values])
        if name == "images_per_second":
            axes.set_ylim(bottom=0)
        _finish(figure, axes, "")
        alt = f"{title}{' (log scale)' if log else ''}: {_course(found)}."
        svg = to_svg(figure, f"metric-{identifier(name)}", alt)
    return Picture(title, svg, alt, f"{meaning}{_weight(run, name)}")


def metric_picture(
    name: str, title: str, meaning: str, found: Series, labels: Iterable[str]
) -> Picture:
    """One metric over the steps, with a name for each of its lines."""
    with drawing(*_SIZE) as figure:
        axes = figure.subplots()
        for number, (values, label) in enumerate(zip(found.values.T, labels, strict=True)):
            marker = "o" if len(values) == 1 else ""
            axes.plot(found.steps, values, color=LINES[number], marker=marker, label=label)
        _finish(figure, axes, "")
        alt = f"{title}: {_course(found)}."
        svg = to_svg(figure, identifier(name), alt)
    return Picture(title, svg, alt, meaning)


def overlay(runs: Sequence[tuple[str, Series]], title: str, meaning: str, name: str) -> Picture:
    """One metric of several runs, the mean over a run's networks.

    Args:
        runs: name and metric of each.
        title: of the picture.
        meaning: first sentence of its caption.
        name: that no other figure of the page has.

    Returns:
        The picture.
    """
    with drawing(*_SIZE) as figure:
        axes = figure.subplots()
        for number, (label, found) in enumerate(runs):
            values = np.nanmean(found.values, axis=1)
            style = "-" if number < len(LINES) else "--"
            colour = LINES[number % len(LINES)]
            axes.plot(found.steps, values, color=colour, linestyle=style, label=label)
        log = _log_scale(axes, [found.values for _, found in runs])
        _finish(figure, axes, "", most_in_plot=0, columns=2)
        courses = "; ".join(f"{label}: {_course(found)}" for label, found in runs)
        alt = f"{title}{' (log scale)' if log else ''}, a line a run. {courses}."
        svg = to_svg(figure, f"overlay-{identifier(name)}", alt)
    several = any(found.values.shape[1] > 1 for _, found in runs)
    mean = " The mean over each run's networks." if several else ""
    return Picture(title, svg, alt, f"{meaning}{mean}")


def _lines(axes: Axes, found: Series, noun: str, marker: str) -> None:
    """A line for each column; a metric without networks is drawn in ink."""
    for number, values in enumerate(found.values.T):
        axes.plot(
            found.steps,
            values,
            color=LINES[number % len(LINES)] if noun else INK,
            linestyle="-" if number < len(LINES) else "--",
            marker=marker or ("o" if len(values) == 1 else ""),
            label=f"{noun} {number}" if noun else "_nolegend_",
        )


def _baselines(axes: Axes, run: Workdir) -> bool:
    """Horizontal lines of the summary's baselines."""
    baselines = (run.summary or {}).get("baselines", {})
    styles = ("--", ":", "-.")
    for number, (name, figures) in enumerate(baselines.items()):
        level = 100 * float(np.mean(figures["knn_accuracy"]))
        style = styles[number % len(styles)]
        axes.axhline(level, color=INK, alpha=0.55, linewidth=1.1, linestyle=style, label=name)
    return bool(baselines)


def _finish(figure: Figure, axes: Axes, unit: str, most_in_plot: int = 3, columns: int = 3) -> None:
    """Axis names, grid and legend."""
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(visible=True)
    axes.margins(x=0.02)
    handles, labels = axes.get_legend_handles_labels()
    labels = [wording.short(label, 24) for label in labels]
    if len(labels) > most_in_plot:
        lines = -(-len(labels) // columns)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.16 * (lines - 1))  # the plot keeps its size
        figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))
    elif labels:
        axes.legend(handles, labels)


def _log_scale(axes: Axes, values: Sequence[np.ndarray]) -> bool:
    """Makes the axis logarithmic where positive values span more than two decades."""
    joined = np.concatenate([np.ravel(x) for x in values])
    joined = joined[np.isfinite(joined)]
    if not (joined.min() > 0 and joined.max() > 100 * joined.min()):
        return False
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    return True


def _course(found: Series) -> str:
    """From where to where the mean over lines goes."""
    steps, means = found.steps, np.nanmean(found.values, axis=1)
    first, last = wording.figure(means[0]), wording.figure(means[-1])
    mean = "the mean over networks" if found.values.shape[1] > 1 else "it"
    if len(steps) == 1:
        return f"{mean} is {first} at step {steps[0]}"
    return f"{mean} goes from {first} at step {steps[0]} to {last} at step {steps[-1]}"


def _weight(run: Workdir, name: str) -> str:
    """What the term counts in the loss."""
    weights = run.setting("method.weights", {})
    if name not in weights:
        return ""
    return f" Weight {weights[name]:g}{'' if weights[name] else ': measured, not trained'}."


def identifier(name: str) -> str:
    """The name as part of an identifier in SVG, and no other name's."""
    return "".join(x if x.isascii() and x.isalnum() else f"-{ord(x):x}-" for x in name)


def is_numeric(value: Any) -> bool:
    """Whether a record's value is a number or null, or a list of these."""
    values = value if isinstance(value, list) else [value]
    return all(
        x is None or (isinstance(x, int | float) and not isinstance(x, bool)) for x in values
    )
