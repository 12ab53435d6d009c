"""Metrics as a file: one object a line."""

import json
import os
import pathlib
from typing import Any

from mcl_jax import atomic
from mcl_jax.report.lines import LineFile, naming, to_line


class MetricsLog:
    """``metrics.jsonl``: one object a line, each with a ``step``, none twice.

    Attributes:
        kept: the records that stood there up to the step the run goes on from.
        damaged: lines that are no records and were left out; the file that holds them is kept as
            ``metrics.jsonl.damaged``.
    """

    def __init__(self, path: pathlib.Path, step: int) -> None:
        """Opens the log to go on after ``step``; lines of later steps, or torn ones, are cut."""
        records, self.damaged = _read(path)
        self.kept = [record for record in records if record["step"] <= step]
        with naming(path):
            if self.damaged:
                os.replace(path, path.with_name(f"{path.name}.damaged"))
            with atomic.open_to_replace(path) as file:
                file.writelines(map(to_line, self.kept))
        self._lines = LineFile(path)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.__exit__(*error)

    def write(self, record: dict[str, Any]) -> None:
        """Appends one object; what is no number becomes null.

        Raises:
            OSError: the disk is full, or what else keeps the line from the file, which is named.
        """
        self._lines.write(record)

    def sync(self) -> None:
        """Returns once all records are on disk."""
        self._lines.sync()


def _read(path: pathlib.Path) -> tuple[list[dict[str, Any]], int]:
    """The log's objects, and how many lines but the last, which a kill may tear, are none."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    records = [record for record in map(_record, lines) if record is not None]
    torn = bool(lines) and _record(lines[-1]) is None
    return records, len(lines) - len(records) - torn


def _record(line: bytes) -> dict[str, Any] | None:
    """The object of a line, if it is one with a step."""
    try:
        record = json.loads(line)
    except ValueError:  # no JSON, or no text at all
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None
