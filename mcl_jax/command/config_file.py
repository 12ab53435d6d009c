"""Files that make a configuration."""

import difflib
import importlib.util
import pathlib
import traceback

from ml_collections import ConfigDict

from mcl_jax.config import ConfigError


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
    _check_is_python(path)
    spec = importlib.util.spec_from_file_location("config_of_run", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        get_config = getattr(module, "get_config", None)
        if not callable(get_config):
            raise ConfigError(f"{path} must define get_config(), which makes the configuration.")
        config = get_config(argument) if colon else get_config()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path} cannot be run: {_reason(error, path)}.") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"get_config of {path} must return a ConfigDict, got {type(config).__name__}."
        )
    return config


def _check_is_python(path: pathlib.Path) -> None:
    """Raises ConfigError unless there is such a file."""
    if path.is_file() and path.suffix == ".py":
        return
    if path.exists():
        raise ConfigError(f"--config must be a Python file, got {path}.")
    files = sorted(str(each) for each in path.parent.glob("*.py"))
    near = difflib.get_close_matches(str(path), files, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise ConfigError(f"--config must be a file that exists, got {str(path)!r}{hint}")


def _reason(error: BaseException, path: pathlib.Path) -> str:
    """The exception in one line, and the line of the file that it comes from."""
    lines = [x.lineno for x in traceback.extract_tb(error.__traceback__) if x.filename == str(path)]
    text = str(error)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines, text = [error.lineno], error.msg
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {' '.join(text.split())}".rstrip(": .")
