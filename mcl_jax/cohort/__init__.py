"""M networks as one: alike or not, sharing their lower stages or not.

Like networks form a *group*: their variables are stacked, the network axis in front, and one `vmap`
runs them all. A cohort is a few groups; of unlike ones only embeddings ``[M, B, D]`` and logits
``[M, B, C]`` are joined, in the order of the groups. Network a is initialised from ``fold_in(key,
a)`` alone, so the first network of any cohort is the solo network of the same key.

A cohort's variables are ``{"params": {KEY: tree}, "batch_stats": {KEY: tree}}`` with a KEY such as
``"networks_0_to_1"`` for each group. A tree is ``{"encoder": ..., "head": ...}`` with leaves
``[m, ...]``; where the group shares its lower stages it is ``{"shared": tree, "members": tree}``,
the former's leaves without a network axis.
"""

from mcl_jax.cohort.groups import Cohort, Group, apply, apply_patches, init, like, look, networks_of
from mcl_jax.cohort.members import (
    load_member,
    parameter_counts,
    replace,
    save_member,
    select,
    size,
)
from mcl_jax.cohort.network import PATCHES, Network, network
from mcl_jax.cohort.output import Output, ensemble

__all__ = [
    "PATCHES",
    "Cohort",
    "Group",
    "Network",
    "Output",
    "apply",
    "apply_patches",
    "ensemble",
    "init",
    "like",
    "load_member",
    "look",
    "network",
    "networks_of",
    "parameter_counts",
    "replace",
    "save_member",
    "select",
    "size",
]
