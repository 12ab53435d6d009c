"""Trains and evaluates a cohort: ``python -m mcl_jax.main --config=configs/quickstart.py``.

``--config=FILE:smoke`` runs a minute's version of a configuration, ``--config.key=value`` changes a
field, ``--workdir=DIR`` says where results go (``runs/<name>`` without it), and ``--help`` explains
the rest. JAX is loaded only when the command line is understood. With ``--distributed``, or with
``--coordinator``, ``--processes`` and ``--process``, this is one of the processes of a run.
"""

import os
import pathlib
import signal
import sys
import traceback
from typing import NoReturn

from mcl_jax.command import Arguments, Processes, explain, help_page, parse


def main(argv: list[str] | None = None) -> int:
    """Runs the configuration that a command line gives.

    Args:
        argv: the words behind the name of the command; those of this process if None.

    Returns:
        The exit code: 0 done, 1 bad input, 2 a figure that is not finite, 130 Ctrl-C.
    """
    workdir: pathlib.Path | None = None
    together = False
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        if arguments is None:
            sys.stdout.write(help_page() + "\n")
            return 0
        workdir = arguments.workdir
        together = _joined(arguments.processes)
        _run(arguments)
        return 0
    except (Exception, KeyboardInterrupt) as error:
        told = explain(error, workdir)
        if together:
            _end_together(told)
        if told is None:
            raise
        code, sentence = told
        sys.stderr.write(sentence + "\n")
        return code


def _joined(processes: Processes | None) -> bool:
    """Joins the other processes of the run, if it is to have any."""
    if processes is None:
        return False
    from mcl_jax.training.processes import start

    start(*processes)
    return True


def _end_together(told: tuple[int, str] | None) -> NoReturn:
    """Ends all processes of the run by the error that is being handled."""
    from mcl_jax.training.processes import end

    if told is None:
        end(1, traceback.format_exc(), expected=False)
    code, sentence = told
    end(code, sentence + "\n")


def _run(arguments: Arguments) -> None:
    """Trains, or tries what training would take, and shows what came out."""
    from absl import logging
    from rich.console import Console

    from mcl_jax.compilation import compiled_programs_kept
    from mcl_jax.report import closing_table, write_page
    from mcl_jax.report.dry_run_table import dry_run_table
    from mcl_jax.training import train_and_evaluate
    from mcl_jax.training.dry_run import dry_run
    from mcl_jax.training.processes import is_writer

    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    console = Console(quiet=not is_writer())
    config, workdir = arguments.config, arguments.workdir
    with compiled_programs_kept():
        if arguments.dry_run:
            console.print(dry_run_table(dry_run(config)))
            return
        summary = train_and_evaluate(config, workdir, profile_steps=arguments.profile)
    console.print(closing_table(summary))
    console.print(f"Results are in {workdir}", soft_wrap=True)
    if arguments.report and is_writer():
        console.print(f"Page: {write_page([workdir])}", soft_wrap=True)


if __name__ == "__main__":
    # Outside of training there is nothing to save, and an exception may be lost in a callback.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    sys.exit(main())
