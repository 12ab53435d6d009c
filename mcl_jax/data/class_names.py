"""How classes are numbered where a source has names for them, or names where it has numbers."""

import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from mcl_jax.data.dataset import DataError

FILE = "classes.txt"


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Returns names in alphabetical order, or by size where all are whole numbers.

    Example:
        >>> ordered(["dog", "cat"]), ordered(["10", "9"])
        (('cat', 'dog'), ('9', '10'))
    """
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def listed(folder: pathlib.Path) -> tuple[str, ...] | None:
    """Returns the lines of ``classes.txt`` in a folder, the names by number, if there is one.

    Raises:
        DataError: the file cannot be read, or names a class twice.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        names = tuple(
            line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}.") from error
    if len(set(names)) < len(names) or not names:
        raise DataError(f"{file} must name every class once, a line each, got {len(names)} lines.")
    return names


def resolve(
    description: str, given: Mapping[str, np.ndarray], names: tuple[str, ...] | None
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Gives classes their numbers, or numbers their names.

    Args:
        description: how the caller was asked for the data set.
        given: of each split the classes of its rows, all names (str [N]) or all numbers (int [N]).
        names: the classes by number, if the source says so. Without it names are numbered in
            the order of ``ordered``, and numbers are their own names.

    Returns:
        The names by number, and of each split labels, int32 [N].

    Raises:
        DataError: some are names and some numbers, or a class is not among the names.
    """
    kinds = {labels.dtype.kind == "U" for labels in given.values()}
    if len(kinds) > 1:
        raise DataError(
            f"source {description} must have labels of one kind, got names in some splits and "
            f"numbers in others."
        )
    if kinds == {True}:
        names = names or ordered(given["train"].tolist())
        return names, {
            part: _numbers(description, labels, names, part) for part, labels in given.items()
        }
    names = names or _counted(description, given["train"])
    return names, {part: narrowed(labels) for part, labels in given.items()}


def narrowed(labels: np.ndarray) -> np.ndarray:
    """Returns integers as int32; what that cannot hold is no class, and wraps round to none."""
    held, wide = np.iinfo(labels.dtype), np.iinfo(np.int32)
    return np.clip(labels, max(held.min, wide.min), min(held.max, wide.max)).astype(np.int32)


def check_rows(description: str, part: str, labels: np.ndarray, classes: int) -> None:
    """Raises DataError for a split without rows or with a label that is no class.

    Args:
        description: how the caller was asked for the data set.
        part: ``train``, ``test`` or ``validation``; or ``unlabelled``, whose labels are none.
        labels: integers [N], in the order of the source.
        classes: C.
    """
    part = "training" if part == "train" else part
    if not len(labels):
        raise DataError(f"source {description} must have {part} rows, got none.")
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside) and part != "unlabelled":
        raise DataError(
            f"source {description} must have {part} labels from 0 to {classes - 1} ({classes} "
            f"classes), got {labels[outside[0]]} in row {outside[0]}."
        )


def _numbers(description: str, given: np.ndarray, names: tuple[str, ...], part: str) -> np.ndarray:
    """Returns the number of each row's class, int32 [N]."""
    distinct, place = np.unique(given, return_inverse=True)
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [name for name in distinct.tolist() if name not in numbers]
    if unknown:
        raise DataError(
            f"source {description} must have no other classes than {_few(names)} in {part}, got "
            f"{_few(unknown)}."
        )
    return np.array([numbers[name] for name in distinct.tolist()], np.int32)[place]


def _counted(description: str, labels: np.ndarray) -> tuple[str, ...]:
    """Returns the numbers up to the largest training label, as names."""
    largest = int(labels.max(initial=0))
    if largest >= max(1, len(labels)):
        raise DataError(
            f"source {description} must count classes from 0, or name them, got the label "
            f"{largest} among {len(labels)} training rows."
        )
    return tuple(str(label) for label in range(largest + 1))


def _few(names: Iterable[str], most: int = 5) -> str:
    """Returns a list of names that fits in a sentence."""
    held = list(names)
    more = f" and {len(held) - most} more" if len(held) > most else ""
    return ", ".join(held[:most]) + more
