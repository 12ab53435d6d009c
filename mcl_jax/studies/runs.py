"""A study carried out: every arm with every seed, each run in a workdir of its own."""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from ml_collections import ConfigDict

from mcl_jax.config import flatten
from mcl_jax.studies.arms import Arm

# The papers' protocols that take seconds on small data; `python -m mcl_jax.evaluate` has more.
PARTS = ("knn", "linear", "few_labels", "geometry")


class Study(NamedTuple):
    """What is to be compared.

    Attributes:
        name: of the study.
        folder: run SEED of ARM is in ``folder/ARM-SEED``.
        arms: differences are from the first one.
        seeds: every arm is run with each.
        evaluate: whether runs are evaluated by every protocol: ``"always"``, ``"never"``,
            ``"auto"``, which is where networks do not classify, or ``"views"``, which is always,
            with what the views share.
        together: so many seeds of an arm are trained in one program.
    """

    name: str
    folder: pathlib.Path
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    evaluate: str = "auto"
    together: int = 1

    @property
    def parts(self) -> tuple[str, ...]:
        """Of the evaluation of a run."""
        return (*PARTS, "views") if self.evaluate == "views" else PARTS


class Trainer(Protocol):
    """Who carries runs out."""

    def check(self, arm: Arm) -> None:
        """Raises ConfigError or DataError, with the arm's name, if it cannot be trained."""

    def train(self, configs: Sequence[ConfigDict], folders: Sequence[pathlib.Path]) -> None:
        """Brings runs that differ in their seeds alone to their end; writes ``summary.json``.

        Raises:
            FloatingPointError: a figure is not finite.
        """

    def evaluate(
        self,
        config: ConfigDict,
        folder: pathlib.Path,
        like: dict[str, Any] | None,
        parts: tuple[str, ...],
    ) -> None:
        """Evaluates parts of a finished run; writes ``evaluation.json``.

        ``like`` is the evaluation of a run on the same data, from which baselines without networks
        may be taken.
        """


class Run(NamedTuple):
    """A run of the study and what became of it.

    Attributes:
        arm: it is of.
        seed: it has.
        folder: its workdir.
        summary: ``summary.json``, or None while it is not finished.
        evaluation: ``evaluation.json``, where there is one.
        failure: why it has no figures, where that is known.
    """

    arm: Arm
    seed: int
    folder: pathlib.Path
    summary: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None
    failure: str | None = None

    @property
    def config(self) -> ConfigDict:
        """The arm's configuration with the seed."""
        config = self.arm.config.copy_and_resolve_references()
        config.seed, config.name = self.seed, self.folder.name
        return config


def carry_out(study: Study, trainer: Trainer, tell: Callable[[list[Run], str], None]) -> list[Run]:
    """Runs whatever is not finished, seed by seed, so that what there is are pairs.

    A run that ends with a figure that is not finite has failed; the others go on. All else that is
    raised ends the study, and the same call goes on where it stopped.

    Args:
        study: what is to be compared.
        trainer: trains and evaluates.
        tell: is called with all runs as they are by then, and a sentence, whenever one is done.

    Returns:
        All runs, seed by seed, in each the arms in their order.

    Raises:
        ConfigError, DataError: an arm cannot be trained, which is found before any is; or a workdir
            holds a run of another configuration.
    """
    runs = [
        Run(arm, seed, study.folder / f"{arm.name}-{seed}")
        for seed in study.seeds
        for arm in study.arms
    ]
    runs = [
        run._replace(summary=_finished(run), evaluation=_evaluated(run, study.parts))
        for run in runs
    ]
    for arm in study.arms:
        if any(run.arm is arm and _waits(run) for run in runs):
            trainer.check(arm)
    for first in range(len(runs)):
        places = _group(study, runs, first)
        for place, run in zip(places, _trained([runs[i] for i in places], trainer), strict=True):
            before, runs[place] = runs[place], _judged(study, run, runs, trainer)
            if runs[place] is not before:
                tell(runs, _sentence(runs, place))
    return runs


def _group(study: Study, runs: list[Run], first: int) -> list[int]:
    """Places of the runs of an arm that are trained with the first; it alone if it is trained."""
    if not _waits(runs[first]):
        return [first]
    arm = runs[first].arm
    waiting = [i for i, run in enumerate(runs) if run.arm is arm and _waits(run)]
    return waiting[: study.together]


def _waits(run: Run) -> bool:
    """Whether a run is yet to be trained."""
    return run.summary is None and run.failure is None


def _trained(runs: list[Run], trainer: Trainer) -> list[Run]:
    """Runs of one arm after training; where one of several fails, each is brought to its end."""
    if not _waits(runs[0]):
        return runs
    try:
        trainer.train([run.config for run in runs], [run.folder for run in runs])
    except FloatingPointError as error:
        if len(runs) > 1:
            return [run for one in runs for run in _trained([one], trainer)]
        return [runs[0]._replace(failure=str(error))]
    return [run._replace(summary=_finished(run)) for run in runs]


def _judged(study: Study, run: Run, runs: list[Run], trainer: Trainer) -> Run:
    """A run after its evaluation, if it is to have one and has none."""
    if run.summary is None or run.evaluation is not None or study.evaluate == "never":
        return run
    if study.evaluate == "auto" and run.summary["test"].get("answers") != "neighbours":
        return run
    trainer.evaluate(run.config, run.folder, _like(run, runs), study.parts)
    return run._replace(evaluation=_evaluated(run, study.parts))


def _like(run: Run, runs: list[Run]) -> dict[str, Any] | None:
    """The evaluation of a run on the same data, where there is one."""
    wanted = _data_of(run.arm)
    return next((x.evaluation for x in runs if x.evaluation and _data_of(x.arm) == wanted), None)


def _data_of(arm: Arm) -> dict[str, Any]:
    """The fields that say what baselines are measured on."""
    fields = flatten(arm.config).items()
    return {name: x for name, x in fields if name.startswith(("data.", "evaluation."))}


def _finished(run: Run) -> dict[str, Any] | None:
    """The summary of a finished run of this very configuration; None has it carried out."""
    summary, there = _read(run.folder / "summary.json"), _read(run.folder / "config.json")
    if summary is None or there is None:
        return None
    wanted = json.loads(json.dumps(run.config.to_dict()))
    ignored = ("name", "logging.", "parallel.")
    now, before = (
        {k: v for k, v in flatten(ConfigDict(x)).items() if not k.startswith(ignored)}
        for x in (wanted, there)
    )
    return summary if now == before else None


def _evaluated(run: Run, parts: tuple[str, ...]) -> dict[str, Any] | None:
    """The evaluation of the run's last step by all of these parts."""
    evaluation, summary = _read(run.folder / "evaluation.json"), _read(run.folder / "summary.json")
    if evaluation is None or summary is None or evaluation.get("step") != summary.get("steps"):
        return None
    return evaluation if set(parts) <= set(evaluation.get("parts", ())) else None


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    """An object of a file; None where there is none, or where it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _sentence(runs: list[Run], place: int) -> str:
    """What became of a run."""
    run = runs[place]
    about = f"{run.folder.name} ({place + 1} of {len(runs)})"
    if run.failure is not None:
        return f"{about} failed: {run.failure}"
    if run.summary is None:
        return f"{about} is not finished."
    members = run.summary["test"]["accuracy"]
    return f"{about}: {100 * sum(members) / len(members):.1f} % on test, mean of members."
