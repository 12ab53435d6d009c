"""What happened to a run: its starts, stops and warnings, one object a line."""

import datetime
import pathlib
from typing import Any

from mcl_jax.report.lines import LineFile, read_objects


class EventLog:
    """``log.jsonl``: it grows over all restarts of a run, and nothing is ever cut from it."""

    def __init__(self, path: pathlib.Path) -> None:
        """Opens or makes the log."""
        self._lines = LineFile(path)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.__exit__(*error)

    def write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Appends what happened just now.

        Args:
            level: ``"info"`` or ``"warning"``.
            event: what happened, in a word.
            fields: what else is to be told of it.

        Raises:
            OSError: the disk is full, or what else keeps the line from the file, which is named.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._lines.write({"time": now, "level": level, "event": event, **fields})

    def sync(self) -> None:
        """Returns once all events are on disk."""
        self._lines.sync()


def last_start(path: pathlib.Path) -> dict[str, Any] | None:
    """The event ``started`` of the last start that a log tells of.

    Args:
        path: a ``log.jsonl``; lines that a kill or damage has spoilt are passed over.

    Returns:
        The event, or None where there is none.
    """
    starts = [event for event in read_objects(path) if event.get("event") == "started"]
    return starts[-1] if starts else None
