"""Batches for data sets that do not fit in memory: Grain decodes them ahead of the step.

The batch of a step is a function of (key, step): every image gets a random generator of its own
from (key, step, position), so neither the number of threads or processes nor where the run began
matters, and a run goes on by the number of its step alone.
"""

import atexit
import contextlib
import dataclasses
import functools
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax.data.crops import Load
from mcl_jax.data.dataset import Batch, DataError, Split
from mcl_jax.data.lending import Borrower, Lent
from mcl_jax.data.samplers import Sampler, Shuffled, steps_per_epoch
from mcl_jax.data.workers import (
    InWorker,
    Piece,
    Sent,
    allow_unparsed_flags,
    begin,
    check_picklable,
)

# More steps than a run may have.
_NO_END = 2**31


def stream(
    split: Split,
    sampler: Sampler,
    key: jax.Array,
    start_step: int,
    load: Load,
    *,
    stop_step: int | None = None,
    workers: int = 0,
    threads: int = 8,
    prefetch: int = 2,
    positions: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Returns the batches of ``start_step``, ``start_step + 1``, ... on the host.

    Threads share one interpreter, so that a few of them keep it busy; worker processes do not.
    Those are spawned: a script that asks for them keeps what it does under
    ``if __name__ == "__main__"``, and ``split.rows`` and ``load`` must be picklable. A batch comes
    from them through shared memory (``/dev/shm`` on Linux). They never use an accelerator, and end
    with this process, however it ends.

    Args:
        split: the rows, streamed or in memory.
        sampler: which rows make a batch.
        key: a JAX key.
        start_step: the first step.
        load: makes an image [H, W, c] of any size one of a fixed size, with the generator
            that belongs to this step and position; a partial of ``random_resized_crop``. It may
            make several crops [V, H, W, c] of it (`several`): images are then [B, V, H, W, c].
        stop_step: the step to end before, or None to go on for ever.
        workers: how many processes decode; 0 decodes in threads of this process, which is also
            done for images in memory.
        threads: how many threads decode, where no worker does.
        prefetch: how many batches are decoded ahead; with workers, two more are on their way.
        positions: int32 [b], places in the batch of the rows that are wanted, where other hosts
            decode the others; None is the whole batch.

    Returns:
        An iterator of ``Batch`` of NumPy arrays; its ``close()`` ends threads and workers, and so
        does dropping it.

    Raises:
        DataError: a number is out of range, the sampler was made for other rows, or workers
            cannot be given the rows.

    Example:
        >>> from mcl_jax.data import samplers
        >>> split = Split(np.zeros([4], np.int32), images=np.zeros([4, 8, 8, 3], np.uint8))
        >>> batches = stream(split, samplers.shuffled(4, 2), jax.random.key(0), 0,
        ...                  lambda image, rng: image[:4, :4], stop_step=2, threads=1)
        >>> [batch.images.shape for batch in batches]
        [(2, 4, 4, 3), (2, 4, 4, 3)]
    """
    if threads < 1 or prefetch < 1:
        raise DataError(f"threads and prefetch must be at least 1, got {threads} and {prefetch}.")
    if workers < 0:
        raise DataError(f"workers must be 0 (threads) or more, got {workers}.")
    if start_step < 0 or (stop_step is not None and stop_step < start_step):
        raise DataError(
            f"start_step must be 0 or more and at most stop_step, got {start_step} and {stop_step}."
        )
    if sampler.num_rows != len(split):
        raise DataError(
            f"sampler must be made for the {len(split)} rows of split, got one for "
            f"{sampler.num_rows}."
        )
    whole = np.arange(sampler.batch_size, dtype=np.int32)
    wanted = whole if positions is None else positions
    if not len(wanted) or not np.isin(wanted, whole).all():
        raise DataError(
            f"positions must be from 0 to {len(whole) - 1}, at least one, got {wanted.tolist()}."
        )
    workers = min(workers, len(wanted)) if split.streams else 0
    parts = np.array_split(wanted, workers or min(threads, len(wanted)))
    stop = start_step + _NO_END if stop_step is None else stop_step
    pieces = _Pieces(split, _Order.of(sampler, key), load, parts, range(start_step, stop))
    if workers:
        check_picklable(pieces)
        return _batches(pieces, wanted, lambda: _in_workers(pieces, workers, prefetch))
    return _batches(pieces, wanted, lambda: _in_threads(pieces, threads, prefetch))


def _host() -> jax.Device:
    """Returns the host's own device, or the default one where JAX_PLATFORMS leaves the host out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


@functools.partial(jax.jit, static_argnames="impl")
def _draw(sampler: Sampler, words: jax.Array, impl: Any, block: int) -> jax.Array:
    """The rows of an epoch of a shuffled sampler, or of a step of another one."""
    key = jax.random.wrap_key_data(words, impl=impl)
    return sampler.order(key, block) if isinstance(sampler, Shuffled) else sampler(key, block)


class _Order:
    """The rows of a step on the host; the order of an epoch is drawn once in a process."""

    def __init__(self, sampler: Sampler, words: np.ndarray, impl: Any) -> None:
        self._sampler, self._words, self._impl = sampler, words, impl
        self._steps = steps_per_epoch(sampler) if isinstance(sampler, Shuffled) else 1
        self._lock, self._drawn = threading.Lock(), functools.lru_cache(maxsize=4)(self._draw)
        self.seed = tuple(int(word) for word in words.ravel())

    def __reduce__(self) -> tuple[Any, ...]:
        return _Order, (self._sampler, self._words, self._impl)

    @classmethod
    def of(cls, sampler: Sampler, key: jax.Array) -> "_Order":
        """Takes a typed key or a raw one."""
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        key = key if typed else jax.random.wrap_key_data(key)
        words = np.asarray(jax.random.key_data(key))
        return cls(jax.device_get(sampler), words, jax.random.key_impl(key))

    def __call__(self, step: int) -> np.ndarray:
        block, within = divmod(step, self._steps)
        with self._lock:  # or each thread would draw
            rows = self._drawn(block)
        size = self._sampler.batch_size
        return rows[within * size : (within + 1) * size]

    @functools.cached_property
    def _placed(self) -> tuple[Sampler, jax.Array]:
        # On the host's own device: elsewhere a draw would wait for the steps under way.
        return jax.device_put((self._sampler, self._words), _host())

    def _draw(self, block: int) -> np.ndarray:
        sampler, words = self._placed
        return np.asarray(_draw(sampler, words, self._impl, block))


@dataclasses.dataclass(frozen=True)
class _Pieces:
    """Random access to the images of batches in pieces, all pieces of a step after each other.

    Attributes:
        split: the rows.
        order: the rows of a step.
        load: as `stream` takes it.
        parts: the positions of each piece of a batch.
        steps: of the stream.
    """

    split: Split
    order: _Order
    load: Load
    parts: Sequence[np.ndarray]
    steps: range

    def __len__(self) -> int:
        return len(self.steps) * len(self.parts)

    def __getitem__(self, number: int) -> Piece:
        """Returns images, or the error there was: it is to be raised where batches are used."""
        place, part = divmod(number, len(self.parts))
        step = self.steps[place]
        try:
            index = self.order(step)
            return [self._image(int(index[x]), step, x) for x in self.parts[part].tolist()]
        except Exception as error:
            return error

    def _image(self, row: int, step: int, position: int) -> np.ndarray:
        rng = np.random.default_rng((*self.order.seed, step, position))
        return self.load(self.split.image(row), rng)


def _in_threads(pieces: _Pieces, threads: int, prefetch: int) -> Any:
    """Grain's iterator over all pieces, made in threads of this process."""
    import grain  # takes half a second

    ahead = prefetch * len(pieces.parts)
    options = grain.ReadOptions(min(threads, ahead), ahead)
    return iter(grain.MapDataset.source(pieces).to_iter_dataset(options))


def _in_workers(pieces: _Pieces, workers: int, prefetch: int) -> Any:
    """The same, made in processes: worker i makes every piece ``i`` modulo ``workers``."""
    import grain

    allow_unparsed_flags()
    made = grain.MapDataset.source(InWorker(pieces)).to_iter_dataset(grain.ReadOptions(0, 0))
    options = grain.MultiprocessingOptions(workers, max(1, prefetch // 2))
    first = functools.partial(begin, jax.threefry_partitionable.value)
    return iter(made.mp_prefetch(options, first))


def _batches(pieces: _Pieces, positions: np.ndarray, start: Callable[[], Any]) -> Iterator[Batch]:
    """Yields batches in the order of their steps."""
    made, borrower = [start()], Borrower()
    with contextlib.ExitStack() as ends:
        ends.callback(borrower.close)
        ends.callback(made.clear)
        ends.callback(made[0].close)
        # Where a process exits without dropping this, it would be taken to pieces in any order.
        atexit.register(ends.close)
        ends.callback(atexit.unregister, ends.close)
        for step in pieces.steps:
            # All of a step even where one holds an error: so all workers are known, and end.
            images = _joined([_next(made[0]) for _ in pieces.parts], borrower)
            if isinstance(images, Exception):
                raise images
            index = pieces.order(step)[positions]
            yield Batch(images, pieces.split.labels[index], index, positions)


def _next(made: Any) -> Piece | Lent:
    """The next piece; as pieces hold their own errors, any other is of a worker that is no more."""
    try:
        piece = next(made)
    except Exception as error:
        reason = str(error).split(". ")[0].rstrip(".")
        raise DataError(
            f"a worker process that decodes images has ended ({reason}); a script that asks for "
            f"workers must keep what it does under if __name__ == '__main__', memory and /dev/shm "
            f"must hold some batches, and workers=0 decodes in this process."
        ) from error
    if not isinstance(piece, Sent):
        return piece
    for warning in piece.told:
        warnings.warn(warning, stacklevel=2)
    return piece.piece


def _joined(pieces: list[Piece | Lent], borrower: Borrower) -> np.ndarray | Exception:
    """Returns what was made of the images of a batch as one array [B, ...], or what went wrong.

    An error is not raised here: its traceback would keep what is lent.
    """
    images: list[np.ndarray] = []
    for piece in pieces:
        if isinstance(piece, Exception):
            return piece
        images.extend(borrower.look_at(piece) if isinstance(piece, Lent) else piece)
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        return DataError(f"load must return images of one shape, got {sorted(shapes)}.")
    batch = np.stack(images)
    for piece in pieces:
        if isinstance(piece, Lent):
            borrower.give_back(piece)
    return batch
