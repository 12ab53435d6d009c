"""Figures of Matplotlib as SVG that stands inside a page and takes on the page's colours.

Colours are stand-ins while Matplotlib draws, and become ``currentColor`` and ``var(--line-0)``,
``var(--line-1)``, ... in the SVG, so that one picture serves on a light and on a dark page.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

INK = "#0a0b0c"
LINES = tuple(f"#0a0c{number:02x}" for number in range(8))
# Colours of points, which are drawn as pixels: they must do on white and on black.
POINTS = (
    "#3b7dd8",
    "#e8710a",
    "#1f9e6f",
    "#d6456b",
    "#9166cc",
    "#96714f",
    "#d667c3",
    "#7f8790",
    "#a8a511",
    "#16a5bd",
)

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.grid": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 72,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "savefig.transparent": True,
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "mcl_jax",  # the same figure gets the same identifiers
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $5
    "xtick.color": INK,
    "ytick.color": INK,
}


class Picture(NamedTuple):
    """A figure of the page.

    Attributes:
        title: a few words.
        image: the SVG.
        alt: what is seen, with figures, for who does not see it.
        caption: what is drawn and how it was computed.
        wide: whether it is too wide for a phone, which then scrolls it.
    """

    title: str
    image: Markup
    alt: str
    caption: str
    wide: bool = False


@contextlib.contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches, drawn in the page's style inside the block."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The page's reader has the glyphs that Matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield Figure(figsize=(width, height))


def to_svg(figure: Figure, prefix: str, alt: str) -> Markup:
    """The figure as an SVG element.

    Args:
        figure: drawn inside `drawing`.
        prefix: what identifiers begin with; each figure of a page needs its own.
        alt: the text for who does not see it.

    Returns:
        Markup that takes the width of its box.
    """
    file = io.StringIO()
    figure.savefig(
        file,
        format="svg",
        dpi=160,  # of the parts that are pixels
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(#|href="#)', rf"\1{prefix}-", text)
    text = text.replace(INK, "currentColor")
    for number, colour in enumerate(LINES):
        text = text.replace(colour, f"var(--line-{number})")
    width, height = 72 * figure.get_size_inches()
    # Matplotlib's own opening tag has a size in points; ours fills its box, within bounds.
    opening = Markup(
        '<svg viewBox="0 0 {:g} {:g}" style="max-width: {:.0f}px" role="img" aria-label="{}" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    ).format(width, height, 1.65 * width, alt)
    return opening + Markup(text[text.index(">") + 1 :].strip())
