"""Which task a pair of views teaches, in a world of moving digits: ``python -m mcl_jax.worlds``."""

import difflib
import functools
import os
import pathlib
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from mcl_jax import atomic
from mcl_jax.command import explain
from mcl_jax.command.arguments import Flag, check_given, read_flags
from mcl_jax.command.help_page import table
from mcl_jax.config import ConfigError

_FACTORS = ("digit", "background", "position")

_FLAGS = (
    Flag("shared", "all", "--shared=all", "Factors that the two views share: see above."),
    Flag("seeds", 5, "--seeds=5", "How many seeds each encoder is trained with, from 0 on."),
    Flag("steps", 1000, "--steps=1000", "Steps of training of an encoder."),
    Flag("workdir", "runs/worlds", "--workdir=runs/worlds", "Folder of the results."),
    Flag("help", False, "--help", "Show this page."),
)

_INTRODUCTION = """\
A digit moves over a photograph. Two encoders, one of the sequence and one of a single later image,
are trained by InfoNCE on pairs that share the digit, the background, the position, or some of them.
The first one is frozen, and linear read-outs say what it knows of each; beside it stand an encoder
that is untrained, one that was told the labels, and one that is blind.

  python -m mcl_jax.worlds                                      all seven subsets
  python -m mcl_jax.worlds --shared=digit,position --seeds=3    one of them
  python -m mcl_jax.worlds --shared='digit; digit,background'   several

The same command goes on where it stopped, and with more seeds or subsets runs what is missing."""

_WORKDIR = (
    ("worlds.json", "settings, every run, means with intervals; after each run"),
    ("worlds.html", "a page with the table, plots, and pictures of pairs"),
)


class _Wanted(NamedTuple):
    """What a command line asks for."""

    subsets: tuple[str, ...]
    seeds: int
    steps: int
    folder: pathlib.Path


def main(argv: Sequence[str] | None = None) -> int:
    """Carries out what the words of a command line ask for, and shows what came out.

    Args:
        argv: the words behind the name of the command; those of this process if None.

    Returns:
        The exit code: 0 done, 1 bad input, 130 Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        wanted = _parse(words)
        if wanted is None:
            sys.stdout.write(_help() + "\n")
            return 0
        _run(wanted, shlex.join(["python", "-m", "mcl_jax.worlds", *words]))
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on after the last run that was whole.\n")
        return 130
    except Exception as error:
        told = explain(error, None)
        if told is None:
            raise
        sys.stderr.write(f"{told[1]}\n")
        return told[0]
    return 0


def _help() -> str:
    return "\n\n".join(
        [
            _INTRODUCTION,
            "Flags:\n" + table([(flag.shown, flag.meaning) for flag in _FLAGS]),
            "In the workdir:\n" + table(_WORKDIR),
        ]
    )


def _parse(words: list[str]) -> _Wanted | None:
    """The command line, or None where it asks for help."""
    values, rest = read_flags(words, _FLAGS)
    if values.help:
        return None
    check_given(values, _FLAGS)
    if values.config:
        raise ConfigError("there is no flag --config; --help lists all.")
    for word in rest:
        name = word.lstrip("-").partition("=")[0]
        near = difflib.get_close_matches(name, [flag.name for flag in _FLAGS], n=1)
        hint = f"did you mean --{near[0]}?" if near else "--help lists all."
        if not word.startswith("-"):
            raise ConfigError(f"{word!r} belongs to no flag; {hint}")
        raise ConfigError(f"there is no flag --{name}; {hint}")
    for name, count in (("seeds", values.seeds), ("steps", values.steps)):
        if count < 1:
            raise ConfigError(f"--{name} must be at least 1, got {count}.")
    return _Wanted(
        _subsets(values.shared), values.seeds, values.steps, pathlib.Path(values.workdir)
    )


def _subsets(text: str) -> tuple[str, ...]:
    """Names of the subsets that ``--shared`` lists; of all seven none."""
    if text.strip() == "all":
        return ()
    subsets = [_subset(part) for part in text.split(";")]
    twice = [subset for subset in subsets if subsets.count(subset) > 1]
    if twice:
        raise ConfigError(f"--shared must name each subset once, got {twice[0]} twice.")
    return tuple(subsets)


def _subset(text: str) -> str:
    """One subset's name, its factors in the order of all."""
    factors = [factor.strip() for factor in re.split(r"[,+]", text)]
    for factor in factors:
        if factor not in _FACTORS:
            near = difflib.get_close_matches(factor, _FACTORS, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ConfigError(
                f"--shared must be all, or factors among {', '.join(_FACTORS)}, got "
                f"{factor!r}{hint}"
            )
        if factors.count(factor) > 1:
            raise ConfigError(f"--shared must name each factor once, got {factor} twice.")
    return "+".join(factor for factor in _FACTORS if factor in factors)


def _run(wanted: _Wanted, command: str) -> None:
    """Trains, tells, and writes; libraries are loaded when the command line is understood."""
    from rich.console import Console

    from mcl_jax.compilation import compiled_programs_kept
    from mcl_jax.worlds import experiment
    from mcl_jax.worlds.page import page
    from mcl_jax.worlds.results import FILE, ResultsError, carry_out_missing
    from mcl_jax.worlds.table import errors_table, line

    console = Console(width=None if sys.stdout.isatty() else 140)
    settings = experiment.Settings(steps=wanted.steps)
    world = experiment.load_world()
    carry_out = functools.partial(experiment.carry_out, world, settings=settings)
    encoders = (wanted.subsets or experiment.SUBSETS) + experiment.BESIDE
    try:
        with compiled_programs_kept():
            runs = carry_out_missing(
                wanted.folder,
                settings,
                encoders,
                range(wanted.seeds),
                carry_out,
                lambda run: console.print(line(run), soft_wrap=True, highlight=False),
            )
            text = page(world, settings, runs, command)
    except ResultsError as error:
        raise ConfigError(str(error)) from error
    with atomic.open_to_replace(wanted.folder / "worlds.html") as file:
        file.write(text)
    console.print(errors_table(runs))
    for name in (FILE, "worlds.html"):
        console.print(f"{wanted.folder / name}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    # What was whole is on disk, and an exception may be lost in a callback.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    sys.exit(main())
