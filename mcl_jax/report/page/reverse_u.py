"""Pictures of a task's figures over what the views of each arm share, with their upper envelope."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcl_jax.report.page.curves import identifier
from mcl_jax.report.page.svg import INK, LINES, Picture, drawing, to_svg
from mcl_jax.report.study_words import is_share

_SHARED = "shared"  # the measure of what views share
_TASKS = ("knn_20", "linear", "few_1", "few_5", "few_10")
_WIDTH, _HEIGHT = 4.4, 3.2  # inches


def pictures(study: dict[str, Any]) -> list[Picture]:
    """A picture for each task's figure, none where what views share was not measured.

    Args:
        study: what ``study.json`` holds.
    """
    names = [name for name in _TASKS if name in study["means"]]
    found = [_picture(study, name) for name in names if _SHARED in study["means"]]
    return [picture for picture in found if picture is not None]


def upper_envelope(x: Sequence[float], y: Sequence[float]) -> list[int]:
    """Which points are corners of the upper side of their convex hull, from left to right.

    Example:
        >>> upper_envelope([0.0, 1.0, 2.0, 3.0], [0.0, 2.0, 1.0, 0.5])
        [0, 1, 3]
    """
    corners: list[int] = []
    for place in sorted(range(len(x)), key=lambda i: (x[i], y[i])):
        while len(corners) > 1 and not _turns_right(x, y, corners[-2], corners[-1], place):
            corners.pop()
        if corners and x[corners[-1]] == x[place]:
            corners.pop()
        corners.append(place)
    return corners


def _turns_right(x: Sequence[float], y: Sequence[float], a: int, b: int, c: int) -> bool:
    """Whether the way from a over b to c bends down."""
    return (x[b] - x[a]) * (y[c] - y[a]) < (y[b] - y[a]) * (x[c] - x[a])


def _picture(study: dict[str, Any], name: str) -> Picture | None:
    """One figure, mean of members, over the bound: a point for each arm that has both."""
    bounds, answers = (study["means"][x].get("mean", {}) for x in (_SHARED, name))
    arms = [arm for arm in study["arms"] if arm in bounds and arm in answers]
    if len(arms) < 2:
        return None
    factor = 100 if is_share(study, name) else 1
    x = [bounds[arm]["mean"] for arm in arms]
    y = [factor * answers[arm]["mean"] for arm in arms]
    corners = upper_envelope(x, y)
    title = study["measures"][name]["title"]
    with drawing(_WIDTH, _HEIGHT) as figure:
        axes = figure.subplots()
        axes.plot([x[i] for i in corners], [y[i] for i in corners], "-", color=LINES[1], alpha=0.6)
        for place, arm in enumerate(arms):
            spreads = [bounds[arm]["deviation"], answers[arm]["deviation"]]
            across, up = (0.0 if spread is None else spread for spread in spreads)
            axes.errorbar(
                x[place], y[place], factor * up, across, "o", color=LINES[0], elinewidth=1
            )
            axes.annotate(
                arm, (x[place], y[place]), (4, 4), textcoords="offset points", color=INK, fontsize=8
            )
        axes.set_xlabel("what views share, nats (a lower bound)")
        axes.set_ylabel("%" if factor == 100 else "")
        axes.grid(visible=True)
        axes.margins(0.12)
        told = "; ".join(
            f"{arm} {a:.2f} nats, {b:.1f}" for arm, a, b in zip(arms, x, y, strict=True)
        )
        alt = f"{title} over what views share: {told}."
        svg = to_svg(figure, f"shared-{identifier(name)}", alt)
    peak = arms[int(np.argmax(y))]
    caption = (
        f"Means over seeds of the members' figures, with one standard deviation both ways; the "
        f"line is the upper envelope of the means. Highest: {peak}."
    )
    return Picture(f"{title} over what views share", svg, alt, caption)
