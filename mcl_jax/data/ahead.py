"""What a generator gives, made before it is asked for."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def ahead(items: Generator[T, None, None]) -> Iterator[T]:
    """Yields the items of a generator, the next of which a thread makes meanwhile.

    So a batch is stacked and on its way to the devices while they are at the step before it.

    Args:
        items: made in one thread, one after another; closed with the iterator that is returned.

    Returns:
        An iterator over the same items; an error of theirs is raised when it is that item's turn.

    Example:
        >>> list(ahead(number * number for number in range(4)))
        [0, 1, 4, 9]
    """
    end: Any = object()
    thread = ThreadPoolExecutor(1, thread_name_prefix="mcl_jax.data.ahead")
    try:
        following = thread.submit(next, items, end)
        while (item := following.result()) is not end:
            following = thread.submit(next, items, end)
            yield item
    finally:
        thread.shutdown()
        items.close()
