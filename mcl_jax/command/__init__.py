"""What commands share: flags and the configuration they give, help, and what is said of errors.

Importing this loads no JAX, so mistakes on the command line are answered at once.
"""

from mcl_jax.command.arguments import Arguments, Processes, parse
from mcl_jax.command.failures import explain
from mcl_jax.command.help_page import help_page

__all__ = ["Arguments", "Processes", "explain", "help_page", "parse"]
