"""Worker processes of a stream: what they do first, and what they may send back."""

import dataclasses
import functools
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
import warnings
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from mcl_jax.data.dataset import DataError, DataWarning
from mcl_jax.data.lending import Lender, Lent

# The images of a piece of a batch, or why there are none.
Piece = list[np.ndarray] | Exception


class Pieces(Protocol):
    """Random access to pieces of batches; an error is given, not raised."""

    def __len__(self) -> int:
        """Returns the number of pieces."""

    def __getitem__(self, number: int, /) -> Piece:
        """Returns one piece."""


class Sent(NamedTuple):
    """What a worker sends.

    Attributes:
        piece: images of one shape are lent.
        told: warnings.
    """

    piece: Piece | Lent
    told: list[Warning]


@dataclasses.dataclass(frozen=True)
class InWorker:
    """Random access to pieces as a worker sends them; used by one thread."""

    pieces: Pieces

    def __len__(self) -> int:
        return len(self.pieces)

    @functools.cached_property
    def _lender(self) -> Lender:
        return Lender()

    def __getitem__(self, number: int, /) -> Sent:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            piece = self.pieces[number]
        told = [_warning(record.message) for record in caught]
        if isinstance(piece, Exception):
            return Sent(_error(piece), told)
        alike = len({(image.shape, image.dtype) for image in piece}) == 1
        return Sent(self._lender.lend(piece) if alike else piece, told)


def _warning(message: Warning | str) -> Warning:
    """A warning that can be pickled: ours as it is, of any other its words."""
    return message if isinstance(message, DataWarning) else UserWarning(str(message))


def _error(error: Exception) -> Exception:
    """The error itself, where it can be pickled; a note says where it arose."""
    error.add_note("In a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        told = RuntimeError(f"{type(error).__name__}: {error}")
        told.__notes__ = error.__notes__
        return told
    return error


def check_picklable(pieces: Pieces) -> None:
    """Raises DataError where a worker cannot be sent what it is to work on."""
    import cloudpickle

    try:
        cloudpickle.dumps(pieces)
    except Exception as error:
        raise DataError(
            f"split.rows and load must be picklable, for workers are processes of their own, got "
            f"{type(error).__name__}: {error}; workers=0 decodes in this process."
        ) from error


def allow_unparsed_flags() -> None:
    """Lets Grain look at its flag where nothing parses flags: in scripts, notebooks and tests."""
    from absl import flags

    name = "grain_enable_multiprocess_worker_profiling"
    if name in flags.FLAGS:
        flags.FLAGS[name].present = 1


def begin(partitionable: bool, index: int, count: int) -> None:
    """Makes a process that has just been spawned a worker.

    It draws rows on the CPU, whatever devices there are; leaves signals, which a terminal sends to
    all processes at once, to its parent, and ends when that does, however it ends.

    Args:
        partitionable: ``jax_threefry_partitionable`` of the parent, which random bits depend on.
        index: of the worker.
        count: of all workers.
    """
    del index, count
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_threefry_partitionable", partitionable)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="mcl_jax.data.parent", daemon=True).start()


def _end_with_parent() -> None:
    """Waits for the end of the parent, which cannot tell of it where it is killed."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)
