"""One way in for every data set: a description of its source, sizes and a seed."""

import dataclasses
import difflib
import functools
from collections.abc import Callable

from mcl_jax.data import (
    digits,
    fashion_mnist,
    folder_source,
    npz_source,
    parquet_source,
    photographs,
    stratified,
    tar_source,
    tfds_source,
)
from mcl_jax.data import label_noise as noise
from mcl_jax.data.class_names import check_rows
from mcl_jax.data.dataset import DataError, Dataset, Source, Split
from mcl_jax.data.encoded_source import DEFAULT_MEMORY_LIMIT
from mcl_jax.data.replacing import replacing

NAMES = (
    "fashion_mnist",
    "photographs",
    "digits",
    "tfds:NAME",
    "folder:PATH",
    "parquet:PATH",
    "tar:PATH",
    "npz:PATH",
)
CORRUPT = ("stop", "skip")
_FILES: dict[str, Callable[..., Source]] = {
    "folder": folder_source.load,
    "parquet": parquet_source.load,
    "tar": tar_source.load,
}
_BUNDLED: dict[str, Callable[[], Source]] = {
    "fashion_mnist": fashion_mnist.load,
    "photographs": photographs.load,
    "photographs:64": functools.partial(photographs.load, photographs.LARGE_CROP),
    "digits": digits.load,
}


def _source(
    source: str, data_dir: str | None, memory_limit: int, corrupt: str, unlabelled: bool
) -> Source:
    """Returns what a description stands for, or lists what there is."""
    kind, colon, rest = source.partition(":") if isinstance(source, str) else ("", "", "")
    if unlabelled and kind not in ("tfds", "npz"):
        raise DataError(f"unlabelled is for tfds:NAME and npz:PATH, got {source!r}.")
    if colon and rest and kind == "tfds":
        return tfds_source.load(
            rest,
            data_dir=data_dir,
            memory_limit=memory_limit,
            corrupt=corrupt,
            unlabelled=unlabelled,
        )
    if data_dir is not None:
        raise DataError(f"data_dir is for tfds:NAME only, got {data_dir!r} for {source!r}.")
    if colon and rest and kind in _FILES:
        return _FILES[kind](rest, memory_limit=memory_limit, corrupt=corrupt)
    if colon and rest and kind == "npz":
        return npz_source.load(rest, unlabelled=unlabelled)
    if source in _BUNDLED:
        return _BUNDLED[source]()
    nearest = difflib.get_close_matches(str(source), NAMES, n=1, cutoff=0.5)
    if isinstance(source, str) and source and not nearest:
        nearest = [f"tfds:{source}"] if source.isidentifier() else []
    hint = f"; did you mean {nearest[0]}?" if nearest else "."
    raise DataError(f"source must be one of {', '.join(NAMES)}, got {source!r}{hint}")


def _check_source(description: str, source: Source) -> None:
    """There are two classes, and every split has rows and labels that are classes."""
    classes = len(source.class_names)
    if classes < 2:
        raise DataError(
            f"source must be a data set of two classes or more, got {classes} in {description}."
        )
    check_rows(description, "train", source.train.labels, classes)
    check_rows(description, "test", source.test.labels, classes)
    if source.validation is not None:
        check_rows(description, "validation", source.validation.labels, classes)


def _check_options(train_size: int | None, seed: int, memory_limit: int, corrupt: str) -> None:
    """Raises DataError for what no data set goes with."""
    if train_size is not None and not stratified.check_size(train_size, "train_size"):
        raise DataError("train_size must be 1 row or more, or None for all, got 0.")
    for name, given in (("seed", seed), ("memory_limit", memory_limit)):
        if isinstance(given, bool) or not isinstance(given, int) or given < 0:
            raise DataError(f"{name} must be a whole number, 0 or more, got {given!r}.")
    if corrupt not in CORRUPT:
        raise DataError(f"corrupt must be {' or '.join(CORRUPT)}, got {corrupt!r}.")


def _cut(
    source: Source, validation_size: int, train_size: int | None, seed: int
) -> tuple[Split, Split]:
    """Returns class-balanced validation rows and training rows."""
    names = source.class_names
    if source.validation is None:
        return stratified.cut(
            source.train,
            validation_size,
            train_size,
            names=("validation_size", "train_size"),
            class_names=names,
            seed=seed,
        )
    validation = stratified.subset(
        source.validation, validation_size, "validation_size", class_names=names, seed=seed
    )
    return validation, stratified.subset(
        source.train, train_size, "train_size", class_names=names, seed=seed
    )


def load(
    source: str,
    *,
    validation_size: int,
    train_size: int | None = None,
    seed: int = 0,
    data_dir: str | None = None,
    memory_limit: int = DEFAULT_MEMORY_LIMIT,
    label_noise: float = 0.0,
    corrupt: str = "stop",
    unlabelled: bool = False,
) -> Dataset:
    """Loads a data set and cuts validation rows from its training rows.

    Validation rows are drawn from ``seed`` with as many of each class, and are the same whatever
    ``train_size`` is; a smaller ``train_size`` is a part of a larger one. Where a source brings
    validation rows of its own (the photographs, or splits of all three names), they are drawn
    from those. Rows of files come in an order that does not depend on the kind of the files.

    Args:
        source: ``fashion_mnist``, ``photographs`` (or ``photographs:64``, of larger crops),
            ``digits``, ``tfds:NAME``, ``folder:PATH``, ``parquet:PATH``, ``tar:PATH`` or
            ``npz:PATH``.
        validation_size: validation rows, a multiple of the number of classes; may be 0.
        train_size: training rows, a multiple of the number of classes; None takes all rows
            that are left.
        seed: decides which rows are taken, and which labels are wrong.
        data_dir: the folder of prepared data sets, for ``tfds:NAME``.
        memory_limit: bytes of decoded images above which files are decoded when asked for.
        label_noise: the share of training labels that another class replaces, from 0 to below
            1, for studies; validation and test keep theirs.
        corrupt: ``"stop"`` at an image that cannot be decoded, naming it. ``"skip"`` names it
            in a warning; one in memory is left out, and for one that streams the next row of
            its class stands.
        unlabelled: also takes the images without labels that ``tfds:NAME`` (a split
            ``unlabelled``, such as STL-10's) or ``npz:PATH`` (``unlabelled_images``) has, all of
            them: `Dataset.unlabelled`.

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
    _check_options(train_size, seed, memory_limit, corrupt)
    share = noise.check_share(label_noise)
    held = _source(source, data_dir, memory_limit, corrupt, unlabelled)
    _check_source(source, held)
    validation, train = _cut(held, validation_size, train_size, seed)
    if not len(train):
        raise DataError(f"validation_size={validation_size} leaves no training rows.")
    classes, test = len(held.class_names), held.test
    noisy = noise.symmetric(train.labels, share, num_classes=classes, seed=seed)
    train = dataclasses.replace(train, labels=noisy)
    more = held.unlabelled
    if corrupt == "skip":
        train, validation, test = map(replacing, (train, validation, test))
        more = more and replacing(more)
    return Dataset(source, train, validation, test, held.class_names, held.notice, more)
