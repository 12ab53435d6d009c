"""A head whose embeddings have any length, for critics whose scores are to have no bound."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from mcl_jax.models.blocks import linear


class PlainHead(nn.Module):
    """W features + b: a linear head without normalisation.

    Attributes:
        dim: width D of the embedding.
        dtype: of the computation.
        param_dtype: of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = PlainHead(dim=16), jnp.ones((2, 64))
        >>> jax.eval_shape(lambda: head.init_with_output(jax.random.key(0), features)[0]).shape
        (2, 16)
    """

    dim: int = 128
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Array, train: bool = False) -> Array:
        """Embeds features.

        Args:
            features: ``[..., F]``.
            train: changes nothing; heads with batch normalisation are called alike.

        Returns:
            ``[..., D]``, float32 or wider.
        """
        layer = linear(
            self.dim,
            features.shape[-1],
            name="linear1",
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )
        made = layer(features)
        return made.astype(jnp.promote_types(made.dtype, jnp.float32))
