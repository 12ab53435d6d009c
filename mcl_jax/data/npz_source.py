"""Data sets that users keep in one npz file."""

import os
import pathlib
import zipfile
import zlib

import numpy as np

from mcl_jax.data import canonical_order, class_names
from mcl_jax.data.dataset import UNLABELLED, DataError, Source, Split

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
_VALIDATION = ("val_images", "val_labels")
_UNLABELLED = "unlabelled_images"


def _read(path: str) -> dict[str, np.ndarray]:
    """Returns the arrays of the file, without unpickling anything."""
    file_path = pathlib.Path(os.path.expanduser(path))
    if not file_path.is_file():
        raise DataError(f"source npz:{path} wants the path of a file, but there is none.")
    try:
        with open(file_path, "rb") as file:
            if file.read(2) not in (b"PK", b"\x93N"):
                raise DataError(f"source npz:{path} wants an npz file, but {path} is none.")
            file.seek(0)
            held = np.load(file, allow_pickle=False)
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise DataError(
                    f"source npz:{path} wants an archive of arrays, got a single array."
                )
            known = (*ARRAYS, *_VALIDATION, _UNLABELLED, "class_names")
            wanted = [name for name in known if name in held.files]
            return {name: _array(held, name, path) for name in wanted}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"source npz:{path} cannot be read as an npz file: {reason}.") from error


def _array(held: np.lib.npyio.NpzFile, name: str, path: str) -> np.ndarray:
    """Returns one array; a list of images of several sizes is stored as one of objects."""
    try:
        return held[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{name} must be one array of numbers, got Python objects in {path}; images of mixed "
            f"sizes must be brought to one size first."
        ) from error


def _split(arrays: dict[str, np.ndarray], part: str, path: str) -> Split:
    """Returns one split, or says which array is not what it must be."""
    images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape[1:]:
        raise DataError(
            f"{part}_images must be uint8 [N, H, W, c], got {images.dtype} of shape "
            f"{images.shape} in {path}{_remedy(images)}"
        )
    if images.shape[1] in (1, 3) and images.shape[-1] > 4:
        raise DataError(
            f"{part}_images must be [N, H, W, c], channels last, got the shape {images.shape} in "
            f"{path}; images.transpose(0, 2, 3, 1) is so."
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{part}_labels must be integers [N], got {labels.dtype} of shape {labels.shape} "
            f"in {path}."
        )
    if len(images) != len(labels) or not len(images):
        raise DataError(
            f"{part}_images and {part}_labels must have as many rows, at least one, got "
            f"{len(images)} and {len(labels)} in {path}."
        )
    return Split(class_names.narrowed(labels), images=images)


def _remedy(images: np.ndarray) -> str:
    """Returns what makes images of the usual other forms right."""
    if images.dtype == np.uint8 and images.ndim == 3:
        return "; images[..., None] gives gray ones their channel."
    if np.issubdtype(images.dtype, np.floating):
        return "; (images * 255).astype('uint8') does, if they are from 0 to 1."
    return "."


def _class_names(arrays: dict[str, np.ndarray], path: str) -> tuple[str, ...]:
    """Returns the names in the file, or the numbers up to the largest training label."""
    if "class_names" not in arrays:
        labels = arrays["train_labels"]
        if labels.max() >= len(labels):
            raise DataError(
                f"train_labels must count classes from 0, or class_names must name them, got "
                f"{labels.max()} among {len(labels)} rows in {path}."
            )
        return tuple(str(label) for label in range(int(labels.max()) + 1))
    names = arrays["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(
            f"class_names must be strings [C], got {names.dtype} of shape {names.shape} in {path}."
        )
    return tuple(str(name) for name in names)


def load(path: str, *, unlabelled: bool = False) -> Source:
    """Reads ``train_images``, ``train_labels``, ``test_images`` and ``test_labels`` of a file.

    ``val_images`` and ``val_labels``, where they are, are what validation rows are drawn from.

    Args:
        path: an npz file; images are uint8 [N, H, W, c], labels integers [N]. An array
            ``class_names`` of strings [C] is optional.
        unlabelled: also takes ``unlabelled_images``.

    Raises:
        DataError: the file is unreadable, or an array is missing or is not as above.
    """
    arrays = _read(path)
    parts = ("train", "test", "val") if set(_VALIDATION) & arrays.keys() else ("train", "test")
    wanted = [f"{part}_{kind}" for part in parts for kind in ("images", "labels")]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise DataError(
            f"source npz:{path} must hold the arrays {', '.join(wanted)}; it lacks "
            f"{', '.join(missing)}."
        )
    if unlabelled:
        if _UNLABELLED not in arrays:
            raise DataError(f"unlabelled wants an array {_UNLABELLED} in {path}, which has none.")
        arrays["unlabelled_labels"] = np.full(len(arrays[_UNLABELLED]), UNLABELLED)
        parts = (*parts, "unlabelled")
    splits = {part: _split(arrays, part, path) for part in parts}
    shape = arrays["train_images"].shape[1:]
    for part in parts[1:]:
        other = arrays[f"{part}_images"].shape[1:]
        if other != shape:
            raise DataError(
                f"train_images and {part}_images must be of one size and colour, got {shape} and "
                f"{other} in {path}."
            )
    names = _class_names(arrays, path)
    for part, split in splits.items():
        class_names.check_rows(f"npz:{path}", part, split.labels, len(names))
        splits[part] = canonical_order.by_pixels(split)
    notice = f"The file {path}."
    more = splits.get("val"), splits.get("unlabelled")
    return Source(splits["train"], splits["test"], names, notice, *more)
