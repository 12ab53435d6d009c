"""Files that make a configuration."""

import difflib
import importlib.util
import pathlib
import traceback
from typing import Any

from ml_collections import ConfigDict

from mcl_jax.config import ConfigError

_MAKES = {"config": "configuration", "arms": "arms"}


def load_config(text: str) -> ConfigDict:
    """Runs ``get_config`` of a file.

    Args:
        text: ``FILE`` or ``FILE:ARG``; the part behind the colon is the function's argument.

    Returns:
        What the function returns.

    Raises:
        ConfigError: there is no such file, it is broken, or it returns something else.
    """
    file, colon, argument = text.partition(":")
    if not file:
        raise ConfigError("--config must be a Python file, got nothing.")
    path = pathlib.Path(file)
    config = run_file(path, "get_config", "config", *([argument] if colon else []))
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"get_config of {path} must return a ConfigDict, got {type(config).__name__}."
        )
    return config


def run_file(path: pathlib.Path, function: str, flag: str, *arguments: str) -> Any:
    """Runs a function of a Python file that a flag names.

    Args:
        path: the file.
        function: its name.
        flag: without dashes.
        arguments: of the function.

    Returns:
        What the function returns.

    Raises:
        ConfigError: there is no such file or function, or one of them is broken.
    """
    _check_is_python(path, flag)
    spec = importlib.util.spec_from_file_location(f"{flag}_of_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = getattr(module, function, None)
        if not callable(found):
            raise ConfigError(f"{path} must define {function}(), which makes the {_MAKES[flag]}.")
        return found(*arguments)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path} cannot be run: {_reason(error, path)}.") from error


def _check_is_python(path: pathlib.Path, flag: str) -> None:
    """Raises ConfigError unless there is such a file."""
    if path.is_file() and path.suffix == ".py":
        return
    if path.exists():
        raise ConfigError(f"--{flag} must be a Python file, got {path}.")
    files = sorted(str(each) for each in path.parent.glob("*.py"))
    near = difflib.get_close_matches(str(path), files, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ConfigError(f"--{flag} must be a file that exists, got {str(path)!r}{hint}")


def _reason(error: BaseException, path: pathlib.Path) -> str:
    """The exception in one line, and the line of the file that it comes from."""
    lines = [x.lineno for x in traceback.extract_tb(error.__traceback__) if x.filename == str(path)]
    text = str(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines, text = [error.lineno], error.msg
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {' '.join(text.split())}".rstrip(": .")
