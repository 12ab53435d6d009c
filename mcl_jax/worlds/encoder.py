"""A small encoder of frames, quick on one core."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from mcl_jax.losses import l2_normalize
from mcl_jax.models.blocks import Layers


class Encoder(nn.Module):
    """Three convolutions, a hidden layer, and a projection.

    Half of what the hidden layer sees is the greatest activation of each channel anywhere in the
    image, which tells what there is; the other half is a map of few channels, which tells where.
    Both are normalised within a row, not over the batch, so a row's embedding is its own.

    Attributes:
        features: width F of the hidden layer, which read-outs see.
        dim: width D of the embedding.

    Example:
        >>> import jax
        >>> encoder, frames = Encoder(), jnp.ones((2, 24, 24, 12))
        >>> features, embeddings = jax.eval_shape(
        ...     lambda: encoder.init_with_output(jax.random.key(0), frames))[0]
        >>> features.shape, embeddings.shape
        ((2, 128), (2, 64))
    """

    features: int = 128
    dim: int = 64

    @nn.compact
    def __call__(self, frames: Array) -> tuple[Array, Array]:
        """Encodes frames that are stacked along the channels.

        Args:
            frames: ``[B, S, S, c]``, in 0 ... 1.

        Returns:
            (features ``[B, F]`` of the hidden layer, unit embeddings ``[B, D]``).
        """
        layers = Layers()
        x = (frames - 0.5) / 0.25
        for number, (width, stride) in enumerate(((16, 2), (32, 2), (64, 1))):
            x = nn.relu(layers.conv(width, 3, stride, use_bias=True, name=f"conv{number}")(x))
        what = jnp.max(x, axis=(1, 2))
        where = layers.conv(4, 1, use_bias=True, name="where")(x).reshape(len(x), -1)
        x = nn.LayerNorm(name="norm")(jnp.concatenate([what, where], axis=1))
        x = nn.relu(nn.Dense(self.features, name="hidden")(x))
        return x, l2_normalize(nn.Dense(self.dim, name="projection")(x))
