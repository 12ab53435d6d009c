"""Batches for data sets that do not fit in memory: threads decode ahead of the step.

The batch of a step is a function of (key, step): every image gets a random generator of its own
from (key, step, position), so neither the number of threads nor where the run began matters.
"""

import collections
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from PIL import Image

from mcl_jax.data.dataset import Batch, DataError, Split
from mcl_jax.data.samplers import Sampler, Shuffled, steps_per_epoch

Load = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def stream(
    split: Split,
    sampler: Sampler,
    key: jax.Array,
    start_step: int,
    load: Load,
    *,
    stop_step: int | None = None,
    threads: int = 8,
    prefetch: int = 2,
    positions: np.ndarray | None = None,
) -> Iterator[Batch]:
    """Returns the batches of ``start_step``, ``start_step + 1``, ... on the host.

    Args:
        split: the rows, streamed or in memory.
        sampler: which rows make a batch.
        key: a JAX key.
        start_step: the first step.
        load: makes an image [H, W, c] of any size one of a fixed size, with the generator
            that belongs to this step and position; a partial of ``random_resized_crop``.
        stop_step: the step to end before, or None to go on for ever.
        threads: how many threads decode.
        prefetch: how many batches are decoded ahead.
        positions: int32 [b], places in the batch of the rows that are wanted, where other processes
            decode the others; None is the whole batch.

    Returns:
        An iterator of ``Batch`` of NumPy arrays; its ``close()`` ends the threads, and so does
        dropping it.

    Raises:
        DataError: a number is out of range, or the sampler was made for other rows.

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
    if not np.isin(wanted, whole).all():
        raise DataError(f"positions must be from 0 to {len(whole) - 1}, got {wanted.tolist()}.")
    order = _Order(sampler, key)
    return _batches(split, order, wanted, start_step, load, stop_step, threads, prefetch)


def _host() -> jax.Device:
    """Returns the host's own device, or the default one where JAX_PLATFORMS leaves the host out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]


class _Order:
    """The rows of a step on the host; the order of an epoch is drawn once."""

    def __init__(self, sampler: Sampler, key: jax.Array) -> None:
        # On the host's own device: elsewhere a draw would wait for the steps under way.
        host = _host()
        self._sampler, self._key = jax.device_put((sampler, key), host)
        self._draw = jax.jit(lambda sampler, key, step: sampler(key, step))
        self._epoch, self._rows = -1, np.empty([0], np.int32)
        typed = jax.numpy.issubdtype(key.dtype, jax.dtypes.prng_key)
        data = jax.random.key_data(key) if typed else key
        self.seed = tuple(int(word) for word in np.asarray(data).ravel())

    def __call__(self, step: int) -> np.ndarray:
        if not isinstance(self._sampler, Shuffled):
            return np.asarray(self._draw(self._sampler, self._key, step))
        epoch, within = divmod(step, steps_per_epoch(self._sampler))
        if epoch != self._epoch:
            self._epoch, self._rows = epoch, np.asarray(self._sampler.order(self._key, epoch))
        size = self._sampler.batch_size
        return self._rows[within * size : (within + 1) * size]


def _batches(
    split: Split,
    order: _Order,
    positions: np.ndarray,
    step: int,
    load: Load,
    stop_step: int | None,
    threads: int,
    prefetch: int,
) -> Iterator[Batch]:
    """Keeps ``prefetch`` batches under way and yields them in the order of their steps."""

    def one(row: int, step: int, position: int) -> np.ndarray:
        rng = np.random.default_rng((*order.seed, step, position))
        return load(split.image(row), rng)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="mcl_jax.data.stream")
    waiting: collections.deque[tuple[np.ndarray, list[Future[np.ndarray]]]] = collections.deque()
    try:
        while True:
            while len(waiting) < prefetch and (stop_step is None or step < stop_step):
                index = order(step)[positions]
                places = zip(index.tolist(), positions.tolist(), strict=True)
                waiting.append((index, [pool.submit(one, row, step, p) for row, p in places]))
                step += 1
            if not waiting:
                return
            index, images = waiting.popleft()
            decoded = _stack([image.result() for image in images])
            yield Batch(decoded, split.labels[index], index, positions)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stack(images: list[np.ndarray]) -> np.ndarray:
    """Returns the images of a batch as one array [B, H, W, c]."""
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise DataError(f"load must return images of one shape, got {sorted(shapes)}.")
    return np.stack(images)


def _resize(
    image: np.ndarray, width: int, height: int, box: tuple[float, float, float, float]
) -> np.ndarray:
    """Scales the part ``box`` (left, top, right, bottom) of an image, bilinear, antialiased."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or image.dtype != np.uint8:
        raise DataError(
            f"image must be uint8 [H, W, 1] or [H, W, 3], got {image.dtype} of shape {image.shape}."
        )
    picture = Image.fromarray(image[:, :, 0] if image.shape[-1] == 1 else image)
    scaled = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))
    return scaled.reshape(height, width, image.shape[-1])


def random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    size: int,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """Crops a random part of an image and scales it, as in the ImageNet recipe.

    Args:
        image: uint8 [H, W, c].
        rng: decides which part.
        size: side of what is returned.
        scale: the least and the largest part of the image's area.
        ratio: the least and the largest width over height, drawn log-uniformly. After ten
            draws that do not fit, the largest centred part of an allowed ratio is taken.

    Returns:
        uint8 [size, size, c].

    Raises:
        DataError: ``image`` is not uint8 [H, W, 1] or [H, W, 3].
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return _resize(image, size, size, (left, top, left + w, top + h))
    w = min(width, round(height * ratio[1]))
    h = min(height, round(width / ratio[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return _resize(image, size, size, (left, top, left + w, top + h))


def centre_crop(image: np.ndarray, size: int = 224, resize: int = 256) -> np.ndarray:
    """Scales the short side of an image to ``resize`` and crops its centre.

    Args:
        image: uint8 [H, W, c].
        size: side of what is returned.
        resize: length of the short side before the crop.

    Returns:
        uint8 [size, size, c].

    Raises:
        DataError: ``size`` is above ``resize``, or ``image`` is not uint8 [H, W, 1] or [H, W, 3].

    Example:
        >>> centre_crop(np.zeros([30, 40, 3], np.uint8), size=8, resize=10).shape
        (8, 8, 3)
    """
    if not 1 <= size <= resize:
        raise DataError(f"size must be 1 to resize={resize}, got {size}.")
    height, width = image.shape[:2]
    short = min(height, width)
    scaled_width, scaled_height = resize * width // short, resize * height // short
    scaled = _resize(image, scaled_width, scaled_height, (0, 0, width, height))
    left, top = round((scaled_width - size) / 2), round((scaled_height - size) / 2)
    return scaled[top : top + size, left : left + size]
