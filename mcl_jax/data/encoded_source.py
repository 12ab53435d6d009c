"""From labelled files of images to a source: in memory where they fit, else decoded when asked for.

Whatever the files are (a folder, tars, parquet, records of TFDS), from here on they are rows of
encoded bytes with a label, a name to speak of them, and maybe a stem to order them by.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from mcl_jax.data import canonical_order
from mcl_jax.data.class_names import check_rows
from mcl_jax.data.dataset import DataError, DataWarning, Source, Split
from mcl_jax.data.decoding import Header, ImageError, decode, header

DEFAULT_MEMORY_LIMIT = 2 << 30
_PLACES, _NEIGHBOURS = 16, 4  # of images that are looked at
_CHUNK, _THREADS = 256, 8
_NAMED = 10


class Encoded(Protocol):
    """Random access to files of images, which can be pickled."""

    def __len__(self) -> int:
        """Returns the number of images."""

    def read(self, row: int, /) -> bytes:
        """Returns the bytes of one file; raises OSError or ImageError."""

    def name(self, row: int, /) -> str:
        """Returns how one image is spoken of: where it lies."""


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A split as a source finds it, of which nothing is decoded.

    Attributes:
        labels: int32 [N].
        images: the files.
        stems: N names without folder and ending, which order rows that stream; None keeps
            the order of the files.
    """

    labels: np.ndarray
    images: Encoded
    stems: Sequence[bytes] | np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedRows:
    """Images that are decoded when they are asked for."""

    images: Encoded
    order: np.ndarray
    channels: int

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, row: int, /) -> np.ndarray:
        place = int(self.order[row])
        return decode(_read(self.images, place), self.channels, self.images.name(place))


def assemble(
    description: str,
    parts: Mapping[str, Part],
    class_names: tuple[str, ...],
    notice: str,
    *,
    memory_limit: int,
    corrupt: str,
    channels: int | None = None,
) -> Source:
    """Makes a source of splits whose images are encoded.

    Args:
        description: how the caller was asked for it.
        parts: ``train``, ``test`` and maybe ``validation``.
        class_names: the name of each label.
        notice: where the images come from and under which licence.
        memory_limit: bytes of decoded images, all splits together, above which they stream;
            images of several sizes always do.
        corrupt: ``"stop"`` at an image that cannot be decoded, or ``"skip"`` it.
        channels: 1, 3, or None to look: 1 where all images that are looked at are gray.

    Raises:
        DataError: a split is empty, a label is no class, or an image cannot be decoded.
    """
    for name, part in parts.items():
        check_rows(description, name, part.labels, len(class_names))
    headers = _survey(description, parts)
    if channels is None:
        channels = 1 if all(seen.gray for seen in headers) else 3
    sizes = {(seen.height, seen.width) for seen in headers}
    height, width = next(iter(sizes))
    rows = sum(len(part.labels) for part in parts.values())
    splits = None
    if len(sizes) == 1 and rows * height * width * channels <= memory_limit:
        shape = (height, width, channels)
        splits = _in_memory(description, parts, shape, stop=corrupt == "stop")
    if splits is None:
        splits = {name: _streamed(part, channels) for name, part in parts.items()}
    more = splits.get("validation"), splits.get("unlabelled")
    return Source(splits["train"], splits["test"], class_names, notice, *more)


def _read(images: Encoded, row: int) -> bytes:
    """Returns the bytes of a file, or names it."""
    try:
        return images.read(row)
    except OSError as error:
        reason = " ".join(str(error.strerror or error).split()).rstrip(".")
        raise ImageError(images.name(row), f"cannot be read: {reason}") from error


def _survey(description: str, parts: Mapping[str, Part]) -> list[Header]:
    """Looks at the kind and the size of 64 images of each split, four next to each other."""
    headers, errors = [], []
    for part in parts.values():
        last = len(part.labels) - 1
        places = np.linspace(0, last, _PLACES).astype(int)[:, None] + np.arange(_NEIGHBOURS)
        for row in np.unique(places.clip(max=last)).tolist():
            try:
                headers.append(header(_read(part.images, row), part.images.name(row)))
            except ImageError as error:
                errors.append(error)
    if not headers:
        raise DataError(
            f"source {description} must have images, got {len(errors)} of {len(errors)} that "
            f"cannot be taken: {errors[0].problem}."
        )
    return headers


class _OtherSizeError(Exception):
    """An image is not as large as the first ones."""


def _in_memory(
    description: str, parts: Mapping[str, Part], shape: tuple[int, int, int], *, stop: bool
) -> dict[str, Split] | None:
    """Decodes every image, or returns None where sizes differ after all."""
    try:
        return {
            name: _decoded(description, name, part, shape, stop=stop)
            for name, part in parts.items()
        }
    except _OtherSizeError:
        return None


def _decoded(
    description: str, name: str, part: Part, shape: tuple[int, int, int], *, stop: bool
) -> Split:
    """Decodes a split, in canonical order and without what cannot be decoded."""
    images, errors = _decode_all(part.images, shape, stop=stop)
    if not errors:
        return canonical_order.by_pixels(Split(part.labels, images=images))
    problems = [error.problem for error in errors.values()]
    more = f" and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
    warnings.warn(
        f"source {description}: {len(errors)} of {len(images)} {name} images are left out: "
        f"{'; '.join(problems[:_NAMED])}{more}.",
        DataWarning,
        stacklevel=4,
    )
    readable = np.setdiff1d(np.arange(len(images)), list(errors))
    return canonical_order.by_pixels(Split(part.labels[readable], images=images[readable]))


def _decode_all(
    images: Encoded, shape: tuple[int, int, int], *, stop: bool
) -> tuple[np.ndarray, dict[int, ImageError]]:
    """Decodes with threads: uint8 [N, H, W, c] and what is wrong with which rows."""
    pixels = np.empty((len(images), *shape), np.uint8)
    errors: dict[int, ImageError] = {}

    def decode_from(start: int) -> None:
        for row in range(start, min(start + _CHUNK, len(images))):
            try:
                image = decode(_read(images, row), shape[-1], images.name(row))
            except ImageError as error:
                if stop:
                    raise
                errors[row] = error
                continue
            if image.shape != shape:
                raise _OtherSizeError
            pixels[row] = image

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(decode_from, range(0, len(images), _CHUNK)):
            pass
    return pixels, dict(sorted(errors.items()))


def _streamed(part: Part, channels: int) -> Split:
    """Decodes nothing yet; rows are in canonical order where files have names."""
    order = np.arange(len(part.labels))
    if part.stems is not None:
        order = canonical_order.by_names(part.stems, part.labels)
    return Split(part.labels[order], rows=DecodedRows(part.images, order, channels))
