"""How far a run is, on standard error: a bar on a terminal, a line now and then elsewhere."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

_SHORT = {
    "loss": "loss",
    "cross_entropy": "ce",
    "vcl": "vcl",
    "soft_vcl": "svcl",
    "icl": "icl",
    "soft_icl": "sicl",
    "jigsaw": "jig",
    "accuracy": "acc",
}
_LINE_SECONDS = 60


class Progress:
    """Step, images/s, loss terms and, on a terminal, time left.

    In files, pipes and notebooks, which keep every state of a bar, there is none, but a line a
    minute and a last one.
    """

    def __init__(self, steps: int, start: int) -> None:
        """Starts at ``start`` of ``steps``."""
        self._steps = steps
        self._bar: Any = None
        if _on_terminal() and not _in_notebook():
            self._bar = tqdm(
                total=steps, initial=start, unit="step", dynamic_ncols=True, file=sys.stderr
            )
        self._spoke, self._unsaid = time.monotonic(), ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._unsaid:
            self.say(self._unsaid)

    def show(
        self,
        step: int,
        images_per_second: float | None,
        metrics: Mapping[str, Any],
        epoch: float | None = None,
    ) -> None:
        """Moves on to ``step`` and shows the metrics that have a short name."""
        terms = " ".join(
            f"{short} {np.mean(metrics[name]):.3f}"
            for name, short in _SHORT.items()
            if name in metrics
        )
        speed = "" if images_per_second is None else f"{images_per_second:.0f} images/s"
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(filter(None, (speed, terms))), refresh=False)
            self._bar.update(step - self._bar.n)
            return
        self._unsaid = ", ".join(filter(None, (f"{self._at(step, epoch)}: {terms}", speed)))
        if step == self._steps or time.monotonic() - self._spoke >= _LINE_SECONDS:
            self.say(self._unsaid)
            self._spoke, self._unsaid = time.monotonic(), ""

    def judged(self, step: int, figures: Mapping[str, Any], epoch: float | None = None) -> None:
        """Tells the accuracy on validation rows, of each network and of the ensemble."""
        accuracy = " ".join(f"{100 * x:.1f}" for x in figures["accuracy"])
        ensemble = ""
        if len(figures["accuracy"]) > 1:
            ensemble = f", ensemble {100 * figures['ensemble_accuracy']:.1f} %"
        self.say(f"{self._at(step, epoch)}: validation accuracy {accuracy} %{ensemble}")

    def say(self, line: str) -> None:
        """Writes a line, above the bar where there is one."""
        tqdm.write(line, file=sys.stderr)

    def _at(self, step: int, epoch: float | None) -> str:
        return f"step {step}/{self._steps}" + ("" if epoch is None else f", epoch {epoch:.1f}")


def _on_terminal() -> bool:
    """Whether standard error is a terminal; one of no width, as in containers, shows no bar."""
    if not sys.stderr.isatty():
        return False
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except OSError:  # what says that it is one has no number, or is none of the system's
        return True


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; some claim to be terminals."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")
