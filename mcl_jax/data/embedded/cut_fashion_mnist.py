"""Cuts the embedded part of Fashion-MNIST from the official idx files.

python -m mcl_jax.data.embedded.cut_fashion_mnist IDX_FOLDER OUTPUT
"""

import gzip
import hashlib
import lzma
import pathlib
import sys

import numpy as np

from mcl_jax.data.dataset import DataError

TRAIN_PER_CLASS = 1000
TEST_PER_CLASS = 200
NUM_CLASSES = 10


def read_idx(folder: pathlib.Path, name: str) -> np.ndarray:
    """Returns the uint8 array of an idx file, gzipped (``name.gz``) or not.

    Args:
        folder: where the file lies.
        name: its name without ``.gz``.

    Raises:
        DataError: there is no such file, or it is not an idx file of uint8.
    """
    packed, plain = folder / f"{name}.gz", folder / name
    if packed.exists():
        content = gzip.decompress(packed.read_bytes())
    elif plain.exists():
        content = plain.read_bytes()
    else:
        raise DataError(f"idx_folder must hold {name} or {name}.gz, got {folder}.")
    # The magic number is two zeros, 8 for unsigned bytes, and the number of axes.
    axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    shape = np.frombuffer(content, ">u4", count=axes, offset=4) if axes else np.zeros(1, int)
    if not axes or len(content) != 4 + 4 * axes + int(np.prod(shape, dtype=np.int64)):
        raise DataError(f"{name} must be an idx file of unsigned bytes, got another content.")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape.astype(int))


def first_of_each_class(images: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Returns the first ``count`` images of each class in file order: [10, count, H, W].

    Raises:
        DataError: a class has fewer images.
    """
    rows = [np.flatnonzero(labels == label)[:count] for label in range(NUM_CLASSES)]
    for label, found in enumerate(rows):
        if len(found) < count:
            raise DataError(f"class {label} must have {count} images, got {len(found)}.")
    return images[np.stack(rows)]


def cut(
    idx_folder: str | pathlib.Path,
    output: str | pathlib.Path,
    *,
    train_per_class: int = TRAIN_PER_CLASS,
    test_per_class: int = TEST_PER_CLASS,
) -> tuple[str, str]:
    """Writes the first images of each class, training then test, as xz-packed bytes.

    The bytes are uint8 [10, train_per_class, 28, 28] followed by [10, test_per_class, 28, 28];
    labels are the first axis.

    Args:
        idx_folder: holds the four idx files, gzipped or not.
        output: the file to write.
        train_per_class: images a class from the official training set.
        test_per_class: images a class from the official test set.

    Returns:
        The sha256 of the file written, and that of the bytes packed in it (which another
        version of liblzma could pack otherwise).

    Raises:
        DataError: an idx file is missing, malformed, or has too few images of a class.
    """
    folder = pathlib.Path(idx_folder)
    content = b"".join(
        first_of_each_class(
            read_idx(folder, f"{part}-images-idx3-ubyte"),
            read_idx(folder, f"{part}-labels-idx1-ubyte"),
            count,
        ).tobytes()
        for part, count in (("train", train_per_class), ("t10k", test_per_class))
    )
    packed = lzma.compress(content, format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)
    pathlib.Path(output).write_bytes(packed)
    return hashlib.sha256(packed).hexdigest(), hashlib.sha256(content).hexdigest()


def main(arguments: list[str]) -> int:
    """Cuts, and writes out the sha256 of the file and of its content; returns an exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: cut_fashion_mnist IDX_FOLDER OUTPUT\n")
        return 1
    try:
        packed, content = cut(arguments[0], arguments[1])
    except (DataError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"file    {packed}\ncontent {content}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
