"""Algorithms: how a batch becomes views, embeddings and a loss.

A method is one value of pure functions, `Method`; the trainer runs any of them and knows no paper.
To add one, write a function ``(config, setting) -> Method`` and decorate it with `register`.
"""

from mcl_jax.methods import supervised_mcl as _supervised_mcl
from mcl_jax.methods.method import Method, Setting, Specs, Update, moves_all
from mcl_jax.methods.registry import create, names, register

__all__ = ["Method", "Setting", "Specs", "Update", "create", "moves_all", "names", "register"]

del _supervised_mcl
