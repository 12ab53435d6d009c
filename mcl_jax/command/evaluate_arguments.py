"""From the words of the evaluation's command line to a run and what is to be measured of it."""

import json
import pathlib
import re
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mcl_jax.command.arguments import Flag, check_given, overridden, read_flags
from mcl_jax.command.help_page import table
from mcl_jax.config import ConfigError, check

# As in mcl_jax.evaluation, which loads JAX.
_OTHERS = ("classifier", "knn", "linear", "sgd", "few_labels", "retrieval", "geometry")
PARTS = (*_OTHERS, "views")

FLAGS = (
    Flag("workdir", None, "--workdir=DIR", "Folder of the run."),
    Flag("step", "newest", "--step=newest", "Of the checkpoint, newest, or best on validation."),
    Flag("source", "", "--source=SOURCE", "Another data set to judge on, as data.source has it."),
    Flag("parts", "", "--parts=A,B", f"Some of {', '.join(PARTS)}; all but views if not given."),
    Flag("rows", 0, "--rows=N", "Training rows at most; evaluation.knn_rows if not given."),
    Flag("finetune", False, "--finetune", "Train all weights on labels too, and from scratch."),
    Flag("finetune_epochs", 10, "--finetune_epochs=10", "Passes over the labelled rows."),
    Flag("finetune_rows", 0, "--finetune_rows=N", "Labelled rows, class-balanced; all without."),
    Flag("finetune_rate", "0.05", "--finetune_rate=0.05", "Learning rate at its peak."),
    Flag("report", True, "--[no]report", "Write report.html with the figures."),
    Flag("help", False, "--help", "Show this page."),
)

_INTRODUCTION = """\
Judges the networks of a run, each and together, by the protocols that papers judge encoders by, and
baselines that learned nothing beside them: the random network, raw pixels, colours.

  python -m mcl_jax.evaluate --workdir=runs/quickstart
  python -m mcl_jax.evaluate --workdir=runs/quickstart --source=digits --parts=knn,linear
  python -m mcl_jax.evaluate --workdir=runs/quickstart --finetune --finetune_rows=100

--config.FIELD=VALUE changes a field that a run may change, such as evaluation.batch_size."""

_WORKDIR = (
    ("evaluation.json", "the figures; evaluation-SOURCE.json on another data set"),
    ("report.html", "the page of the run with them, unless --noreport"),
    ("fine_tuned/", "runs of --finetune, whole ones"),
)

_EXIT_CODES = (
    ("0", "done"),
    ("1", "bad input, a full disk or too little memory; one sentence says what"),
    ("2", "a figure of fine-tuning is not finite"),
    ("130", "stopped by Ctrl-C"),
)


class EvaluateArguments(NamedTuple):
    """What a command line asks for.

    Attributes:
        workdir: of the run.
        config: the run's, from there.
        step: ``"newest"``, ``"best"``, or the step of a checkpoint.
        source: another data set, or empty.
        parts: some of `PARTS`; empty is all but ``views``.
        rows: training rows at most; 0 is the configuration's.
        fine_tuning: epochs, rows (0 is all) and learning rate, or None.
        report: whether to write the page.
    """

    workdir: pathlib.Path
    config: ConfigDict
    step: int | str
    source: str
    parts: tuple[str, ...]
    rows: int
    fine_tuning: tuple[int, int, float] | None
    report: bool


def parse_evaluate(argv: list[str]) -> EvaluateArguments | None:
    """Understands the words behind the name of the command.

    Args:
        argv: the words.

    Returns:
        What they ask for, or None where they ask for help.

    Raises:
        ConfigError: a flag or the run's configuration is not as it must be.
    """
    values, overrides = read_flags(argv, FLAGS)
    if values.help:
        return None
    check_given(values, FLAGS)
    if values.config:
        raise ConfigError("--config is the run's own here, which --workdir names.")
    if values.workdir is None:
        raise ConfigError("--workdir is missing; it names the folder of a run, or try --help.")
    workdir = pathlib.Path(values.workdir)
    config = overridden(saved_config(workdir), overrides, list(values))
    check(config)
    if values.rows < 0:
        raise ConfigError(f"--rows must be at least 0, got {values.rows}.")
    return EvaluateArguments(
        workdir,
        config,
        _step(values.step),
        values.source,
        _parts(values.parts),
        values.rows,
        _fine_tuning(values),
        values.report,
    )


def saved_config(workdir: pathlib.Path) -> ConfigDict:
    """The configuration that a run left in its workdir.

    Args:
        workdir: of the run.

    Raises:
        ConfigError: there is no such folder, or no whole configuration in it.
    """
    if not workdir.is_dir():
        raise ConfigError(f"--workdir must be the folder of a run, but there is no {workdir}.")
    try:
        values = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"--workdir must be the folder of a run, but {workdir} holds no config.json."
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{workdir / 'config.json'} is damaged and cannot be read.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{workdir / 'config.json'} is no configuration.")
    return ConfigDict(_tuples(values))


def evaluate_help() -> str:
    """What the command does, its flags, what it leaves and its exit codes."""
    flags = [(flag.shown, flag.meaning) for flag in FLAGS]
    return "\n\n".join(
        [
            _INTRODUCTION,
            "Flags:\n" + table(flags),
            "In the workdir:\n" + table(_WORKDIR),
            "Exit codes:\n" + table(_EXIT_CODES),
        ]
    )


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _step(text: str) -> int | str:
    if text in ("newest", "best"):
        return text
    if not re.fullmatch(r"\d+", text):
        raise ConfigError(f"--step must be newest, best or a whole number, got {text!r}.")
    return int(text)


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(part for part in re.split(r"[\s,]+", text) if part)
    for part in parts:
        if part not in PARTS:
            raise ConfigError(f"--parts must be some of {', '.join(PARTS)}, got {part!r}.")
    return parts


def _fine_tuning(values: Any) -> tuple[int, int, float] | None:
    """Epochs, rows and learning rate."""
    names = ("finetune_epochs", "finetune_rows", "finetune_rate")
    given = [name for name in names if values[name].present]
    if given and not values.finetune:
        raise ConfigError(f"--{given[0]} is for --finetune, which is not given.")
    if values.finetune_epochs < 1:
        raise ConfigError(f"--finetune_epochs must be at least 1, got {values.finetune_epochs}.")
    if values.finetune_rows < 0:
        raise ConfigError(f"--finetune_rows must be at least 0, got {values.finetune_rows}.")
    rate = values.finetune_rate
    if not re.fullmatch(r"\d*\.?\d+(e-?\d+)?", rate) or not float(rate) > 0:
        raise ConfigError(f"--finetune_rate must be a number above 0, got {rate!r}.")
    wanted = (values.finetune_epochs, values.finetune_rows, float(rate))
    return wanted if values.finetune else None
