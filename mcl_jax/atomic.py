"""Files that are written whole or not at all."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import IO, Any


@contextlib.contextmanager
def open_to_replace(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Opens a file beside ``path`` that takes its place once it is complete and on disk.

    Args:
        path: the file to write or to replace.
        mode: ``"w"`` for text in UTF-8, ``"wb"`` for bytes.

    Yields:
        The open file. An exception leaves ``path`` as it was.
    """
    path = pathlib.Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file
        raise
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a value as indented JSON.

    Args:
        path: the file to write or to replace.
        value: what `json` takes.
    """
    with open_to_replace(path) as file:
        json.dump(value, file, indent=2)
        file.write("\n")
