"""Contrastive objectives within and across networks, as pure functions of arrays.

Axes, in this order: ``M`` networks, ``B`` anchors, ``K`` keys, ``D`` embedding, ``C`` classes.
Everything here needs JAX alone and works under ``jit``, ``vmap``, ``grad``, ``shard_map`` and
``pmap``.
"""

from mcl_jax.losses.bounds import ScoreBounds
from mcl_jax.losses.contrastive import icl, info_nce, vcl
from mcl_jax.losses.masks import not_self, same_class
from mcl_jax.losses.mutual import deep_mutual, logit_distillation, soft_icl, soft_vcl
from mcl_jax.losses.reduction import MCLTerms
from mcl_jax.losses.similarity import cross_network_logits, l2_normalize, mean_cosine
from mcl_jax.losses.terms import mcl_terms

__all__ = [
    "MCLTerms",
    "ScoreBounds",
    "cross_network_logits",
    "deep_mutual",
    "icl",
    "info_nce",
    "l2_normalize",
    "logit_distillation",
    "mcl_terms",
    "mean_cosine",
    "not_self",
    "same_class",
    "soft_icl",
    "soft_vcl",
    "vcl",
]
