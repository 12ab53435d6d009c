"""Data sets in several files, whose names say which split they belong to."""

import os
import pathlib
from collections.abc import Mapping
from typing import TypeVar

from mcl_jax.data import split_names
from mcl_jax.data.dataset import DataError

T = TypeVar("T")


def find(kind: str, path: str) -> tuple[pathlib.Path, dict[str, list[pathlib.Path]]]:
    """Finds the files of each split in a folder, at any depth.

    Args:
        kind: the ending of the files, and what the source is called: ``parquet`` or ``tar``.
        path: the folder.

    Returns:
        The folder, and the files of each of ``train``, ``test`` and ``validation`` that is there,
        in the order of their names.

    Raises:
        DataError: there is no such folder, or no such file.
    """
    description, root = f"{kind}:{path}", pathlib.Path(os.path.expanduser(path))
    if not root.is_dir():
        raise DataError(f"source {description} wants the path of a folder, but there is none.")
    found: dict[str, list[pathlib.Path]] = {}
    files = sorted(file for file in root.rglob("*") if _is_shard(root, file, kind))
    for file in files:
        meaning = split_names.meaning(str(file.relative_to(root).with_suffix("")))
        if meaning is not None:
            found.setdefault(meaning, []).append(file)
    if not files:
        raise DataError(f"source {description} must hold *.{kind} files, got none.")
    return root, found


def _is_shard(root: pathlib.Path, file: pathlib.Path, kind: str) -> bool:
    """Whether a path below ``root`` is a file of that ending, and not hidden."""
    if file.suffix.lower() != f".{kind}" or not file.is_file():
        return False
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def choose(kind: str, path: str, found: Mapping[str, T]) -> dict[str, T]:
    """Returns ``train``, ``test`` and maybe ``validation``, as ``split_names.choose`` does.

    Args:
        kind: as for ``find``.
        path: as for ``find``.
        found: what there is of the splits.

    Raises:
        DataError: there is nothing to train or nothing to test on.
    """
    hint = f"as files train-*.{kind} and test-*.{kind}"
    return split_names.choose(f"{kind}:{path}", found, hint)
