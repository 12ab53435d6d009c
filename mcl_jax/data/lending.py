"""Images that a process lends to another in shared memory, which it uses again and again.

The pages of fresh shared memory cost a fault each: 0.1 ms an image of 224 pixels, which is a tenth
of what decoding and cropping it takes.
"""

import atexit
import contextlib
from multiprocessing.shared_memory import SharedMemory
from typing import NamedTuple

import numpy as np

_HEAD = 64  # bytes before the images, the first of which says whether they are lent


class Lent(NamedTuple):
    """Images that lie in shared memory.

    Attributes:
        name: of the memory.
        shape: [n, H, W, c], or of several crops [n, V, H, W, c].
        dtype: its name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


def _is_lent(memory: SharedMemory) -> np.ndarray:
    """Whether the lender must leave the memory as it is: bool [1], of both processes."""
    return np.ndarray([1], np.bool_, memory.buf)


class Lender:
    """The process that makes images; its shared memory ends with it."""

    def __init__(self) -> None:
        self._memories: list[SharedMemory] = []
        atexit.register(self._end)

    def lend(self, images: list[np.ndarray]) -> Lent:
        """Puts images of one shape and dtype where no lent ones are."""
        shape, dtype = (len(images), *images[0].shape), images[0].dtype
        size = _HEAD + len(images) * images[0].nbytes
        free = (x for x in self._memories if not _is_lent(x)[0] and x.size >= size)
        memory = next(free, None) or self._more(size)
        np.stack(images, out=np.ndarray(shape, dtype, memory.buf, _HEAD))
        _is_lent(memory)[0] = True
        return Lent(memory.name, shape, dtype.name)

    def _more(self, size: int) -> SharedMemory:
        self._memories.append(SharedMemory(create=True, size=size))
        return self._memories[-1]

    def _end(self) -> None:
        for memory in self._memories:
            memory.close()
            memory.unlink()


class Borrower:
    """The process that uses them."""

    def __init__(self) -> None:
        self._memories: dict[str, SharedMemory] = {}

    def look_at(self, lent: Lent) -> np.ndarray:
        """Returns the images where they lie, to be looked at until they are given back."""
        if lent.name not in self._memories:
            self._memories[lent.name] = SharedMemory(lent.name)
        return np.ndarray(lent.shape, lent.dtype, self._memories[lent.name].buf, _HEAD)

    def give_back(self, lent: Lent) -> None:
        """Lets the lender use the memory again."""
        _is_lent(self._memories[lent.name])[0] = False

    def close(self) -> None:
        """Ends looking at any; what `look_at` returned must be gone."""
        for memory in self._memories.values():
            with contextlib.suppress(BufferError):  # an interrupt came while images were copied
                memory.close()
