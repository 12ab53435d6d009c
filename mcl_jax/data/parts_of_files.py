"""Parts of large files, read where they lie by any number of threads and processes."""

import os


def read_at(path: str, start: int, size: int) -> bytes:
    """Returns a part of a file, which is not kept open: there may be a thousand of them.

    Args:
        path: the file.
        start: the first byte.
        size: how many.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, size, start)
    finally:
        os.close(descriptor)
