"""Trains and evaluates a cohort: ``python -m mcl_jax.main --config=configs/quickstart.py``.

``--config=FILE:smoke`` runs a minute's version of a configuration, ``--config.key=value`` changes a
field, and ``--workdir DIR`` says where results go (``runs/<name>`` without it).
"""

import pathlib
import sys

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from mcl_jax.compilation import keep_compiled_programs
from mcl_jax.config import ConfigError
from mcl_jax.data import DataError
from mcl_jax.report import closing_table
from mcl_jax.training import train_and_evaluate

_CONFIG = config_flags.DEFINE_config_file("config", None, "File of the configuration.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the results; runs/<name> if not given.")


def main(argv: list[str]) -> None:
    """Runs the configuration that the flags give."""
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
    keep_compiled_programs()
    config = _CONFIG.value
    workdir = pathlib.Path(_WORKDIR.value or f"runs/{config.name}")
    try:
        summary = train_and_evaluate(config, workdir)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    except DataError as error:
        # The data package speaks of its own arguments, which are fields of config.data.
        field = str(error).partition(" ")[0].partition("=")[0] in config.data
        sys.exit(f"error: {'data.' if field else ''}{error}")
    except FloatingPointError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped; the same command goes on from the checkpoint in {workdir}\n")
        sys.exit(130)
    console = Console()
    console.print(closing_table(summary))
    console.print(f"Results are in {workdir}: summary.json, metrics.jsonl, checkpoints.")


def parse(argv: list[str]) -> list[str]:
    """Parses flags; a mistake in them ends in one sentence."""
    try:
        rest = flags.FLAGS(argv)
        _ = _CONFIG.value.name  # only now a file that could not be loaded is told of
        return rest
    except AttributeError as error:
        sys.exit(f"error: the configuration has no field {str(error).strip(chr(34))}.")
    except OSError as error:
        sys.exit(f"error: the file of --config cannot be loaded: {_last_line(error)}")
    except flags.Error as error:
        sys.exit(f"error: {_last_line(error).removeprefix('mcl_jax.config.ConfigError: ')}")


def _last_line(error: Exception) -> str:
    """The reason, which stands last in what absl says."""
    return str(error).strip().splitlines()[-1].strip()


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main, flags_parser=parse)
