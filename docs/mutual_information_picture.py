"""Takes the picture of readings: the first figure of the notebook, as it comes out of a run.

python docs/mutual_information_picture.py docs/mutual_information.png     # wants the extra "docs"
"""

import base64
import io
import pathlib
import sys

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]


def main(output: str) -> None:
    """Runs the notebook and writes its first figure."""
    path = ROOT / "colabs" / "mutual_information.ipynb"
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = (x.get("data", {}) for cell in notebook.cells for x in cell.get("outputs", []))
    first = next(data["image/png"] for data in outputs if "image/png" in data)
    Image.open(io.BytesIO(base64.b64decode(first))).convert("RGB").save(output, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
