"""The configuration of a run: every field with its default, and what may go together.

A file in ``configs/`` starts from the `default` of a method and changes what differs.
``--config.key=value`` overrides a field on the command line.
"""

from mcl_jax.config.checks import check, unknown_field, wanted
from mcl_jax.config.field import ConfigError, Field
from mcl_jax.config.looks import Looks, looks_of_networks
from mcl_jax.config.predictive import PREDICTIVE, predictive, split_predictive
from mcl_jax.config.presets import PRESETS, Preset, preset, pycontrast, split_smoke
from mcl_jax.config.table import (
    default,
    extend,
    fields,
    flatten,
    known_methods,
    knows_method,
    own_fields,
    smoke,
)
from mcl_jax.config.workdir import check_workdir, claim, saved_steps

__all__ = [
    "PREDICTIVE",
    "PRESETS",
    "ConfigError",
    "Field",
    "Looks",
    "Preset",
    "check",
    "check_workdir",
    "claim",
    "default",
    "extend",
    "fields",
    "flatten",
    "known_methods",
    "knows_method",
    "looks_of_networks",
    "own_fields",
    "predictive",
    "preset",
    "pycontrast",
    "saved_steps",
    "smoke",
    "split_predictive",
    "split_smoke",
    "unknown_field",
    "wanted",
]
