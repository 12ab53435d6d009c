"""Compiled programs that are kept between runs."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import jax


def keep_compiled_programs() -> pathlib.Path:
    """Keeps compiled programs in the user's cache folder, unless JAX is told of another.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder, ``JAX_ENABLE_COMPILATION_CACHE=0`` keeps
    none.

    Returns:
        The folder.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "mcl_jax" / "compiled"))
    return pathlib.Path(jax.config.values["jax_compilation_cache_dir"])


@contextlib.contextmanager
def compiled_programs_kept() -> Iterator[None]:
    """As `keep_compiled_programs`, and forgets programs that may be torn.

    JAX does not write a program whole or not at all: what was cut short by a kill or a full disk
    stays, fails to load and is compiled again at every start. So programs as young as a process
    that did not end well are forgotten by the next one.
    """
    folder = keep_compiled_programs()
    marker = folder / f".running-{os.getpid()}"
    # Without a folder to write to nothing is kept; a marker of no number is not ours.
    with contextlib.suppress(OSError, ValueError):
        if "://" not in str(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _forget_what_may_be_torn(folder)
            marker.touch()
    try:
        yield
    except Exception:  # the disk may be full: the marker stays
        raise
    except BaseException:
        _unmark(marker)
        raise
    _unmark(marker)


def _unmark(marker: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        marker.unlink()


def _forget_what_may_be_torn(folder: pathlib.Path) -> None:
    """Deletes programs written since the start of a process that has left its marker."""
    for marker in folder.glob(".running-*"):
        if _is_running(int(marker.name.rpartition("-")[2])):
            continue
        since = marker.stat().st_mtime
        for program in folder.glob("*-cache"):
            if program.stat().st_mtime >= since:
                program.unlink(missing_ok=True)
        marker.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    """Whether there is another process of that number."""
    if process == os.getpid() or os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
