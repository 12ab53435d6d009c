"""The house of DESIGN.md: who may import whom, and what every part owes its readers."""

import ast
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PATHS = sorted((ROOT / "mcl_jax").rglob("*.py"))

# What a part may take from the rest of the library, beside itself.
MAY_IMPORT = {
    "atomic": set(),
    "axes": set(),
    "losses": set(),
    "regions": {"axes", "losses"},
    "annealing": set(),
    "mutual_information": {"losses"},
    "clustering": set(),
    "memory": {"axes", "losses"},
    "models": {"losses"},
    "views": {"atomic"},
    "data": {"atomic"},
    "config": {"atomic"},
    "cohort": {"atomic", "axes", "losses", "models"},
    "interop": {"atomic", "models"},
    "meter": {"losses", "mutual_information"},
    "report": {"atomic", "evaluation"},
    "worlds": {"atomic", "data", "losses", "models", "mutual_information", "report", "studies"},
}
COMMANDS = {"main", "evaluate", "study", "views.__main__", "report.__main__", "worlds.__main__"}
HEAVY = {"flax", "optax", "orbax", "tensorflow_datasets", "tensorflow", "sklearn", "skimage"}


def module_name(path: pathlib.Path) -> str:
    """``losses.masks`` for ``mcl_jax/losses/masks.py``; the package itself is ``""``."""
    parts = path.relative_to(ROOT / "mcl_jax").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(source: str) -> Iterator[str]:
    """Dotted names of all that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parts(source: str) -> set[str]:
    """The parts of mcl_jax that a module imports."""
    named = (name.split(".") for name in imports(source))
    return {name[1] for name in named if name[0] == "mcl_jax" and len(name) > 1}


def public_definitions(tree: ast.Module) -> Iterator[ast.AST]:
    """Functions and classes of a module, and methods of its classes, without an underscore."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node
            inner = node.body if isinstance(node, ast.ClassDef) else []
            yield from (x for x in inner if isinstance(x, kinds) and not x.name.startswith("_"))


every_module = pytest.mark.parametrize("path", PATHS, ids=module_name)


def test_imports_are_seen_wherever_they_stand():
    source = """
import os, mcl_jax.training.loop
from mcl_jax import losses as algebra, memory
def late():
    from mcl_jax.data.samplers import draw
"""
    assert parts(source) == {"training", "losses", "memory", "data"}
    assert set(imports(source)) >= {"os", "mcl_jax.data.samplers.draw"}


@every_module
def test_imports_run_downwards(path):
    name = module_name(path)
    if name in COMMANDS:
        return
    part, taken = name.split(".")[0], parts(path.read_text(encoding="utf-8"))
    taken -= {part}
    assert taken <= MAY_IMPORT.get(part, taken)
    assert not taken & {command for command in COMMANDS if "." not in command}
    assert part == "command" or not taken & {"training", "command"}


@every_module
def test_commands_alone_see_flags(path):
    seen = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"))}
    flags = {"ml_collections.config_flags"} & set(imports(path.read_text(encoding="utf-8")))
    name = module_name(path)
    # Grain reads a flag of absl's in a process that starts workers.
    is_command = name in COMMANDS or name.startswith("command.") or name == "data.workers"
    assert is_command or not flags | (seen & {"absl", "argparse"})


@every_module
def test_no_module_is_a_drawer_for_everything(path):
    assert not {"util", "utils", "helpers", "common", "misc"} & set(module_name(path).split("."))


@every_module
def test_whatever_is_public_is_explained(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    silent = [node.name for node in public_definitions(tree) if not ast.get_docstring(node)]
    assert silent == []


SMALL = ["annealing", "losses", "memory", "mutual_information", "regions", "views"]


@pytest.mark.parametrize("name", ["mcl_jax", *(f"mcl_jax.{part}" for part in SMALL)])
def test_small_parts_load_nothing_heavy(name):
    code = f"import sys, {name}; print(*{{x.split('.')[0] for x in sys.modules}})"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(process.stdout.split())
    assert "mcl_jax" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", ["data", "evaluation", "report"])
def test_data_and_judges_load_data_libraries_when_they_need_them(name):
    code = f"import sys, mcl_jax.{name}; print(*{{x.split('.')[0] for x in sys.modules}})"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(process.stdout.split())
    assert not loaded & {"orbax", "tensorflow_datasets", "tensorflow", "sklearn", "skimage"}


def test_training_does_not_wait_for_the_libraries_of_the_page():
    code = "import sys, mcl_jax.report; print(*{x.split('.')[0] for x in sys.modules})"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(process.stdout.split())
    assert "mcl_jax" in loaded
    assert not loaded & {"matplotlib", "jinja2", "sklearn", "jax"}
