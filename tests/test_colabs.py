"""The notebooks run from top to bottom, in a small form, in a kernel of their own."""

import os
import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colabs").glob("*.ipynb"))


@pytest.fixture
def kernel_settings(monkeypatch, tmp_path):
    """The kernel imports this checkout and writes into a folder that goes away."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiles faster
    monkeypatch.setenv("MCL_JAX_NOTEBOOK_STEPS", "10")
    monkeypatch.setenv("MCL_JAX_NOTEBOOK_SHARE", "0.02")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return {"metadata": {"path": str(tmp_path)}}


def test_there_are_notebooks():
    assert NOTEBOOKS != []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_open_with_their_badge(path):
    first, install = nbformat.read(path, as_version=4).cells[:2]
    assert first.source.startswith("[![Open in Colab]")
    assert f"/colabs/{path.name})" in first.source.splitlines()[0]
    assert "%pip install" in install.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, kernel_settings):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=kernel_settings
    ).execute()  # raises what a cell raises
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    told = "".join(output["text"] for output in outputs if output.get("name") == "stderr")
    assert "Warning" not in told  # a run's progress is told there too
