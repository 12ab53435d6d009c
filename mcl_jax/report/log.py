"""Metrics as a file: one object a line."""

import json
import pathlib
from typing import Any

from mcl_jax import atomic
from mcl_jax.report.lines import LineFile, naming, to_line


class MetricsLog:
    """``metrics.jsonl``: one object a line, each with a ``step``, none twice.

    Attributes:
        kept: the records that stood there up to the step the run goes on from.
    """

    def __init__(self, path: pathlib.Path, step: int) -> None:
        """Opens the log to go on after ``step``; lines of later steps, or torn ones, are cut."""
        self.kept = [record for record in _read(path) if record["step"] <= step]
        with naming(path), atomic.open_to_replace(path) as file:
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


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The log's objects up to the first line that is none."""
    records: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:  # no JSON, or no text at all
            break
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            break
        records.append(record)
    return records
