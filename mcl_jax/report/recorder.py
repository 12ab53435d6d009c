"""All that a run shows while it runs, behind one door."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from mcl_jax.report.events import EventLog
from mcl_jax.report.log import MetricsLog
from mcl_jax.report.progress import Progress
from mcl_jax.report.tensorboard import TensorBoard
from mcl_jax.report.weights_and_biases import WeightsAndBiases

_OF_THE_RUN = ("epoch", "seconds", "images_per_second")


class Recorder:
    """Figures, events and progress of a run, in its workdir and on standard error.

    Example:
        >>> import tempfile
        >>> from ml_collections import ConfigDict
        >>> config = ConfigDict({"name": "run", "logging": {"tensorboard": False, "wandb": ""}})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Recorder(folder, config, start=0, steps=2) as recorder:
        ...         recorder.event("start", step=0)
        ...         recorder.metrics({"step": 1, "loss": 0.5, "vcl": [1.0, 2.0]})
        ...         recorder.sync()  # before a checkpoint
        ...     print(pathlib.Path(folder, "metrics.jsonl").read_text(), end="")
        {"step": 1, "loss": 0.5, "vcl": [1.0, 2.0]}

    Attributes:
        kept: the records of ``metrics.jsonl`` up to the step that the run goes on from.
    """

    def __init__(
        self, workdir: str | pathlib.Path, config: ConfigDict, *, start: int, steps: int
    ) -> None:
        """Opens everything that ``config.logging`` turns on.

        Args:
            workdir: of the run; it is there.
            config: the run's configuration.
            start: steps done; what was recorded of later ones is cut.
            steps: of the whole run.

        Raises:
            ReportError: Weights & Biases is asked for and cannot be had.
            OSError: a file cannot be written.
        """
        workdir, options = pathlib.Path(workdir), config.logging
        self._trackers: list[TensorBoard | WeightsAndBiases] = []
        self._files: list[EventLog | MetricsLog | TensorBoard] = []
        with contextlib.ExitStack() as stack:
            self._events = stack.enter_context(EventLog(workdir / "log.jsonl"))
            self._log = stack.enter_context(MetricsLog(workdir / "metrics.jsonl", start))
            self._files += [self._events, self._log]
            self.kept = self._log.kept
            if options.wandb:
                there = WeightsAndBiases(
                    workdir, options.wandb, config.name, config.to_dict(), start
                )
                self._trackers.append(stack.enter_context(there))
            if options.tensorboard:
                board = stack.enter_context(TensorBoard(workdir / "tensorboard", start))
                self._trackers.append(board)
                self._files.append(board)
            self._progress = stack.enter_context(Progress(steps, start))
            self._open = stack.pop_all()
        if self._log.damaged:
            self.warn(
                f"{self._log.damaged} lines of metrics.jsonl are damaged and left out; the file as "
                f"it was is metrics.jsonl.damaged."
            )
        elif start and not self.kept:
            self.warn(f"metrics.jsonl holds nothing of the {start} steps that are done.")

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def metrics(self, record: dict[str, Any]) -> None:
        """Writes the figures of a step wherever they go, and shows them.

        Args:
            record: ``step``; ``epoch``, ``seconds`` and ``images_per_second`` where they are
                known; then metrics, a number or one a network each, or ``validation`` with
                ``accuracy`` and ``ensemble_accuracy``.

        Raises:
            OSError: a file cannot be written; it is named.
        """
        self._log.write(record)
        step, epoch, figures = record["step"], record.get("epoch"), dict(tagged(record))
        for tracker in self._trackers:
            tracker.write(step, figures)
        if "validation" in record:
            self._progress.judged(step, record["validation"], epoch)
        else:
            self._progress.show(step, record.get("images_per_second"), record, epoch)

    def event(self, event: str, **fields: Any) -> None:
        """Writes to ``log.jsonl`` what happened.

        Args:
            event: in a word.
            fields: what else is to be told of it.
        """
        self._events.write("info", event, fields)

    def say(self, text: str) -> None:
        """Shows a line among the progress; it is kept nowhere."""
        self._progress.say(text)

    def warn(self, text: str) -> None:
        """Writes a warning to ``log.jsonl`` and to standard error."""
        self._events.write("warning", "warning", {"text": text})
        self._progress.say(f"warning: {text}")

    def sync(self) -> None:
        """Returns once everything recorded so far is on disk: a checkpoint may follow.

        Raises:
            OSError: a file cannot be written; it is named.
        """
        for file in self._files:
            file.sync()


class SilentRecorder(Recorder):
    """As `Recorder`, of a process that leaves all of it to another one: records nothing.

    Example:
        >>> with SilentRecorder() as recorder:
        ...     recorder.metrics({"step": 1, "loss": 0.5})
        >>> recorder.kept
        []
    """

    def __init__(self) -> None:
        """Opens nothing."""
        self.kept = []

    def __exit__(self, *error: Any) -> None:
        pass

    def metrics(self, record: dict[str, Any]) -> None:
        """Leaves the figures of a step to the other process."""

    def event(self, event: str, **fields: Any) -> None:
        """Leaves to the other process what happened."""

    def say(self, text: str) -> None:
        """Shows nothing."""

    def warn(self, text: str) -> None:
        """Leaves a warning to the other process."""

    def sync(self) -> None:
        """Returns at once: nothing is recorded here."""


def tagged(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The figures of a record, each with its tag.

    Example:
        >>> dict(tagged({"step": 3, "epoch": 0.5, "loss": 2.5}))
        {'run/epoch': 0.5, 'train/loss': 2.5}
        >>> dict(tagged({"step": 3, "validation": {"accuracy": [0.5]}}))
        {'validation/accuracy/network_0': 0.5}
    """
    for name, value in record.items():
        if name == "validation":
            for figure, of_networks in value.items():
                yield from _flat(f"validation/{figure}", of_networks)
        elif name in _OF_THE_RUN:
            # With figures on validation they stand for the second time.
            if "validation" not in record:
                yield from _flat(f"run/{name}", value)
        elif name != "step":
            yield from _flat(f"train/{name}", value)


def _flat(tag: str, value: Any) -> Iterator[tuple[str, float]]:
    """A number, or one a network; nothing for what is not known or is a word."""
    if isinstance(value, list):
        for network, part in enumerate(value):
            yield from _flat(f"{tag}/network_{network}", part)
    elif value is not None and not isinstance(value, str):
        yield tag, float(value)
