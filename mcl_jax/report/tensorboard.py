"""Figures for TensorBoard, written without TensorFlow."""

import pathlib
import socket
import time
from collections.abc import Mapping
from typing import Any

from mcl_jax.report.lines import naming

_FLUSH_SECONDS = 30  # as often as TensorBoard looks into its files


class TensorBoard:
    """An event file of one start of a run, in a folder that all its starts share.

    Records go through the record writer of tensorboardX rather than its ``SummaryWriter``, whose
    thread would lose what is queued in a kill, hide a full disk, and then block the run.
    """

    def __init__(self, folder: pathlib.Path, start: int) -> None:
        """Starts a file that goes on after step ``start`` and hides later steps of older files."""
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files in the order of their names.
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{start:010d}"
        self._path = folder / name
        self._writer = RecordWriter(str(self._path))
        self._write(file_version="brain.Event:2")
        again = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=start + 1, session_log=again)
        self.sync()

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *error: object) -> None:
        with naming(self._path):
            self._writer.close()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds figures of a step, each under its tag.

        Raises:
            OSError: the disk is full, or what else keeps them from the file, which is named.
        """
        values = [self._summary.Value(tag=tag, simple_value=x) for tag, x in figures.items()]
        self._write(step=step, summary=self._summary(value=values))
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Returns once all figures are on disk."""
        with naming(self._path):
            self._writer.flush()
        self._flushed = time.monotonic()

    def _write(self, **fields: Any) -> None:
        with naming(self._path):
            self._writer.write(self._event(wall_time=time.time(), **fields).SerializeToString())
