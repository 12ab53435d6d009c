"""Algorithms: how a batch becomes views, embeddings and a loss.

A method is one value of pure functions, `Method`; the trainer runs any of them and knows no paper.
To add one, write a function ``(config, setting) -> Method`` and decorate it with `register`.
"""

from mcl_jax.methods import global_local as _global_local
from mcl_jax.methods import instance_discrimination as _instance_discrimination
from mcl_jax.methods import learned_views as _learned_views
from mcl_jax.methods import local_aggregation as _local_aggregation
from mcl_jax.methods import moco as _moco
from mcl_jax.methods import simclr as _simclr
from mcl_jax.methods import supervised_bank as _supervised_bank
from mcl_jax.methods import supervised_mcl as _supervised_mcl
from mcl_jax.methods.method import Method, Setting, Specs, Update, moves_all
from mcl_jax.methods.registry import create, names, register

__all__ = ["Method", "Setting", "Specs", "Update", "create", "moves_all", "names", "register"]

del _global_local, _learned_views
del _instance_discrimination, _local_aggregation, _moco, _simclr
del _supervised_bank, _supervised_mcl
