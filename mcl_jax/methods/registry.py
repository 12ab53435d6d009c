"""Methods by name."""

import difflib
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from mcl_jax.config import ConfigError, Field, extend, knows_method
from mcl_jax.methods.method import Method, Setting

Builder = Callable[[ConfigDict, Setting], Method]

_BUILDERS: dict[str, Builder] = {}


def register(name: str, fields: Mapping[str, Field] | None = None) -> Callable[[Builder], Builder]:
    """Makes a method known as ``config.method.name``.

    Args:
        name: a new name.
        fields: what its configurations have besides those of every configuration; those of the
            library's own methods are in `mcl_jax.config`.

    Returns:
        A decorator for a function ``(config, setting) -> Method``.

    Raises:
        ValueError: the name is taken.
    """

    def add(builder: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"method {name!r} is registered already.")
        if fields is not None or not knows_method(name):
            extend(name, fields or {})
        _BUILDERS[name] = builder
        return builder

    return add


def names() -> tuple[str, ...]:
    """The methods that `create` knows."""
    return tuple(sorted(_BUILDERS))


def create(config: ConfigDict, setting: Setting) -> Method:
    """Builds ``config.method.name``.

    Args:
        config: the whole configuration of a run.
        setting: classes, image statistics, axes and optimiser.

    Raises:
        ConfigError: no method has that name.
    """
    name = config.method.name
    if name not in _BUILDERS:
        nearest = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise ConfigError(f"method.name must be one of {', '.join(names())}, got {name!r}{hint}")
    return _BUILDERS[name](config, setting)
