"""Images in folders: ``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg``."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from mcl_jax.data import class_names, split_names
from mcl_jax.data.dataset import DataError, Source
from mcl_jax.data.encoded_source import Part, assemble

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_LAYOUT = "as folders train/CLASS/*.jpg and test/CLASS/*.jpg"


class FolderImages:
    """Image files below a folder."""

    def __init__(self, root: str, paths: np.ndarray) -> None:
        """Takes the folder and the paths in it, bytes [N]."""
        self._root, self._paths = root, paths

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, row: int, /) -> bytes:
        """Returns the bytes of one file."""
        with open(self.name(row), "rb") as file:
            return file.read()

    def name(self, row: int, /) -> str:
        """Returns the path of one file."""
        return os.path.join(self._root, os.fsdecode(self._paths[row]))


def _visible(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the folders in a folder, in order, but for hidden ones."""
    return sorted(
        child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")
    )


def _image_files(folder: pathlib.Path) -> Iterator[str]:
    """Yields the images in a folder, at any depth, in the order of their paths."""
    seen = set()
    for path, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        place = os.path.realpath(path)
        if place in seen:  # by a link, which may go round and round
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            if file.lower().endswith(ENDINGS) and not file.startswith("."):
                yield os.path.join(path, file)


def _refuse(error: OSError) -> None:
    """Raises what else would leave out a folder in silence."""
    raise error


def _class_folders(split: pathlib.Path) -> dict[str, list[str]]:
    """Returns the images of each class of a split, as paths."""
    return {child.name: list(_image_files(child)) for child in _visible(split)}


def _part(split: pathlib.Path, held: dict[str, list[str]], labels: np.ndarray) -> Part:
    """Returns the rows of a split."""
    paths = [os.fsencode(os.path.relpath(file, split)) for files in held.values() for file in files]
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    return Part(labels, FolderImages(str(split), np.array(paths)), np.array(stems))


def _splits(root: pathlib.Path, path: str) -> dict[str, pathlib.Path]:
    """Returns the folders of the splits, or says what was found instead."""
    folders = {child: split_names.meaning(child.name) for child in _visible(root)}
    found: dict[str, pathlib.Path] = {}
    for child, meaning in folders.items():
        # ImageNet's test images have no classes, and its folder holds files only.
        if meaning is not None and _visible(child):
            if meaning in found:
                raise DataError(
                    f"source folder:{path} must have one folder a split, got "
                    f"{found[meaning].name} and {child.name}."
                )
            found[meaning] = child
    if not found and next(_image_files(root), None) is not None:
        raise DataError(
            f"source folder:{path} must have the splits train and test (or val), {_LAYOUT}, got "
            f"images without them; move some of each class, for instance a fifth, to test/."
        )
    return split_names.choose(f"folder:{path}", found, _LAYOUT)


def load(path: str, *, memory_limit: int, corrupt: str) -> Source:
    """Reads folders of splits that hold a folder a class.

    Classes are numbered in the order of their names, or as ``classes.txt`` beside the splits
    lists them.

    Args:
        path: the folder that holds ``train`` and ``test`` or ``val``.
        memory_limit: bytes of decoded images above which they stream.
        corrupt: ``"stop"`` at an image that cannot be decoded, or ``"skip"`` it.

    Raises:
        DataError: the folder is missing, or not laid out so.
    """
    root = pathlib.Path(os.path.expanduser(path))
    if not root.is_dir():
        raise DataError(f"source folder:{path} wants the path of a folder, but there is none.")
    try:
        splits = _splits(root, path)
        held = {name: _class_folders(split) for name, split in splits.items()}
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error
    description = f"folder:{path}"
    for name, folders in held.items():
        empty = [folder for folder, files in folders.items() if not files]
        if empty:
            raise DataError(
                f"source {description} must have images in {splits[name] / empty[0]}, got none."
            )
    given = {
        name: np.repeat(list(folders), [len(files) for files in folders.values()])
        for name, folders in held.items()
    }
    classes, labels = class_names.resolve(description, given, class_names.listed(root))
    missing = [name for name in classes if name not in held["train"]]
    if missing:
        raise DataError(
            f"source {description} must have a folder in train for each class of "
            f"{class_names.FILE}, got none for {missing[0]}."
        )
    parts = {name: _part(splits[name], held[name], labels[name]) for name in splits}
    return assemble(
        description, parts, classes, f"The folder {path}.",
        memory_limit=memory_limit, corrupt=corrupt,
    )  # fmt: skip
