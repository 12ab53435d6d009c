"""What a field of a configuration is."""

import dataclasses
from typing import Any


class ConfigError(ValueError):
    """A configuration that cannot be run: one sentence that names the field."""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a configuration; the type of its default is the type of its values.

    Attributes:
        default: a bool, int, float, str, or a tuple of ``items``.
        meaning: a few words.
        choices: the only values, where there are some.
        least: no value is smaller.
        above: every value is larger.
        below: every value is smaller.
        items: what a tuple holds, ``float``, ``int`` or ``str``.
    """

    default: Any
    meaning: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    below: float | None = None
    items: type = float
