"""What commands share: flags and the configuration they give, help, and what is said of errors.

Importing this loads no JAX, so mistakes on the command line are answered at once.
"""

from mcl_jax.command.arguments import Arguments, Processes, parse
from mcl_jax.command.evaluate_arguments import (
    EvaluateArguments,
    evaluate_help,
    parse_evaluate,
)
from mcl_jax.command.failures import explain
from mcl_jax.command.help_page import help_page
from mcl_jax.command.study_arguments import parse_study
from mcl_jax.command.study_help import study_help

__all__ = [
    "Arguments",
    "EvaluateArguments",
    "Processes",
    "evaluate_help",
    "explain",
    "help_page",
    "parse",
    "parse_evaluate",
    "parse_study",
    "study_help",
]
