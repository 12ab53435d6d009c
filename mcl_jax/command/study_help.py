"""The page that the study's ``--help`` shows."""

from mcl_jax.command.help_page import table
from mcl_jax.command.study_arguments import FLAGS

_INTRODUCTION = """\
Runs several arms with the same seeds and says what their differences are worth: means, paired
differences from the first arm with Student's intervals at 95 %, what each arm costs, and a page.

  python -m mcl_jax.study --config=configs/quickstart.py \\
      --arms='solo: method.networks=1; cohort; twice: method.networks=1 training.epochs=120'

A study that is started again with the same command goes on where it stopped; with more seeds or
more arms it runs what is missing."""

_ARMS = """\
Arms stand one after the other, parted by semicolons or ends of lines:

  cohort                                      the configuration as it is
  solo: method.networks=1                     with other values in some fields
  ring: method.region=ring method.outer=0.2   fields are parted by spaces or commas
  la: method.name=local_aggregation           another method, with what it shares of the changes
  ir@configs/quickstart_ring.py: ...          from another file; FILE:smoke works too

--config.FIELD=VALUE changes every arm. --arms=FILE.py is a Python file whose get_arms() returns
{name: {field: value}}, or {name: ConfigDict}."""

_WORKDIR = (
    ("ARM-SEED/", "the workdir of a run, as python -m mcl_jax.main leaves it"),
    ("study.json", "every figure, means, differences, costs; after each run"),
    ("study.html", "a page with the table and its plots"),
)

_EXIT_CODES = (
    ("0", "done"),
    ("1", "bad input, a full disk or too little memory; one sentence says what"),
    ("2", "done, but some runs ended with a figure that is not finite"),
    ("130", "stopped by Ctrl-C"),
    ("143", "stopped by SIGTERM"),
)


def study_help() -> str:
    """What the command does, its arms and flags, what it leaves and its exit codes."""
    config = "Python file that makes the configuration; FILE:smoke is a small version of it."
    flags = [("--config=FILE", config), *((flag.shown, flag.meaning) for flag in FLAGS)]
    return "\n\n".join(
        [
            _INTRODUCTION,
            _ARMS,
            "Flags:\n" + table(flags),
            "In the workdir:\n" + table(_WORKDIR),
            "Exit codes:\n" + table(_EXIT_CODES),
        ]
    )
