"""Compares arms over seeds: ``python -m mcl_jax.study --config=FILE --arms=... --seeds=5``.

Every arm is run with every seed, each run in a workdir of its own under ``--workdir``. Means,
paired differences from the first arm with their intervals, and what each arm costs go to
``study.json``, a table and ``study.html``. The same command goes on where a study stopped;
``--help`` explains the rest.
"""

import os
import pathlib
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from mcl_jax.command import explain, parse_study, study_help
from mcl_jax.config import ConfigError
from mcl_jax.studies import Arm, Run, Study, carry_out


def main(argv: list[str] | None = None) -> int:
    """Carries out the study that a command line asks for.

    Args:
        argv: the words behind the name of the command; those of this process if None.

    Returns:
        The exit code: 0 done, 1 bad input, 2 some runs have a figure that is not finite, 130
        Ctrl-C.
    """
    folder: pathlib.Path | None = None
    try:
        study = parse_study(sys.argv[1:] if argv is None else argv)
        if study is None:
            sys.stdout.write(study_help() + "\n")
            return 0
        folder = study.folder
        return _run(study)
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on where the study stopped.\n")
        return 130
    except Exception as error:
        told = explain(error, folder)
        if told is None:
            raise
        code, sentence = told
        sys.stderr.write(sentence + "\n")
        return code


class _Here:
    """Runs carried out by this process."""

    def __init__(self, parts: Sequence[str], together: int) -> None:
        self.parts = parts
        self.together = together

    def check(self, arm: Arm) -> None:
        """Raises ConfigError or DataError where the arm's method and data do not go together."""
        from mcl_jax.data import DataError, DataWarning
        from mcl_jax.training.evaluation import VIEWS, check_parts
        from mcl_jax.training.loop import ready
        from mcl_jax.training.together import check_together

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)  # each run will tell
            try:
                if self.together > 1:
                    check_together([arm.config] * 2)
                run = ready(arm.config)
                if VIEWS in self.parts:
                    check_parts([VIEWS], arm.config, run, arm.config.data.source)
            except (ConfigError, DataError) as error:
                raise type(error)(f"arm {arm.name}: {error}") from error

    def train(self, configs: Sequence[ConfigDict], folders: Sequence[pathlib.Path]) -> None:
        """Brings runs to their end, one by one or several seeds in one program."""
        from mcl_jax.training import train_and_evaluate
        from mcl_jax.training.together import train_together

        sys.stdout.write(f"{', '.join(folder.name for folder in folders)} ...\n")
        sys.stdout.flush()
        if len(configs) > 1:
            train_together(configs, folders)
        for config, folder in zip(configs, folders, strict=True):
            train_and_evaluate(config, folder)

    def evaluate(
        self,
        config: ConfigDict,
        folder: pathlib.Path,
        like: dict[str, Any] | None,
        parts: tuple[str, ...],
    ) -> None:
        """Evaluates a finished run by nearest neighbours, probes, geometry, what views share."""
        from mcl_jax.training.evaluation import Wanted, evaluate_run

        evaluate_run(config, folder, Wanted(parts=parts, like=like))


def _run(study: Study) -> int:
    """Carries a study out, and shows what came out."""
    from absl import logging
    from rich.console import Console

    from mcl_jax.compilation import compiled_programs_kept
    from mcl_jax.report import write_json, write_study_page
    from mcl_jax.report.lines import strict
    from mcl_jax.report.study_table import study_tables
    from mcl_jax.studies.results import results

    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    # Files have room for whole rows.
    console = Console(width=None if sys.stdout.isatty() else 140)

    def tell(runs: list[Run], sentence: str) -> None:
        study.folder.mkdir(parents=True, exist_ok=True)
        write_json(study.folder / "study.json", strict(results(study, runs)))
        console.print(sentence, soft_wrap=True, highlight=False)

    with compiled_programs_kept():
        runs = carry_out(study, _Here(study.parts, study.together), tell)
    found = strict(results(study, runs))
    write_json(study.folder / "study.json", found)
    for table in study_tables(found):
        console.print(table)
    for note in found["notes"]:
        console.print(note, soft_wrap=True, highlight=False)
    console.print(f"Results are in {study.folder}", soft_wrap=True)
    console.print(f"Page: {write_study_page(study.folder)}", soft_wrap=True)
    return 2 if any(run.failure for run in runs) else 0


if __name__ == "__main__":
    # Outside of training there is nothing to save, and an exception may be lost in a callback.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    sys.exit(main())
