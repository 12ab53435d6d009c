"""Mutual contrastive learning in JAX: cohorts of networks that contrast each other's embeddings.

Subpackages are imported by name (``from mcl_jax import losses``); importing one never pulls in
the trainer, and ``mcl_jax.losses`` needs nothing but JAX.
"""

__version__ = "0.1.0"
