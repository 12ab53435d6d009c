"""Sphinx settings of the documentation: ``sphinx-build -W -b html docs <outside the tree>``."""

import itertools
import pathlib
import sys
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the package need not be installed

import mcl_jax

project = "mcl_jax"
author = "the mcl_jax authors"
project_copyright = author
version = release = mcl_jax.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # MathJax's files beside the pages: equations need no network
    "sphinx_copybutton",
]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
smartquotes_action = "qD"  # quotes and dashes; the dots of [..., B] stay three
default_role = "py:obj"  # `name` in a docstring links to what it names, where that is documented
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"mcl_jax {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False


def _skip_fields(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out the fields of named tuples: the class describes them, Python says "field 0"."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def _draw_tables(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turns the tables of docstrings, written with bars as in Markdown, into those of Sphinx."""
    drawn: list[str] = []
    for table, block in itertools.groupby(list(lines), lambda line: line.startswith("|")):
        if not table:
            drawn += block
            continue
        head, _, *body = ([cell.strip() for cell in row.strip("|").split("|")] for row in block)
        drawn += [".. list-table::", "   :header-rows: 1", ""]
        for first, *rest in [head, *body]:
            drawn += [f"   * - {first}", *(f"     - {cell}" for cell in rest)]
        drawn.append("")
    lines[:] = drawn


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _draw_tables)
    app.connect("autodoc-skip-member", _skip_fields)
