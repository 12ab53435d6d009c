"""From the words of the study's command line to arms that may run."""

import pathlib
import re
from typing import Any

from ml_collections import ConfigDict

from mcl_jax.command.arguments import Flag, check_given, only_file, overridden, read_flags
from mcl_jax.command.config_file import load_config, run_file
from mcl_jax.config import ConfigError, check
from mcl_jax.studies.arms import Arm, ArmText, changed, check_arms, parse_arms, with_method
from mcl_jax.studies.runs import Study

EVALUATIONS = ("auto", "always", "never", "views")

FLAGS = (
    Flag("arms", "", "--arms=ARMS", "What is compared: see above, or a Python file."),
    Flag("seeds", 5, "--seeds=5", "How many seeds each arm is run with, from config.seed on."),
    Flag("workdir", None, "--workdir=DIR", "Folder of the study; runs/<name>-study if not given."),
    Flag(
        "evaluate",
        "auto",
        "--evaluate=auto",
        "Every protocol for each run: auto (where networks do not classify), always, never, or "
        "views (always, and what the two views share).",
    ),
    Flag("together", 1, "--together=1", "So many seeds of an arm are trained in one program."),
    Flag("help", False, "--help", "Show this page."),
)


def parse_study(argv: list[str]) -> Study | None:
    """Understands the words behind the name of the command.

    Args:
        argv: the words.

    Returns:
        The study that they ask for, or None where they ask for help.

    Raises:
        ConfigError: a flag, a file, an arm or a field is not as it must be.
    """
    values, overrides = read_flags(argv, FLAGS)
    if values.help:
        return None
    check_given(values, FLAGS)
    for name, count in (("seeds", values.seeds), ("together", values.together)):
        if count < 1:
            raise ConfigError(f"--{name} must be at least 1, got {count}.")
    if values.evaluate not in EVALUATIONS:
        raise ConfigError(
            f"--evaluate must be one of {', '.join(EVALUATIONS)}, got {values.evaluate!r}."
        )
    known = list(values)
    base = overridden(load_config(only_file(values.config, argv)), overrides, known)
    arms = _arms(values.arms, base, overrides, known)
    check_arms(arms)
    for arm in arms:
        _explained(arm.name, check, arm.config)
    first = base.seed
    name = f"{base.name}-study"
    folder = pathlib.Path(f"runs/{name}" if values.workdir is None else values.workdir)
    seeds = tuple(range(first, first + values.seeds))
    return Study(name, folder, tuple(arms), seeds, values.evaluate, values.together)


def _arms(text: str, base: ConfigDict, overrides: list[str], known: list[str]) -> list[Arm]:
    """The arms that a text or a file describes."""
    if not text:
        raise ConfigError(
            "--arms is missing; try --arms='solo: method.networks=1; cohort', or --help."
        )
    if re.fullmatch(r"[^;@\n]+\.py", text):  # an arm may end with a file as well
        return [
            Arm(str(name), _explained(str(name), _of_value, base, value))
            for name, value in _get_arms(pathlib.Path(text)).items()
        ]
    return [
        Arm(arm.name, _explained(arm.name, _of_text, arm, base, overrides, known))
        for arm in parse_arms(text)
    ]


def _of_text(arm: ArmText, base: ConfigDict, overrides: list[str], known: list[str]) -> ConfigDict:
    """The configuration of an arm: its file's or the study's, with its changes."""
    config = base.copy_and_resolve_references()
    if arm.file is not None:
        config = overridden(load_config(arm.file), overrides, known)
    method = arm.changes.get("method.name")
    if method is not None and method != config.method.name:
        config = with_method(config, method)
    return overridden(config, [f"--config.{x}={y}" for x, y in arm.changes.items()], known)


def _of_value(base: ConfigDict, value: Any) -> ConfigDict:
    """The configuration of an arm of a file: whole, or changes by the fields' dotted names."""
    if isinstance(value, ConfigDict):
        return value
    if isinstance(value, dict):
        return changed(base, value)
    raise ConfigError(
        f"get_arms must give each a ConfigDict or a dict of fields, got {type(value).__name__}."
    )


def _explained(name: str, function: Any, *arguments: Any) -> Any:
    """What the function returns; its ConfigError says which arm it is of."""
    try:
        return function(*arguments)
    except ConfigError as error:
        raise ConfigError(f"arm {name}: {error}") from error


def _get_arms(path: pathlib.Path) -> dict[Any, Any]:
    """What ``get_arms`` of a file returns."""
    arms = run_file(path, "get_arms", "arms")
    if not isinstance(arms, dict):
        raise ConfigError(f"get_arms of {path} must return a dict, got {type(arms).__name__}.")
    return arms
