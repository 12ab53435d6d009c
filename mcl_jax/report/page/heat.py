"""A matrix as coloured cells with a text in each."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes


def draw_heat(
    axes: Axes,
    matrix: np.ndarray,
    lowest: float,
    cells: Sequence[Sequence[str]],
    size: float,
    hide_zeros: bool = False,
) -> None:
    """Cells with their colour from ``lowest`` to 1, and their text dark or light, as reads best.

    Args:
        axes: to draw on.
        matrix: [n, n].
        lowest: value of the darkest colour.
        cells: n lists of n texts.
        size: of the text, in points.
        hide_zeros: leaves out the text ``0``.
    """
    colours = mpl.colormaps["viridis"]
    scaled = np.clip((matrix - lowest) / (1 - lowest), 0, 1)
    edges = np.arange(len(matrix) + 1) - 0.5
    # Edges of the faces' colour close the seams that renderers leave between cells.
    axes.pcolormesh(
        edges, edges, scaled, cmap=colours, vmin=0, vmax=1, edgecolors="face", linewidth=0.4
    )
    faces = colours(scaled)
    for row, column in np.ndindex(matrix.shape):
        if hide_zeros and cells[row][column] == "0":
            continue
        axes.text(
            column,
            row,
            cells[row][column],
            ha="center",
            va="center",
            fontsize=size,
            color=_legible_on(faces[row, column]),
        )
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _legible_on(colour: np.ndarray) -> str:
    """Black or white, whichever has the larger contrast (WCAG's relative luminance)."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour[:3]]
    luminance = float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
    return "#000000" if luminance > 0.179 else "#ffffff"
