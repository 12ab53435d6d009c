"""One order of rows for the same images, whatever they are stored in.

The key of a row is a digest, so that rows come well mixed: any first or last rows of a split are
a fair sample of it. Rows of one key keep the order in which their source has them.
"""

import hashlib
from collections.abc import Iterable

import numpy as np

from mcl_jax.data.dataset import DataError, Split


def _sorted(digests: Iterable[bytes], labels: np.ndarray) -> np.ndarray:
    """Returns the rows by digest of 16 bytes, then by label."""
    words = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2)
    return np.lexsort((labels, words[:, 1], words[:, 0]))


def by_pixels(split: Split) -> Split:
    """Orders images in memory by the BLAKE2b digest of their pixels, then by label.

    Args:
        split: N rows of one size, in memory.

    Returns:
        The same rows; those of equal pixels and label are interchangeable.

    Raises:
        DataError: the split streams.

    Example:
        >>> images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
        >>> one = by_pixels(Split(np.array([0, 1, 2], np.int32), images=images))
        >>> two = by_pixels(Split(np.array([2, 0, 1], np.int32), images=images[[2, 0, 1]]))
        >>> bool((one.images == two.images).all() and (one.labels == two.labels).all())
        True
    """
    if split.images is None:
        raise DataError("by_pixels wants a split in memory, got one that streams.")
    digests = (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in split.images)
    return split.take(_sorted(digests, split.labels))


def by_names(stems: Iterable[bytes], labels: np.ndarray) -> np.ndarray:
    """Orders rows that stream by the BLAKE2b digest of ``label/stem``.

    Args:
        stems: N names of files, without folder and ending.
        labels: integers [N].

    Returns:
        The rows in their order, int64 [N].
    """
    digests = (
        hashlib.blake2b(b"%d/%s" % (label, stem), digest_size=16).digest()
        for stem, label in zip(stems, labels.tolist(), strict=True)
    )
    return _sorted(digests, labels)
