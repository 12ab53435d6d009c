"""The configuration of a run: every field with its default, and what may go together.

A file in ``configs/`` starts from `default` and changes what differs. ``--config.key=value``
overrides a field on the command line.
"""

from mcl_jax.config.checks import check, unknown_field, wanted
from mcl_jax.config.table import ConfigError, Field, default, extend, fields, flatten, smoke
from mcl_jax.config.workdir import check_workdir, claim, saved_steps

__all__ = [
    "ConfigError",
    "Field",
    "check",
    "check_workdir",
    "claim",
    "default",
    "extend",
    "fields",
    "flatten",
    "saved_steps",
    "smoke",
    "unknown_field",
    "wanted",
]
