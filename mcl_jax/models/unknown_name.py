"""What is said of a name that no encoder and no head has."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not known; it points to the nearest one.

    Args:
        kind: what was looked for, ``"encoder"``.
        name: what was given.
        known: the names that there are.

    Returns:
        The error, to be raised.

    Example:
        >>> unknown_name("head", "linea", ["mcl", "linear"])
        ValueError("unknown head 'linea'; did you mean 'linear'? Known: mcl, linear.")
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return ValueError(
        f"unknown {kind} {name!r}; did you mean {near[0]!r}? Known: {', '.join(names)}."
    )
