"""Writes the page of a run, or one that compares several: ``python -m mcl_jax.report DIR``."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from mcl_jax.report.page import WorkdirError, write_page


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page that the arguments ask for and says where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m mcl_jax.report",
        description="Writes a self-contained HTML page of a finished or running run: "
        "DIR/report.html. Several folders give one page that compares them: comparison.html.",
    )
    parser.error = _refuse  # type: ignore[method-assign]  # 1 is bad input, as everywhere
    parser.add_argument("workdirs", nargs="+", metavar="DIR", help="workdir of a run")
    parser.add_argument("--output", metavar="FILE", help="write the page to FILE instead")
    options = parser.parse_args(arguments)
    try:
        path = write_page(options.workdirs, options.output)
    except WorkdirError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename} cannot be written: {error.strerror}.")
    sys.stdout.write(f"{path}\n")


def _refuse(message: str) -> NoReturn:
    """Ends with one sentence."""
    sys.exit(f"error: {message}.")


if __name__ == "__main__":
    main()
