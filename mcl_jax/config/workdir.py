"""Which run a workdir belongs to."""

import json
import pathlib
import re
from typing import Any

from ml_collections import ConfigDict

from mcl_jax import atomic
from mcl_jax.config.field import ConfigError
from mcl_jax.config.table import flatten

_TOLD = 5  # differences
_MAY_DIFFER = re.compile(
    r"training\.(steps|epochs|log_every|keep_checkpoints)|(evaluation|logging)\..*|name"
    r"|parallel\.(platform|cohort_devices)|data\.(workers|corrupt)"
)


def claim(workdir: str | pathlib.Path, config: ConfigDict, steps: int) -> pathlib.Path:
    """Makes the workdir of a run and writes ``config.json`` there, or finds the same run in it.

    Args:
        workdir: the folder.
        config: the whole configuration.
        steps: of the whole run.

    Returns:
        The folder.

    Raises:
        ConfigError: the folder cannot be written, or holds a run of another configuration (the
            length of the run, logging, evaluation, data.workers and data.corrupt may differ) or of
            more steps.
    """
    folder = pathlib.Path(workdir)
    check_workdir(folder, config, steps)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / "config.json", _plain(config))
    except OSError as error:
        raise ConfigError(f"workdir {folder} cannot be written: {error.strerror}.") from error
    return folder


def check_workdir(workdir: str | pathlib.Path, config: ConfigDict, steps: int) -> None:
    """As `claim`, but writes nothing."""
    folder = pathlib.Path(workdir)
    saved = saved_steps(folder / "checkpoints")
    if not saved:
        return  # nothing is lost by starting anew
    try:
        there = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = None
    if not isinstance(there, dict):
        raise ConfigError(
            f"workdir {folder} holds checkpoints, but its config.json is missing or damaged: it "
            f"cannot be told whether they are of this run."
        )
    _refuse_another(folder, there, _plain(config))
    if steps < max(saved):
        raise ConfigError(
            f"training.steps must be at least the {max(saved)} that {folder} has done, got {steps}."
        )


def saved_steps(folder: pathlib.Path) -> list[int]:
    """Steps of the complete states in a folder of checkpoints, the oldest first."""
    names = (x.name for x in folder.glob("*"))
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def _plain(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON holds it."""
    return json.loads(json.dumps(config.to_dict()))


def _refuse_another(folder: pathlib.Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raises ConfigError with the fields that differ, but for those that may."""
    there, now = flatten(ConfigDict(old)), flatten(ConfigDict(new))
    changes = [
        f"{name} ({there.get(name)} there, {now.get(name)} now)"
        for name in sorted(there.keys() | now.keys())
        if there.get(name) != now.get(name) and not _MAY_DIFFER.fullmatch(name)
    ]
    if changes:
        more = f" and {len(changes) - _TOLD} more" if len(changes) > _TOLD else ""
        raise ConfigError(
            f"workdir {folder} holds a run with another {', '.join(changes[:_TOLD])}{more}."
        )
