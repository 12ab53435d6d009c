"""One way in for every data set: a name, sizes and a seed."""

import difflib

import numpy as np

from mcl_jax.data import digits, fashion_mnist, npz_source, photographs, stratified, tfds_source
from mcl_jax.data.dataset import DataError, Dataset, Source, Split

NAMES = ("fashion_mnist", "photographs", "digits", "tfds:NAME", "npz:PATH")
_BUNDLED = {
    "fashion_mnist": fashion_mnist.load,
    "photographs": photographs.load,
    "digits": digits.load,
}


def _source(name: str, data_dir: str | None, memory_limit: int) -> Source:
    """Returns what a name stands for, or lists the names there are."""
    kind, colon, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
    if colon and rest and kind == "tfds":
        return tfds_source.load(rest, data_dir=data_dir, memory_limit=memory_limit)
    if data_dir is not None:
        raise DataError(f"data_dir is for tfds:NAME only, got {data_dir!r} for {name!r}.")
    if colon and rest and kind == "npz":
        return npz_source.load(rest)
    if name in _BUNDLED:
        return _BUNDLED[name]()
    nearest = difflib.get_close_matches(str(name), NAMES, n=1, cutoff=0.5)
    if isinstance(name, str) and name and not nearest:
        nearest = [f"tfds:{name}"] if name.isidentifier() else []
    hint = f"; did you mean {nearest[0]}?" if nearest else "."
    raise DataError(f"name must be one of {', '.join(NAMES)}, got {name!r}{hint}")


def _check_source(name: str, source: Source) -> None:
    """Every split that is there has rows, and labels that are classes."""
    parts = {"training": source.train, "test": source.test}
    if source.validation is not None:
        parts["validation"] = source.validation
    for part, split in parts.items():
        _check_part(name, part, split, len(source.class_names))


def _check_part(name: str, part: str, split: Split, classes: int) -> None:
    """Raises DataError for a split without rows or with a label that is no class."""
    if not len(split):
        raise DataError(f"name {name} must have {part} rows, got none.")
    outside = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
    if len(outside):
        raise DataError(
            f"name {name} must have {part} labels from 0 to {classes - 1} ({classes} classes), "
            f"got {split.labels[outside[0]]} in row {outside[0]}."
        )


def load(
    name: str,
    *,
    validation_size: int,
    train_size: int | None = None,
    seed: int = 0,
    data_dir: str | None = None,
    memory_limit: int = tfds_source.DEFAULT_MEMORY_LIMIT,
) -> Dataset:
    """Loads a data set and cuts validation rows from its training rows.

    Validation rows are drawn from ``seed`` with as many of each class, and are the same whatever
    ``train_size`` is; a smaller ``train_size`` is a part of a larger one. The photographs bring
    validation rows of their own, cut so that they share no pixel with training rows.

    Args:
        name: ``fashion_mnist``, ``photographs``, ``digits``, ``tfds:NAME`` or ``npz:PATH``.
        validation_size: validation rows, a multiple of the number of classes; may be 0.
        train_size: training rows, a multiple of the number of classes; None takes all rows
            that are left.
        seed: decides which rows are taken.
        data_dir: the folder of prepared data sets, for ``tfds:NAME``.
        memory_limit: bytes of images above which ``tfds:NAME`` streams.

    Returns:
        The data set; ``test`` is the source's own test split.

    Raises:
        DataError: a ``ValueError``; one sentence says what was got and what is wanted.

    Example:
        >>> dataset = load("fashion_mnist", validation_size=1000, train_size=500)
        >>> len(dataset.train), len(dataset.validation), len(dataset.test), dataset.num_classes
        (500, 1000, 2000, 10)
    """
    validation_size = stratified.check_size(validation_size, "validation_size")
    if train_size is not None:
        train_size = stratified.check_size(train_size, "train_size")
        if not train_size:
            raise DataError("train_size must be 1 row or more, or None for all, got 0.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise DataError(f"seed must be a whole number, 0 or more, got {seed!r}.")
    source = _source(name, data_dir, memory_limit)
    names = source.class_names
    _check_source(name, source)
    if source.validation is None:
        validation, train = stratified.cut(
            source.train,
            validation_size,
            train_size,
            names=("validation_size", "train_size"),
            class_names=names,
            seed=seed,
        )
    else:
        validation = stratified.subset(
            source.validation, validation_size, "validation_size", class_names=names, seed=seed
        )
        train = stratified.subset(
            source.train, train_size, "train_size", class_names=names, seed=seed
        )
    if not len(train):
        raise DataError(f"validation_size={validation_size} leaves no training rows.")
    return Dataset(name, train, validation, source.test, names, source.notice)
