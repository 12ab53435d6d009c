"""Images in tars as WebDataset lays them out: ``KEY.jpg`` and ``KEY.cls`` next to each other."""

import functools
import os
import tarfile
from typing import NamedTuple

import numpy as np

from mcl_jax.data import class_names, index_cache, shards
from mcl_jax.data.dataset import DataError, Source
from mcl_jax.data.encoded_source import Part, assemble
from mcl_jax.data.folder_source import ENDINGS
from mcl_jax.data.parts_of_files import read_at


class _Member(NamedTuple):
    """Where the file of an image lies in a tar."""

    name: str
    start: int
    size: int


class TarImages:
    """Image files in tars by row."""

    def __init__(self, files: list[str], index: np.ndarray, names: np.ndarray) -> None:
        """Takes the tars, int64 [N, 3] (tar, start, size) and the members' names, bytes [N]."""
        self._files, self._index, self._names = files, index, names

    def __len__(self) -> int:
        return len(self._index)

    def read(self, row: int, /) -> bytes:
        """Returns the bytes of one image."""
        file, start, size = self._index[row].tolist()
        return read_at(self._files[file], start, size)

    def name(self, row: int, /) -> str:
        """Returns the tar and the member."""
        return f"{self._files[self._index[row, 0]]}: {os.fsdecode(self._names[row])}"


def _members(file: str) -> tuple[list[_Member], list[str]]:
    """Walks over the headers of a tar: images and their labels."""
    images: dict[str, _Member] = {}
    labels: dict[str, str] = {}
    with tarfile.open(file, "r:") as opened:
        for member in opened:
            folder, base = os.path.split(member.name)
            stem, dot, ending = base.partition(".")
            if not member.isreg() or not stem or not dot:
                continue
            key, ending = os.path.join(folder, stem), f".{ending.lower()}"
            if ending == ".cls":
                labels[key] = _label(file, opened, member)
            elif ending in ENDINGS:
                if key in images:
                    raise DataError(f"{file} must have one image a key, got two of {key}.")
                images[key] = _Member(member.name, member.offset_data, member.size)
        end = opened.offset
    with open(file, "rb") as held:
        held.seek(end)
        if held.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{file} must be a whole tar, got one that breaks off at byte {end}.")
    alone = [key for key in labels if key not in images]
    if alone:  # a link, or an ending of several parts, such as .left.png
        raise DataError(
            f"{file} must have an image, such as {alone[0]}.jpg, beside {alone[0]}.cls."
        )
    bare = [key for key in images if not labels.get(key)]
    if bare:
        raise DataError(f"{file} must have a label {bare[0]}.cls beside {images[bare[0]].name}.")
    return list(images.values()), [labels[key] for key in images]


def _label(file: str, opened: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """Returns what stands in a .cls file."""
    content = opened.extractfile(member)
    try:
        return content.read().decode("utf-8").strip() if content else ""
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} must have labels in UTF-8, got others in {member.name}."
        ) from error


def _index(files: list[str]) -> dict[str, np.ndarray]:
    """Returns what is known of the images in the tars of a split, without reading one."""
    places, names, labels = [np.zeros([0, 3], np.int64)], [], []
    for number, file in enumerate(files):
        try:
            images, own = _members(file)
        except DataError:
            raise
        except (OSError, ValueError, tarfile.TarError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{file} cannot be read as a tar, uncompressed: {reason}.") from error
        where = [(number, image.start, image.size) for image in images]
        places.append(np.array(where, np.int64).reshape(-1, 3))
        names += [os.fsencode(image.name) for image in images]
        labels += own
    given = np.array(labels, np.str_)
    if all(label.isdecimal() for label in labels):
        # What 64 bits cannot hold is no class, and takes Python long to read.
        given = np.array([int(x) if len(x) < 19 else 1 << 62 for x in labels], np.int64)
    return {
        "places": np.concatenate(places), "names": np.array(names, np.bytes_), "labels": given
    }  # fmt: skip


def _stem(name: bytes) -> bytes:
    """Returns what WebDataset calls the key, without folders."""
    return os.path.basename(name).partition(b".")[0]


def load(path: str, *, memory_limit: int, corrupt: str) -> Source:
    """Reads tars whose names say ``train`` and ``test`` or ``val``.

    A label is a number, or a name; ``classes.txt`` in the folder names numbers, and gives names
    their order.

    Args:
        path: the folder of the tars, or one above it.
        memory_limit: bytes of decoded images above which they stream.
        corrupt: ``"stop"`` at an image that cannot be decoded, or ``"skip"`` it.

    Raises:
        DataError: there are no such files, or an image has no label.
    """
    description = f"tar:{path}"
    root, splits = shards.find("tar", path)
    chosen = shards.choose("tar", path, splits)
    files = {name: [str(file) for file in held] for name, held in chosen.items()}
    found = {
        name: index_cache.cached("tar", held, functools.partial(_index, held))
        for name, held in files.items()
    }
    given = {name: held["labels"] for name, held in found.items()}
    classes, labels = class_names.resolve(description, given, class_names.listed(root))
    parts = {
        name: Part(
            labels[name],
            TarImages(files[name], held["places"], held["names"]),
            [_stem(member) for member in held["names"].tolist()],
        )
        for name, held in found.items()
    }
    return assemble(
        description, parts, classes, f"The tars in {path}.",
        memory_limit=memory_limit, corrupt=corrupt,
    )  # fmt: skip
