"""Pictures that a method made of a few test images, side by side."""

import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from mcl_jax.report.page.pictures import data_uri
from mcl_jax.report.page.workdir import Workdir

# What reading a damaged archive of arrays may end in.
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, IndexError, TypeError, EOFError, NotImplementedError),
    *(zlib.error, zipfile.BadZipFile),
)


class Strips(NamedTuple):
    """Rows of pictures, one column an image, and a sentence on them.

    Attributes:
        rows: a title and as many pictures as there are images.
        sentence: what else is known of them; may be empty.
    """

    rows: list[tuple[str, list[str]]]
    sentence: str


def strips(run: Workdir) -> Strips | None:
    """What ``pictures.npz`` of a workdir holds, or None where there is none that can be read."""
    try:
        path = run.path / "pictures.npz"
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            rows = [(name, [data_uri(image) for image in file[name]]) for name in file.files]
    except _DAMAGE:
        return None
    bounds = [record["bound"] for record in run.records if record.get("bound") is not None]
    said = ""
    if bounds:
        said = (
            f"The networks read {bounds[-1]:.2f} nats of what their views share in the last batch "
            f"that was logged, and {bounds[0]:.2f} in the first."
        )
    return Strips(rows, said)
