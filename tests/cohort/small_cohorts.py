"""Cohorts so small that their tests compile in a moment."""

import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax import cohort, models
from mcl_jax.models.blocks import Layers

CLASSES, DIM = 3, 8
IMAGES = np.random.default_rng(1).normal(size=(5, 6, 6, 1)).astype(np.float32)
# What is wanted here is values: XLA need not make them fast.
quickly = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def network(*widths: int, frozen: tuple[str, ...] = (), **options: Any) -> cohort.Network:
    """A residual network of these widths, four channels if none are given."""
    encoder = models.SmallResNet(CLASSES, widths=widths or (4,), layers=Layers(**options))
    return cohort.Network(encoder, models.create_head("mcl", DIM), frozen)


def drawn(networks: cohort.Cohort) -> types.SimpleNamespace:
    """The variables of a cohort, whose running statistics are not those they start with."""
    init = quickly(lambda key: cohort.init(networks, key, jnp.asarray(IMAGES)))
    initial = init(jax.random.key(0))
    moved = jax.tree.map(lambda x: x + 0.7, initial["batch_stats"])
    return types.SimpleNamespace(
        cohort=networks, initial=initial, variables={**initial, "batch_stats": moved}
    )


def assert_trees_close(tree: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """Equal structure, and numbers as close as that."""

    def close(x: Any, y: Any) -> None:
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)

    jax.tree.map(close, tree, expected)
