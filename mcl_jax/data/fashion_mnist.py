"""The embedded part of Fashion-MNIST: 10,000 training and 2,000 test images, 28 x 28 grey."""

import hashlib
import importlib.resources
import lzma

import numpy as np

from mcl_jax.data.dataset import DataError, Source, Split
from mcl_jax.data.embedded.cut_fashion_mnist import (
    NUM_CLASSES,
    TEST_PER_CLASS,
    TRAIN_PER_CLASS,
)

ASSET = "fashion_mnist.xz"
SHA256 = "d07c014c0dd75c0cc45aede422e1b04a9ce67458ad13ed302a1fd6c298094675"
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
NOTICE = (
    "Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist: the first 1,000 training "
    "and 200 test images of each class. MIT licence, Copyright (c) 2017 Zalando SE."
)


def unpack(packed: bytes) -> bytes:
    """Returns the bytes that the asset packs.

    Raises:
        DataError: it is not the asset that this version of the package was made with.
    """
    found = hashlib.sha256(packed).hexdigest()
    if found != SHA256:
        raise DataError(
            f"{ASSET} must have the sha256 {SHA256[:12]}..., got {found[:12]}...: the file was "
            f"changed; install the package again."
        )
    return lzma.decompress(packed)


def _split(content: bytes, per_class: int) -> Split:
    """Returns rows that go round the classes, so that any first rows are balanced."""
    grouped = np.frombuffer(content, np.uint8).reshape(NUM_CLASSES, per_class, 28, 28, 1)
    images = np.ascontiguousarray(grouped.swapaxes(0, 1)).reshape(-1, 28, 28, 1)
    return Split(np.tile(np.arange(NUM_CLASSES, dtype=np.int32), per_class), images=images)


def load() -> Source:
    """Returns the embedded part of Fashion-MNIST.

    Returns:
        10,000 training and 2,000 test images [28, 28, 1], as many of each class.

    Raises:
        DataError: the file in the package is missing or was changed.

    Example:
        >>> len(load().train), len(load().test)
        (10000, 2000)
    """
    asset = importlib.resources.files("mcl_jax.data.embedded").joinpath(ASSET)
    try:
        content = unpack(asset.read_bytes())
    except OSError as error:
        raise DataError(f"{ASSET} must lie in mcl_jax/data/embedded, got {error}.") from error
    head = NUM_CLASSES * TRAIN_PER_CLASS * 28 * 28
    return Source(
        train=_split(content[:head], TRAIN_PER_CLASS),
        test=_split(content[head:], TEST_PER_CLASS),
        class_names=CLASS_NAMES,
        notice=NOTICE,
    )
