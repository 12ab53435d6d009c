"""Every example of the documentation runs and says what it prints."""

import doctest
import pathlib
import re

import pytest

from mcl_jax import losses

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
WITH_EXAMPLES = [page for page in PAGES if ">>> " in (DOCS / page).read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_examples_of_a_page_run_from_top_to_bottom(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    examples = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)  # a fence is no output
    test = doctest.DocTestParser().get_doctest(examples, {}, page, str(DOCS / page), 0)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_whatever_is_marked_as_python_is_an_example(page):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S
    )
    lines = [line for block in blocks for line in block.splitlines() if line]
    assert [block for block in blocks if not block.startswith(">>> ")] == []
    assert max(map(len, lines), default=0) <= 100 + len(">>> ")


@pytest.mark.parametrize("name", [name for name in losses.__all__ if name.islower()])
def test_every_objective_has_its_place(name):
    text = "".join((DOCS / page).read_text(encoding="utf-8") for page in WITH_EXAMPLES)
    assert f"losses.{name}(" in text
