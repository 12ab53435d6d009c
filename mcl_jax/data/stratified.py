"""Class-balanced cuts of labelled rows, a function of the labels and a seed alone."""

import numpy as np

from mcl_jax.data.dataset import DataError, Split


def check_size(size: object, name: str) -> int:
    """Returns ``size`` if it is a whole number of rows, zero or more.

    Raises:
        DataError: it is anything else.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 0:
        raise DataError(f"{name} must be a whole number of rows, 0 or more, got {size!r}.")
    return int(size)


def rows_by_class(labels: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Returns the rows of each class, in order: C arrays of row numbers.

    Raises:
        DataError: a label is outside ``0 .. num_classes - 1``.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        raise DataError(
            f"labels must lie in 0..{num_classes - 1} ({num_classes} classes), got "
            f"{labels[outside[0]]} in row {outside[0]}."
        )
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels, minlength=num_classes))[:-1])


def _per_class(size: int, name: str, left: list[int], names: tuple[str, ...]) -> int:
    """Returns the rows a class that make ``size`` rows, or says which size would do."""
    classes, smallest = len(names), int(np.argmin(left))
    most = left[smallest] * classes
    if size > sum(left):
        raise DataError(
            f"{name} must be at most {most}, the class-balanced rows there are, got {size} of "
            f"{sum(left)} rows."
        )
    if size > most:
        raise DataError(
            f"{name}={size} cannot be class-balanced: class {names[smallest]!r} has only "
            f"{left[smallest]} rows; the nearest size that works is {most}."
        )
    if size % classes:
        nearest = min(round(size / classes) * classes, most) or min(classes, most)
        raise DataError(
            f"{name}={size} cannot be class-balanced over {classes} classes; the nearest size "
            f"that works is {nearest}."
        )
    return size // classes


def subset(
    split: Split, size: int | None, name: str, *, class_names: tuple[str, ...], seed: int
) -> Split:
    """Returns ``size`` class-balanced rows of ``split``, in their order; None is all of them.

    Args:
        split: N rows.
        size: how many rows, a multiple of the number of classes.
        name: how the caller knows ``size``.
        class_names: the name of each label.
        seed: decides which rows; a smaller size is a part of a larger one.

    Raises:
        DataError: ``size`` is too large or cannot be class-balanced.
    """
    if size is None:
        return split
    return cut(split, size, None, names=(name, ""), class_names=class_names, seed=seed)[0]


def balanced_rows(
    labels: np.ndarray, size: int, name: str, *, class_names: tuple[str, ...], seed: int
) -> np.ndarray:
    """Returns the numbers of ``size`` class-balanced rows, in order; 0 is all rows.

    Args:
        labels: integers [N].
        size: how many, a multiple of the number of classes.
        name: how the caller knows ``size``.
        class_names: the name of each label.
        seed: decides which; a smaller size is a part of a larger one.

    Raises:
        DataError: ``size`` is too large or cannot be class-balanced.

    Example:
        >>> rows = balanced_rows(np.arange(8) % 2, 4, "size", class_names=("a", "b"), seed=0)
        >>> np.bincount(rows % 2).tolist()
        [2, 2]
    """
    if not size:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    groups = [rng.permutation(rows) for rows in rows_by_class(labels, len(class_names))]
    each = _per_class(size, name, [len(rows) for rows in groups], class_names)
    return np.sort(np.concatenate([rows[:each] for rows in groups]))


def cut(
    split: Split,
    first: int,
    second: int | None,
    *,
    names: tuple[str, str],
    class_names: tuple[str, ...],
    seed: int,
) -> tuple[Split, Split]:
    """Cuts class-balanced rows from ``split``, then class-balanced rows from what is left.

    Within a class rows are put in an order drawn from ``seed``; the first cut takes the head
    and the second what follows, so the first does not depend on the size of the second.

    Args:
        split: N rows.
        first: rows of the first cut.
        second: rows of the second, or None for all that are left.
        names: how the caller knows the two sizes.
        class_names: the name of each label.
        seed: decides which rows.

    Returns:
        The two cuts, rows in the order of ``split``, no row in both.

    Raises:
        DataError: a size is too large or cannot be class-balanced.
    """
    rng = np.random.default_rng(seed)
    groups = [rng.permutation(rows) for rows in rows_by_class(split.labels, len(class_names))]
    head = _per_class(first, names[0], [len(rows) for rows in groups], class_names)
    rest = [rows[head:] for rows in groups]
    if second is not None:
        tail = _per_class(second, names[1], [len(rows) for rows in rest], class_names)
        rest = [rows[:tail] for rows in rest]
    heads = np.concatenate([rows[:head] for rows in groups])
    return split.take(np.sort(heads)), split.take(np.sort(np.concatenate(rest)))
