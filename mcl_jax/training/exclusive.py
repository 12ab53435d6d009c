"""One process at a time in a workdir."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from mcl_jax.config import ConfigError


@contextlib.contextmanager
def exclusive(workdir: str | pathlib.Path) -> Iterator[pathlib.Path]:
    """Makes a workdir and keeps other processes out of it; the kernel ends that with the process.

    Args:
        workdir: the folder.

    Yields:
        The folder.

    Raises:
        ConfigError: the folder cannot be written, or another process is in it.
    """
    folder = pathlib.Path(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise ConfigError(f"workdir {folder} cannot be written: {error.strerror}.") from error
    with file:
        if not _locked(file.fileno()):
            raise ConfigError(
                f"workdir {folder} is in use by another process; wait for it to end, or choose "
                f"another folder."
            )
        yield folder


def _locked(descriptor: int) -> bool:
    """Whether this process holds the file now; true where the system has no such locks."""
    if os.name != "posix":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # some network file systems have none
    return True
