"""Pictures of a study: means with intervals, differences of each seed, curves with their spread."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcl_jax.report.page import wording
from mcl_jax.report.page.curves import Series, identifier
from mcl_jax.report.page.svg import INK, LINES, Picture, drawing, to_svg
from mcl_jax.report.study_words import WHO, difference_cell, is_share, mean_cell, rows

_WIDTH = 4.4  # inches


def means_picture(study: dict[str, Any], name: str) -> Picture:
    """Mean and interval of every arm in one measure, a colour for whose figure it is."""
    measure, factor = study["measures"][name], 100 if is_share(study, name) else 1
    arms, found = list(study["arms"]), study["means"][name]
    whose = [who for who in WHO if who in found]
    with drawing(_WIDTH, 0.9 + 0.17 * len(whose) * len(arms)) as figure:
        axes = figure.subplots()
        for number, who in enumerate(whose):
            for place, arm in enumerate(arms):
                if arm in found[who] and who in rows(study, arm):
                    height = place + (number - (len(whose) - 1) / 2) * 0.75 / len(whose)
                    colour = LINES[list(WHO).index(who)]
                    _interval(axes, found[who][arm], height, factor, colour)
            axes.plot([], [], color=LINES[list(WHO).index(who)], marker="o", label=WHO[who])
        styles = ("--", ":", "-.")
        for number, (baseline, levels) in enumerate(study["baselines"].get(name, {}).items()):
            level = factor * float(np.mean([x["mean"] for x in levels.values()]))
            style = styles[number % len(styles)]
            axes.axvline(
                level, color=INK, alpha=0.55, linewidth=1.1, linestyle=style, label=baseline
            )
        _finish(figure, axes, arms, "%" if factor == 100 else "")
        told = "; ".join(
            f"{arm}, {WHO[who]}: {mean_cell(study, name, who, arm)}"
            for arm in arms
            for who in whose
            if arm in found[who] and who in rows(study, arm)
        )
        alt = f"{measure['title']}: {told}."
        svg = to_svg(figure, f"means-{identifier(name)}", alt)
    caption = f"Mean over seeds with its 95 % interval (Student's). {_protocol(measure)}"
    return Picture(measure["title"], svg, alt, caption)


def differences_picture(study: dict[str, Any], name: str) -> Picture | None:
    """Paired differences from the first arm: a point a seed, and their mean with its interval."""
    measure, factor = study["measures"][name], 100 if is_share(study, name) else 1
    found = study["differences"].get(name, {})
    pairs = [
        (arm, who)
        for arm in study["arms"]
        for who in rows(study, arm, study["reference"])
        if arm in found.get(who, {})
    ]
    if not pairs:
        return None
    with drawing(_WIDTH, 0.8 + 0.26 * len(pairs)) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=INK, alpha=0.6, linewidth=1)
        for place, (arm, who) in enumerate(pairs):
            difference, colour = found[who][arm], LINES[list(WHO).index(who)]
            seeds = factor * np.array(list(difference["by_seed"].values()))
            axes.plot(seeds, np.full(len(seeds), place + 0.22), ".", color=INK, alpha=0.45)
            _interval(axes, difference, place, factor, colour)
        words = {arm: rows(study, arm, study["reference"]) for arm, _ in pairs}
        labels = [f"{arm}: {words[arm][who]}" for arm, who in pairs]
        unit = "difference" + (", points" if factor == 100 else "")
        _finish(figure, axes, labels, unit)
        told = "; ".join(
            f"{arm}, {WHO[who]}: {difference_cell(study, name, who, arm)}" for arm, who in pairs
        )
        alt = f"{measure['title']}, paired differences from {study['reference']}: {told}."
        svg = to_svg(figure, f"differences-{identifier(name)}", alt)
    caption = (
        "Small points: the difference of each seed. Large ones: their mean with its 95 % interval; "
        "one that does not reach the line at 0 is told from it."
    )
    return Picture(f"{measure['title']}: difference from {study['reference']}", svg, alt, caption)


def course(
    arms: dict[str, list[Series]], title: str, about: str, x: str, name: str
) -> Picture | None:
    """A figure on validation as training goes on: mean over seeds, and their standard deviation.

    Args:
        arms: of each arm a series of one line for each seed, of fractions.
        title: of the picture.
        about: a sentence for the caption.
        x: what ``steps`` of the series are.
        name: that no other figure of the page has.
    """
    kept = {arm: _together(found) for arm, found in arms.items() if found}
    if not kept:
        return None
    with drawing(_WIDTH, 3.0) as figure:
        axes = figure.subplots()
        for number, (arm, (steps, values)) in enumerate(kept.items()):
            mean, colour = 100 * values.mean(axis=0), LINES[number % len(LINES)]
            style = "-" if number < len(LINES) else "--"
            marker = "o" if len(steps) == 1 else ""
            axes.plot(steps, mean, color=colour, linestyle=style, marker=marker, label=arm)
            if len(values) > 1:
                spread = 100 * values.std(axis=0, ddof=1)
                axes.fill_between(
                    steps, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0
                )
        axes.set_xlabel(x)
        axes.set_ylabel("%")
        axes.grid(visible=True)
        axes.margins(x=0.02)
        _legend(figure, axes)
        told = "; ".join(
            f"{arm} ends at {values[:, -1].mean():.1%}" for arm, (_, values) in kept.items()
        )
        alt = f"{title}: {told}."
        svg = to_svg(figure, f"course-{identifier(name)}", alt)
    caption = f"{about} The line is the mean over seeds, the band one standard deviation."
    return Picture(title, svg, alt, caption)


def _together(found: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n] that all seeds have, and values [seeds, n] there."""
    steps = found[0].steps
    for one in found[1:]:
        steps = np.intersect1d(steps, one.steps)
    values = [one.values[np.isin(one.steps, steps)].mean(axis=1) for one in found]
    return steps, np.stack(values)


def _interval(axes: Axes, found: dict[str, Any], height: float, factor: int, colour: str) -> None:
    """A point with its interval, if it has one."""
    if found["low"] is not None:
        ends = [factor * found["low"], factor * found["high"]]
        axes.plot(ends, [height, height], color=colour, linewidth=1.6)
    axes.plot([factor * found["mean"]], [height], "o", color=colour, markersize=5)


def _finish(figure: Figure, axes: Axes, names: Sequence[str], unit: str) -> None:
    """Names of rows, from top to bottom, grid and legend."""
    axes.set_yticks(range(len(names)), [wording.short(name, 38) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(unit)
    axes.grid(visible=True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _legend(figure, axes)


def _legend(figure: Figure, axes: Axes) -> None:
    """Names below the plot, which keeps its size."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        lines = -(-len(labels) // 2)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.18 * lines)
        figure.legend(handles, labels, loc="outside lower center", ncols=min(2, len(labels)))


def _protocol(measure: dict[str, Any]) -> str:
    text = measure["protocol"]
    return f"{text[:1].upper()}{text[1:]}."
