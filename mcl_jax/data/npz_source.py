"""Data sets that users keep in one npz file."""

import pathlib
import zipfile
import zlib

import numpy as np

from mcl_jax.data.dataset import DataError, Source, Split

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def _read(path: str) -> dict[str, np.ndarray]:
    """Returns the arrays of the file, without unpickling anything."""
    if not pathlib.Path(path).is_file():
        raise DataError(f"name npz:{path} wants the path of a file, but there is none.")
    try:
        with open(path, "rb") as file:
            if file.read(2) not in (b"PK", b"\x93N"):
                raise DataError(f"name npz:{path} wants an npz file, but {path} is none.")
            file.seek(0)
            held = np.load(file, allow_pickle=False)
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise DataError(f"name npz:{path} wants an archive of arrays, got a single array.")
            wanted = [name for name in (*ARRAYS, "class_names") if name in held.files]
            return {name: _array(held, name, path) for name in wanted}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"name npz:{path} cannot be read as an npz file: {reason}.") from error


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
    # What int32 cannot hold is outside all classes, and must not become a class by wrapping round.
    held, wide = np.iinfo(labels.dtype), np.iinfo(np.int32)
    labels = np.clip(labels, max(held.min, wide.min), min(held.max, wide.max))
    return Split(labels.astype(np.int32), images=images)


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


def load(path: str) -> Source:
    """Reads ``train_images``, ``train_labels``, ``test_images`` and ``test_labels`` of a file.

    Args:
        path: an npz file; images are uint8 [N, H, W, c], labels integers [N]. An array
            ``class_names`` of strings [C] is optional.

    Raises:
        DataError: the file is unreadable, or an array is missing or is not as above.
    """
    arrays = _read(path)
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise DataError(
            f"name npz:{path} must hold the arrays {', '.join(ARRAYS)}; it lacks "
            f"{', '.join(missing)}."
        )
    train, test = _split(arrays, "train", path), _split(arrays, "test", path)
    shapes = arrays["train_images"].shape[1:], arrays["test_images"].shape[1:]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"train_images and test_images must be of one size and colour, got {shapes[0]} and "
            f"{shapes[1]} in {path}."
        )
    return Source(train, test, _class_names(arrays, path), notice=f"The file {path}.")
