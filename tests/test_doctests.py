"""Every example in a docstring runs and says what it prints."""

import doctest
import importlib
import pathlib

import pytest

import mcl_jax

PACKAGE = pathlib.Path(mcl_jax.__file__).parent
COMMANDS = {"mcl_jax.main", "mcl_jax.evaluate", "mcl_jax.study"}  # importing one defines flags


def modules_with_examples() -> list[str]:
    """Found by their text, so that nothing is imported to be collected."""
    paths = [path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    names = [
        ".".join(("mcl_jax", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in paths
    ]
    modules = {name.removesuffix(".__init__") for name in names if not name.endswith("__main__")}
    return sorted(modules - COMMANDS)


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("part", ["losses", "memory", "models", "views", "data", "cohort"])
def test_parts_that_users_import_have_examples(part):
    found = [name for name in modules_with_examples() if name.split(".")[1] == part]
    assert found != []
