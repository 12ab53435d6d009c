"""Metrics as a file: one object a line."""

import json
import pathlib
from typing import Any

from mcl_jax import atomic


class MetricsLog:
    """``metrics.jsonl``: one object a line, each with a ``step``, none twice."""

    def __init__(self, path: pathlib.Path, step: int) -> None:
        """Opens the log to go on after ``step``; lines of later steps, or torn ones, are cut."""
        self._path = path
        self.kept = [record for record in _read(path) if record["step"] <= step]
        with atomic.open_to_replace(path) as file:
            file.writelines(json.dumps(record) + "\n" for record in self.kept)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, record: dict[str, Any]) -> None:
        """Appends one object."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def _read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The log's objects up to the first line that is none."""
    records: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return records
