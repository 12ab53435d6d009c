"""Heads: from features to what is contrasted."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from mcl_jax.losses import l2_normalize
from mcl_jax.models.blocks import linear


class ProjectionHead(nn.Module):
    """L2(W2 ReLU(W1 features + b1) + b2): the head of MCL, one a network, dropped at test.

    Yang et al., arXiv 2104.12565; layers start as PyTorch's.

    Attributes:
        dim: width D of the hidden layer and of the embedding.
        dtype: of the computation.
        param_dtype: of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = ProjectionHead(dim=16), jnp.ones((2, 64))
        >>> head.apply(head.init(jax.random.key(0), features), features).shape
        (2, 16)
    """

    dim: int = 128
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Array) -> Array:
        """Projects features onto the unit sphere.

        Args:
            features: ``[..., F]``.

        Returns:
            Unit vectors ``[..., D]``, float32 or wider.
        """
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = linear(self.dim, features.shape[-1], name="linear1", **types)(features)
        x = linear(self.dim, self.dim, name="linear2", **types)(nn.relu(x))
        return l2_normalize(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
