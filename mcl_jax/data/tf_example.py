"""Reads ``tf.train.Example`` messages, and touches no more of one than is asked for.

The wire format is Protocol Buffers': https://protobuf.dev/programming-guides/encoding. An image
comes as a view of its bytes, so the labels of memory-mapped records cost no reading of images.
"""

from collections.abc import Iterator
from typing import Any

Values = list[memoryview] | list[int]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _INT64_LIST = 1, 3


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Returns a number of 7 bits a byte and where it ends."""
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yields the number and the value of each field: an integer, or a view of bytes."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            number, at = _varint(message, at)
            yield tag >> 3, number
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if at + size > end:
            raise ValueError("a field that goes beyond the end")
        yield tag >> 3, message[at : at + size]
        at += size


def _signed(number: int) -> int:
    """Returns what the lower 64 bits stand for, as two's complement."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _values(feature: memoryview) -> Values:
    """Returns the bytes or the whole numbers of a feature; numbers with a point are left out."""
    for kind, held in _fields(feature):
        if kind == _BYTES_LIST:
            return [value for _, value in _fields(held)]
        if kind == _INT64_LIST:
            return _integers(held)
    return []


def _integers(held: memoryview) -> list[int]:
    """Returns whole numbers that are packed or stand one a field."""
    numbers: list[int] = []
    for _, value in _fields(held):
        if isinstance(value, int):
            numbers.append(_signed(value))
            continue
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            numbers.append(_signed(number))
    return numbers


def parse(record: bytes | memoryview) -> dict[str, Values]:
    r"""Returns the features of an example by name, bytes as views of ``record``.

    Args:
        record: a serialized ``tf.train.Example``.

    Returns:
        For each name a list of whole numbers or of bytes; features of floats give an empty one.

    Raises:
        ValueError: the bytes are no such message.

    Example:
        >>> parse(b"\n\x10\n\x0e\n\x05label\x12\x05\x1a\x03\n\x01\x07")
        {'label': [7]}
    """
    try:
        found: dict[str, Values] = {}
        for _, features in _fields(memoryview(record)):
            for _, entry in _fields(features):
                pair = dict(_fields(entry))
                found[str(pair[1], "utf-8")] = _values(pair[2])
        return found
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no tf.train.Example: {error}") from error
