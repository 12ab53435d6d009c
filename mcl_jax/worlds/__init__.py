"""Which task do pairs of views teach? Worlds whose pairs share exactly what one chooses.

`moving_digits` draws the pairs, `encoder` is the small network that sees them, `training` trains a
pair of encoders by InfoNCE, and `experiment` reads the first one out by `read_outs`.
``python -m mcl_jax.worlds`` runs all subsets of shared factors over several seeds.
"""

from mcl_jax.worlds.encoder import Encoder
from mcl_jax.worlds.experiment import SUBSETS, Errors, World, carry_out, load_world
from mcl_jax.worlds.moving_digits import FACTORS, Factors, Labels, Material, Pairs, draw_pairs
from mcl_jax.worlds.read_outs import read_classes, read_positions
from mcl_jax.worlds.training import Settings

__all__ = [
    "FACTORS",
    "SUBSETS",
    "Encoder",
    "Errors",
    "Factors",
    "Labels",
    "Material",
    "Pairs",
    "Settings",
    "World",
    "carry_out",
    "draw_pairs",
    "load_world",
    "read_classes",
    "read_positions",
]
