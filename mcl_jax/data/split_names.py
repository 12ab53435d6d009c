"""Which folders, files or parts of a data set are for training, validation and test."""

import re
from collections.abc import Mapping
from typing import TypeVar

from mcl_jax.data.dataset import DataError

_MEANINGS = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
_WORD = re.compile(rf"(?:^|[/\\_.-])({'|'.join(_MEANINGS)})(?=[/\\_.-]|$)", re.IGNORECASE)

T = TypeVar("T")


def meaning(name: str) -> str | None:
    """Returns ``train``, ``test`` or ``validation`` for a path whose last such word says so.

    Example:
        >>> meaning("data/train-00000-of-00002.parquet"), meaning("val"), meaning("trainer.tar")
        ('train', 'validation', None)
    """
    words = _WORD.findall(name)
    return _MEANINGS[words[-1].lower()] if words else None


def choose(description: str, found: Mapping[str, T], hint: str) -> dict[str, T]:
    """Returns what is ``train`` and ``test``; validation stands in for a test that is missing.

    Args:
        description: how the caller was asked for the data set.
        found: what there is of ``train``, ``test`` and ``validation``.
        hint: how splits are told from each other, for the sentence.

    Returns:
        ``train``, ``test`` and, where all three were found, ``validation``.

    Raises:
        DataError: there is nothing to train or nothing to test on.
    """
    chosen = dict(found)
    if "test" not in chosen and "validation" in chosen:
        chosen["test"] = chosen.pop("validation")
    if "train" not in chosen or "test" not in chosen:
        raise DataError(
            f"source {description} must have the splits train and test (or val), {hint}, got "
            f"{' and '.join(found) or 'none of them'}."
        )
    return {name: chosen[name] for name in ("train", "test", "validation") if name in chosen}
