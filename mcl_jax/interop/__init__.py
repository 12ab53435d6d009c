"""Weights from PyTorch and back: state dictionaries and safetensors files, one network or many."""

from mcl_jax.interop.files import (
    Stored,
    describe,
    load_cohort,
    load_safetensors,
    save_cohort,
    save_safetensors,
)
from mcl_jax.interop.naming import CLASSIFIERS
from mcl_jax.interop.weights import load_torch, to_torch

__all__ = [
    "CLASSIFIERS",
    "Stored",
    "describe",
    "load_cohort",
    "load_safetensors",
    "load_torch",
    "save_cohort",
    "save_safetensors",
    "to_torch",
]
