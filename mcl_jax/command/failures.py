"""What a command says of an error, and the code it ends with."""

import errno
import pathlib
import re

from mcl_jax.config import ConfigError, fields, saved_steps

BAD_INPUT, NOT_FINITE, INTERRUPTED = 1, 2, 130

_LESS = (
    "a smaller data.batch_size, evaluation.batch_size or data.train_size, fewer method.networks, "
    "model.dtype=bfloat16 or more devices take less"
)
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def explain(error: BaseException, workdir: pathlib.Path | None) -> tuple[int, str] | None:
    """What to say of an error that a user can do something about.

    Args:
        error: what was raised.
        workdir: of the run, if it got that far.

    Returns:
        The exit code and one line, or None for an error of the program itself, whose traceback
        is wanted.
    """
    if isinstance(error, KeyboardInterrupt):
        saved = workdir is not None and saved_steps(workdir / "checkpoints")
        goes_on = f"; the same command goes on from the newest checkpoint in {workdir}"
        return INTERRUPTED, f"stopped{goes_on if saved else ''}."
    if isinstance(error, FloatingPointError):
        return NOT_FINITE, f"error: {error}"
    sentence = _bad_input(error, workdir)
    return None if sentence is None else (BAD_INPUT, f"error: {sentence}")


def _bad_input(error: BaseException, workdir: pathlib.Path | None) -> str | None:
    """One sentence about input, storage or memory."""
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, MemoryError):
        return _out_of_memory("this machine", error)
    if isinstance(error, OSError) and error.strerror:
        where = error.filename or f"a file in {workdir}"
        verb = "written" if error.errno in _FULL else "read or written"
        return (
            f"{where} cannot be {verb}: {error.strerror}; once that is mended, the same command "
            f"goes on from the newest checkpoint."
        )
    # What follows is raised by parts that are loaded by now.
    from jax.errors import JaxRuntimeError

    from mcl_jax.data import DataError
    from mcl_jax.report import ReportError
    from mcl_jax.training import StorageError

    if isinstance(error, DataError):
        return _with_section(str(error))
    if isinstance(error, StorageError | ReportError):
        return str(error)
    if isinstance(error, JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return _out_of_memory("a device", error)
    return None


def _with_section(sentence: str) -> str:
    """The data package speaks of its own arguments, which are fields of ``config.data``."""
    names = [name.removeprefix("data.") for name in fields() if name.startswith("data.")]
    first = rf"^(?:{'|'.join(names)})\b"
    sizes = "batch_size|images_per_class|train_size|validation_size|corrupt(?==)"
    inside = rf"(?<![\w./])(?:{sizes})\b"
    named = re.sub(f"{first}|{inside}", lambda found: f"data.{found[0]}", sentence)
    return named if named.startswith("data.") else f"data.source: {named}"


def _out_of_memory(where: str, error: BaseException) -> str:
    """What was wanted, if the error tells, and what takes less."""
    from mcl_jax.report.units import size

    found = re.search(r"([\d.]+) ?(bytes|[KMGTPE]iB)", str(error))
    wanted = ""
    if found:
        count = float(found[1]) * 1024 ** _UNITS.index(found[2])
        wanted = f" ({size(count)} more were wanted at once)"
    return f"the memory of {where} does not suffice{wanted}; {_LESS}."
