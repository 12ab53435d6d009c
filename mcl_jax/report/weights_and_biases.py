"""Figures for Weights & Biases, an optional extra."""

import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

from mcl_jax import atomic


class ReportError(ValueError):
    """A run that cannot be shown as it is asked to: one sentence that names the field."""


class WeightsAndBiases:
    """A run there, which a run that is resumed here goes on with."""

    def __init__(
        self, workdir: pathlib.Path, project: str, name: str, config: dict[str, Any], start: int
    ) -> None:
        """Starts a run, or goes on with the one of the workdir.

        Args:
            workdir: gets ``wandb_id``, which names the run there, and the folder ``wandb``.
            project: that the run belongs to.
            name: of the run, as it is shown.
            config: the run's configuration.
            start: the step to go on after; a run from step 0 on is a new one.

        Raises:
            ReportError: the package is missing, or no run can be started.
        """
        try:
            import wandb
        except ImportError as error:
            raise ReportError(
                f"logging.wandb is {project!r}, which needs the package of Weights & Biases: "
                "pip install wandb."
            ) from error
        try:
            self._run = wandb.init(
                project=project,
                name=name,
                config=config,
                dir=str(workdir),
                id=_identity(workdir / "wandb_id", start),
                resume="allow",
            )
        except wandb.Error as error:
            raise ReportError(
                f"logging.wandb is {project!r}, but Weights & Biases starts no run: "
                f"{' '.join(str(error).split())}"
            ) from error

    def __enter__(self) -> "WeightsAndBiases":
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._run.finish(exit_code=0 if kind is None else 1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Adds figures of a step, each under its tag.

        Steps done twice, before a kill and after it, are the same bit for bit; those that are
        there already are left as they are.
        """
        if step >= self._run.starting_step:
            self._run.log(dict(figures), step=step)


def _identity(path: pathlib.Path, start: int) -> str:
    """The run's identity there: the one that the file keeps, or a new one."""
    if start and path.exists():
        return path.read_text(encoding="utf-8").strip()
    identity = secrets.token_hex(8)
    with atomic.open_to_replace(path) as file:
        file.write(identity + "\n")
    return identity
