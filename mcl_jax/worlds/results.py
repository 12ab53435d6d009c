"""What was measured in a world: runs, their means over seeds, and the file that keeps them."""

import json
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from mcl_jax.atomic import write_json
from mcl_jax.studies.statistics import Interval, student
from mcl_jax.worlds.experiment import BESIDE, CANDIDATES, SUBSETS, Errors
from mcl_jax.worlds.training import Settings

FILE = "worlds.json"


class Measure(NamedTuple):
    """A column: its title, its unit, the factor from what is stored to the unit, its decimals."""

    title: str
    unit: str
    factor: float
    decimals: int


MEASURES = {
    "digit": Measure("digit", "error, %", 100, 1),
    "background": Measure("background", "error, %", 100, 1),
    "position": Measure("position", "error, pixels", 1, 2),
    "information": Measure("information", "nats", 1, 2),
}


class Run(NamedTuple):
    """One encoder of one seed, and how long it took."""

    encoder: str
    seed: int
    errors: Errors
    seconds: float


class ResultsError(ValueError):
    """A file of results cannot be gone on with."""


def read_runs(folder: pathlib.Path, settings: Settings) -> list[Run]:
    """Runs that ``worlds.json`` of a folder holds; none where there is no such file.

    Args:
        folder: of the results.
        settings: those that all of its runs must have.

    Raises:
        ResultsError: the file cannot be read, or its runs have other settings.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        found = Settings(**held["settings"])
        runs = [Run(**{**run, "errors": Errors(**run["errors"])}) for run in held["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} cannot be read as results; move it away.") from error
    for name, value in found._asdict().items():
        wanted = getattr(settings, name)
        if value != wanted:
            raise ResultsError(
                f"{path} holds runs of {name}={value}, got {name}={wanted}: give another --workdir."
            )
    return runs


def write_runs(folder: pathlib.Path, settings: Settings, runs: Sequence[Run]) -> None:
    """Writes ``worlds.json``, whole or not at all: settings, runs, and means with intervals."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / FILE,
        {
            "settings": settings._asdict(),
            "candidates": CANDIDATES,
            "means": {
                encoder: {
                    name: interval._asdict() for name, interval in means(runs, encoder).items()
                }
                for encoder in encoders(runs)
            },
            "runs": [run._asdict() | {"errors": run.errors._asdict()} for run in runs],
        },
    )


def carry_out_missing(
    folder: pathlib.Path,
    settings: Settings,
    chosen: Sequence[str],
    seeds: Iterable[int],
    carry_out: Callable[[str, int], Errors],
    tell: Callable[[Run], None],
) -> list[Run]:
    """Carries out what a folder does not hold yet, and writes the results after each run.

    Args:
        folder: of the results.
        settings: of the runs.
        chosen: encoders.
        seeds: each encoder has all of them.
        carry_out: trains and judges an encoder of a seed.
        tell: is shown each new run.

    Returns:
        All runs of the folder, those of earlier commands too.

    Raises:
        ResultsError: what the folder holds has other settings, or cannot be read.
    """
    runs = read_runs(folder, settings)
    done = {(run.encoder, run.seed) for run in runs}
    for seed in seeds:  # all encoders of a seed first: what is compared shares its seed
        for encoder in chosen:
            if (encoder, seed) in done:
                continue
            start = time.perf_counter()
            errors = carry_out(encoder, seed)
            runs.append(Run(encoder, seed, errors, time.perf_counter() - start))
            write_runs(folder, settings, runs)
            tell(runs[-1])
    return runs


def encoders(runs: Sequence[Run]) -> list[str]:
    """Encoders that have runs: subsets first, then those beside them."""
    found = {run.encoder for run in runs}
    return [encoder for encoder in SUBSETS + BESIDE if encoder in found]


def means(runs: Sequence[Run], encoder: str) -> dict[str, Interval]:
    """Mean of each measure over an encoder's seeds, with Student's interval at 95 %."""
    of_all = [run.errors._asdict() for run in runs if run.encoder == encoder]
    values: dict[str, list[Any]] = {
        name: [errors[name] for errors in of_all if errors[name] is not None] for name in MEASURES
    }
    return {name: student(found) for name, found in values.items() if found}


def cell(interval: Interval | None, name: str) -> str:
    """A mean and half of its interval in the measure's unit: ``12.3 ± 0.4``.

    Example:
        >>> cell(student([0.1, 0.12]), "digit"), cell(student([2.5]), "position")
        ('11.0 ± 12.7', '2.50')
        >>> cell(None, "information")
        '-'
    """
    if interval is None:
        return "-"
    _, _, factor, decimals = MEASURES[name]
    mean = f"{factor * interval.mean:.{decimals}f}"
    if interval.high is None:
        return mean
    return f"{mean} ± {factor * (interval.high - interval.mean):.{decimals}f}"
