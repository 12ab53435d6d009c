"""Contrastive objectives within and across networks, as pure functions of arrays.

Axes, in this order: ``M`` networks, ``B`` anchors, ``K`` keys, ``D`` embedding, ``C`` classes.
Everything here needs JAX alone and works under ``jit``, ``vmap``, ``grad``, ``shard_map`` and
``pmap``.
"""

from mcl_jax.losses.bank_terms import bank_terms
from mcl_jax.losses.bounds import ScoreBounds
from mcl_jax.losses.contrastive import icl, info_nce, vcl
from mcl_jax.losses.debiasing import debiased, decoupled
from mcl_jax.losses.geometry import alignment, effective_rank, linear_cka, uniformity
from mcl_jax.losses.in_batch import nt_xent, supcon
from mcl_jax.losses.instances import (
    Partition,
    init_partition,
    instance_discrimination,
    log_partition,
    nce,
    update_partition,
)
from mcl_jax.losses.masks import not_self, same_class
from mcl_jax.losses.multiview import cmc
from mcl_jax.losses.mutual import deep_mutual, logit_distillation, soft_icl, soft_vcl
from mcl_jax.losses.neighbours import close_neighbours, local_aggregation
from mcl_jax.losses.reduction import MCLTerms
from mcl_jax.losses.regression import cosine_regression
from mcl_jax.losses.similarity import cross_network_logits, l2_normalize, mean_cosine
from mcl_jax.losses.terms import mcl_terms
from mcl_jax.losses.topologies import topology

__all__ = [
    "MCLTerms",
    "Partition",
    "ScoreBounds",
    "alignment",
    "bank_terms",
    "close_neighbours",
    "cmc",
    "cosine_regression",
    "cross_network_logits",
    "debiased",
    "decoupled",
    "deep_mutual",
    "effective_rank",
    "icl",
    "info_nce",
    "init_partition",
    "instance_discrimination",
    "l2_normalize",
    "linear_cka",
    "local_aggregation",
    "log_partition",
    "logit_distillation",
    "mcl_terms",
    "mean_cosine",
    "nce",
    "not_self",
    "nt_xent",
    "same_class",
    "soft_icl",
    "soft_vcl",
    "supcon",
    "topology",
    "uniformity",
    "update_partition",
    "vcl",
]
