"""Judges the networks of a run: ``python -m mcl_jax.evaluate --workdir=DIR``.

Nearest neighbours, linear probes, few labels, retrieval, calibration and geometry, of each network
and of the ensembles, beside baselines that learned nothing; ``--source=SOURCE`` judges on another
data set, ``--finetune`` trains all weights on, and ``--help`` explains the rest. The figures go to
``evaluation.json`` in the workdir, and onto its page.
"""

import os
import signal
import sys

from mcl_jax.command import EvaluateArguments, evaluate_help, explain, parse_evaluate


def main(argv: list[str] | None = None) -> int:
    """Evaluates the run that a command line names.

    Args:
        argv: the words behind the name of the command; those of this process if None.

    Returns:
        The exit code: 0 done, 1 bad input, 2 a figure that is not finite, 130 Ctrl-C.
    """
    try:
        arguments = parse_evaluate(sys.argv[1:] if argv is None else argv)
        if arguments is None:
            sys.stdout.write(evaluate_help() + "\n")
            return 0
        _run(arguments)
        return 0
    except (Exception, KeyboardInterrupt) as error:
        told = explain(error, None)
        if told is None:
            raise
        code, sentence = told
        sys.stderr.write(sentence + "\n")
        return code


def _run(arguments: EvaluateArguments) -> None:
    """Evaluates, and shows what came out."""
    from absl import logging
    from rich.console import Console

    from mcl_jax.compilation import compiled_programs_kept
    from mcl_jax.report import write_page
    from mcl_jax.report.evaluation_table import evaluation_table
    from mcl_jax.training.evaluation import Wanted, evaluate_run, file_name
    from mcl_jax.training.fine_tuning import FineTuning

    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    told = Console(stderr=True)
    options = arguments.fine_tuning
    wanted = Wanted(
        arguments.step,
        arguments.source,
        arguments.parts,
        arguments.rows,
        None if options is None else FineTuning(*options),
    )
    with compiled_programs_kept():
        found = evaluate_run(
            arguments.config,
            arguments.workdir,
            wanted,
            lambda text: told.print(f"{text} ...", style="dim", highlight=False),
        )
    console = Console()
    console.print(evaluation_table(found))
    for note in found["notes"]:
        console.print(note, soft_wrap=True, highlight=False)
    other = "" if found["source"] == found["trained_on"] else found["source"]
    console.print(f"Figures: {arguments.workdir / file_name(other)}", soft_wrap=True)
    if arguments.report:
        console.print(f"Page: {write_page([arguments.workdir])}", soft_wrap=True)


if __name__ == "__main__":
    # There is nothing to save, and an exception may be lost in a callback.
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))
    sys.exit(main())
