"""Files of one JSON object a line, of which a kill or a full disk spoils the last line at most."""

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any


def strict(value: Any) -> Any:
    """The value with null for each number that JSON does not know.

    Args:
        value: what `json` takes.

    Example:
        >>> strict({"loss": float("nan"), "accuracy": [0.5, float("inf")]})
        {'loss': None, 'accuracy': [0.5, None]}
    """
    if isinstance(value, dict):
        return {name: strict(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [strict(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_line(value: dict[str, Any]) -> str:
    """One object as one line of strict JSON, its end included."""
    return json.dumps(strict(value), allow_nan=False) + "\n"


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Errors of the system inside say which file they are about.

    Raises:
        OSError: as raised inside, with ``path`` where it named no file.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_objects(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """The objects of a file; lines that are none, as a kill or damage leaves them, are passed over.

    Args:
        path: the file; one that cannot be read has no objects.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


class LineFile:
    """A file that lines are appended to; each is handed to the system at once."""

    def __init__(self, path: pathlib.Path) -> None:
        """Opens or makes the file; after a torn last line the next one starts afresh."""
        self._path = path
        # Without a buffer no line waits in this process, and closing cannot fail.
        self._file = path.open("ab", buffering=0)
        if not _ends_in_a_line(path):
            self._append(b"\n")

    def __enter__(self) -> "LineFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, value: dict[str, Any]) -> None:
        """Appends one object.

        Raises:
            OSError: the disk is full, or what else keeps the line from the file, which is named.
        """
        self._append(to_line(value).encode())

    def sync(self) -> None:
        """Returns once all lines are on disk."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def _append(self, line: bytes) -> None:
        with naming(self._path):
            while line:  # a disk that fills up takes a part, and refuses the rest
                line = line[self._file.write(line) :]


def _ends_in_a_line(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
