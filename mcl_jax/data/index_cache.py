"""Keeps what took long to find out about large files: where rows lie, and their labels."""

import contextlib
import hashlib
import json
import os
import pathlib
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from mcl_jax.atomic import open_to_replace

WORTH_KEEPING = 5.0  # seconds
_FORM = 1  # goes up with what an index holds
# What NumPy and zipfile stumble with over a file that is missing or not as it was.
_DAMAGE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

Arrays = dict[str, np.ndarray]


def folder() -> pathlib.Path:
    """Returns ``mcl_jax/indices`` in ``$XDG_CACHE_HOME`` or in ``~/.cache``."""
    held = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return pathlib.Path(held).expanduser() / "mcl_jax" / "indices"


def cached(kind: str, files: Sequence[str], build: Callable[[], Arrays]) -> Arrays:
    """Returns the index of files, built now or kept from another run.

    An index that took over five seconds is kept under a digest of the files' paths, sizes and
    times of change, so files that change are read again. A cache that cannot be written or read
    does no harm.

    Args:
        kind: what reads the files, and how.
        files: the files; with none, nothing is kept.
        build: makes the arrays, none of Python objects.

    Returns:
        What ``build`` returns.
    """
    try:
        seen, held = [(str(file), *_state(file)) for file in files], folder()
    except (OSError, RuntimeError):  # the latter where nobody has a home
        return build()
    digest = hashlib.blake2b(json.dumps([_FORM, kind, seen]).encode(), digest_size=16).hexdigest()
    place = held / f"{digest}.npz"
    with (
        contextlib.suppress(*_DAMAGE),
        open(place, "rb") as file,
        np.load(file, allow_pickle=False) as kept,
    ):
        return {name: kept[name] for name in kept.files}
    start = time.perf_counter()
    built = build()
    if files and time.perf_counter() - start > WORTH_KEEPING:
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            with open_to_replace(place, "wb") as new:
                np.savez(new, **built)  # type: ignore[arg-type]
    return built


def _state(file: str) -> tuple[int, int]:
    """Returns the size of a file and when it was changed."""
    found = os.stat(file)
    return found.st_size, found.st_mtime_ns
