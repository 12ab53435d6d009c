"""Leaving a run between two steps, with its state saved: Ctrl-C, SIGTERM, preemption."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

TERMINATED = 128 + signal.SIGTERM  # 143, as shells have it


class Stopping:
    """Notices that a run is to leave; a second Ctrl-C leaves at once.

    In a run of several processes it is JAX that takes SIGTERM, as a preemption notice, and finds a
    step for all to leave after; Ctrl-C in any of them is handed on to it. Outside the main thread
    Python takes no signals.

    Attributes:
        reason: why the run is to leave, ``"Ctrl-C"``, ``"SIGTERM"`` or ``"preemption"``; None
            while it is not.
    """

    def __init__(self) -> None:
        """Notices nothing until it is entered."""
        self._before: dict[signal.Signals, Any] = {}
        self._interrupts = 0
        self.reason: str | None = None

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            together = jax.distributed.is_initialized()
            for number in (signal.SIGINT,) if together else (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._notice)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            # One that was not set by Python is not known to it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def wanted(self, dispatch: int) -> bool:
        """Whether to leave after a dispatch: all processes of a run agree on it.

        Args:
            dispatch: its number; asked of each, in order.
        """
        if jax.distributed.is_initialized():
            if multihost_utils.reached_preemption_sync_point(dispatch):
                self.reason = self.reason or "preemption"
                return True
            return False  # even after a signal: all leave at once
        return self.reason is not None

    def leave(self) -> None:
        """Raises KeyboardInterrupt after Ctrl-C, otherwise SystemExit with code 143."""
        if self.reason == "Ctrl-C":
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt
        self.reason = self.reason or ("Ctrl-C" if number == signal.SIGINT else "SIGTERM")
        again = "; Ctrl-C again leaves at once" if number == signal.SIGINT else ""
        # Not by print: the signal may have come in the middle of one.
        os.write(2, f"\n{self.reason}: saves after this step and leaves{again}.\n".encode())
        if jax.distributed.is_initialized():
            os.kill(os.getpid(), signal.SIGTERM)  # to JAX, which tells the other processes
