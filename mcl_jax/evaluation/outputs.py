"""What networks said of some rows, kept in a file: enough for every picture of a run."""

import dataclasses
import os
import pathlib
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mcl_jax import atomic
from mcl_jax.cohort import Output
from mcl_jax.data import Split
from mcl_jax.evaluation.predict import LoadRows, load_resident

_SIDE = 64  # pixels; larger images are reduced before they are kept
_AT_ONCE = 256  # images that are held at full size


class OutputsError(ValueError):
    """A file of outputs that cannot be used: one sentence says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """What M networks said of n rows of a split.

    Attributes:
        split: ``"validation"`` or ``"test"``.
        step: after which the networks were asked.
        rows: int32 [n], row numbers in the split, ascending.
        of: rows in the whole split.
        images: uint8 [n, H, W, c], at most 64 pixels a side.
        labels: int32 [n].
        logits: float32 [M, n, C].
        embeddings: float32 [M, n, D].
        features: a float32 [m, n, F] for each group of like networks.
        class_names: C names.
        answers: ``"classifier"``, or ``"neighbours"`` where logits are logarithms of their votes.
    """

    split: str
    step: int
    rows: np.ndarray
    of: int
    images: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    embeddings: np.ndarray
    features: tuple[np.ndarray, ...]
    class_names: tuple[str, ...]
    answers: str = "classifier"


def write_outputs(
    path: str | os.PathLike[str],
    output: Output,
    split: Split,
    load: LoadRows = load_resident,
    *,
    name: str,
    step: int,
    class_names: Sequence[str],
    answers: str = "classifier",
    most: int = 2000,
) -> None:
    """Keeps what networks said of a split, of all its rows or of ``most`` that are always the same.

    Args:
        path: the npz file to write or to replace; whole or not at all.
        output: NumPy arrays [M, N, ...] over every row of the split.
        split: the N rows.
        load: (split, rows) to uint8 images.
        name: of the split.
        step: after which the networks were asked.
        class_names: C names.
        answers: whose the logits are, ``"classifier"`` or ``"neighbours"``.
        most: rows that are kept.

    Raises:
        ValueError: the output is not of the split's rows.

    Example:
        >>> import tempfile
        >>> split = Split(np.arange(3, dtype=np.int32), images=np.zeros([3, 8, 8, 1], np.uint8))
        >>> said = Output((np.ones([2, 3, 5]),), np.ones([2, 3, 4]), np.ones([2, 3, 3]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "outputs.npz")
        ...     write_outputs(file, said, split, name="test", step=7, class_names=["a", "b", "c"])
        ...     kept = read_outputs(file)
        >>> kept.split, kept.step, kept.of, kept.logits.shape
        ('test', 7, 3, (2, 3, 3))
    """
    if output.logits.shape[1] != len(split):
        raise ValueError(
            f"output must be of the split's {len(split)} rows, got {output.logits.shape[1]}."
        )
    rows = np.arange(len(split))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    arrays: dict[str, Any] = {
        "split": np.array(name),
        "step": np.array(step),
        "answers": np.array(answers),
        "of": np.array(len(split)),
        "rows": rows.astype(np.int32),
        "images": _small_images(split, rows, load),
        "labels": split.labels[rows],
        "logits": _taken(output.logits, rows),
        "embeddings": _taken(output.embeddings, rows),
        "class_names": np.array(list(class_names), dtype=np.str_),
    }
    for group, features in enumerate(output.features):
        arrays[f"features_{group}"] = _taken(features, rows)
    with atomic.open_to_replace(path, "wb") as file:
        np.savez(file, **arrays)


def read_outputs(path: str | os.PathLike[str]) -> Outputs:
    """Reads what `write_outputs` wrote.

    Args:
        path: the file.

    Returns:
        Outputs of float32, uint8 and int32.

    Raises:
        OutputsError: the file is missing, damaged, or holds something else.
    """
    path = pathlib.Path(path)
    try:
        # NumPy leaves a file open that it opened itself and found to be damaged.
        with path.open("rb") as held, np.load(held, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        outputs = _assembled(arrays)
    except FileNotFoundError as error:
        raise OutputsError(f"{path.name} is missing.") from error
    except KeyError as error:
        raise OutputsError(f"{path.name} lacks the array {error.args[0]!r}.") from error
    # What damage does to a zip archive and to the arrays in it.
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise OutputsError(f"{path.name} is damaged and cannot be read.") from error
    _check(path, outputs)
    return outputs


def _taken(array: Any, rows: np.ndarray) -> np.ndarray:
    """[m, N, ...] to float32 [m, n, ...]."""
    return np.asarray(array)[:, rows].astype(np.float32)


def _small_images(split: Split, rows: np.ndarray, load: LoadRows) -> np.ndarray:
    """uint8 [n, H, W, c] with at most 64 pixels a side, loaded a part at a time."""
    parts = (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
    return np.concatenate([_reduced(load(split, part)) for part in parts])


def _reduced(images: np.ndarray) -> np.ndarray:
    """Images whose longer side is at most 64 pixels, by averaging over areas."""
    height, width = images.shape[1:3]
    if max(height, width) <= _SIDE:
        return images
    from PIL import Image

    factor = _SIDE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))

    def plane(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))

    channels = range(images.shape[-1])
    return np.stack(
        [np.stack([plane(image[..., channel]) for channel in channels], -1) for image in images]
    )


def _assembled(arrays: dict[str, np.ndarray]) -> Outputs:
    """The arrays of the file by name, as a value."""
    groups = sum(name.startswith("features_") for name in arrays)
    return Outputs(
        split=str(arrays["split"]),
        step=int(arrays["step"]),
        rows=arrays["rows"],
        of=int(arrays["of"]),
        images=arrays["images"],
        labels=arrays["labels"],
        logits=arrays["logits"],
        embeddings=arrays["embeddings"],
        features=tuple(arrays[f"features_{group}"] for group in range(groups)),
        class_names=tuple(map(str, arrays["class_names"])),
        answers=str(arrays.get("answers", "classifier")),  # older files do not tell
    )


def _check(path: pathlib.Path, outputs: Outputs) -> None:
    """Raises OutputsError unless the shapes belong together."""
    logits = outputs.logits
    networks, rows, classes = logits.shape if logits.ndim == 3 else (0, 0, 0)
    embeddings, features = outputs.embeddings, outputs.features
    fits = (
        rows == len(outputs.labels) == len(outputs.images) == len(outputs.rows)
        and rows > 0
        and outputs.images.ndim == 4
        and embeddings.ndim == 3
        and embeddings.shape[:2] == (networks, rows)
        and all(group.ndim == 3 and group.shape[1] == rows for group in features)
        and sum(len(group) for group in features) == networks
        and len(outputs.class_names) == classes
        and bool(np.all((outputs.labels >= 0) & (outputs.labels < classes)))
    )
    if not fits:
        raise OutputsError(f"{path.name} holds arrays that do not belong together.")
