"""Bytes and seconds as people read them."""

from collections.abc import Sequence


def size(count: float) -> str:
    """A number of bytes.

    Example:
        >>> size(1000), size(3 * 1024**2), size(141 * 1024**3)
        ('1000 B', '3.0 MiB', '141.0 GiB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} EiB"


def duration(seconds: float) -> str:
    """A number of seconds.

    Example:
        >>> duration(0.0123), duration(90), duration(7000), duration(100_000)
        ('12.3 ms', '90.0 s', '1.9 h', '27.8 h')
    """
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    for length, unit in ((1, "s"), (60, "min")):
        if seconds < 100 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 3600:.1f} h"


def each(counts: Sequence[int]) -> str:
    """A count of each network: one number where all are the same.

    Example:
        >>> each([1234, 1234]), each([1234, 5])
        ('1,234', '1,234 and 5')
    """
    different = [f"{count:,}" for count in (counts if len(set(counts)) > 1 else counts[:1])]
    return " and ".join([", ".join(different[:-1]), different[-1]] if different[1:] else different)
