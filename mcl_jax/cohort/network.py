"""One network: an encoder with its projection head."""

from typing import Any

import flax.linen as nn
import jax

from mcl_jax.models import ProjectionHead


class Network(nn.Module):
    """An encoder with its projection head.

    Attributes:
        encoder: images [B, H, W, c] to (logits [B, C], features [B, F]).
        head: features [B, F] to embeddings [B, D].
        frozen: parts of ``("encoder", "head")`` that are as in evaluation while others are trained:
            they use their running statistics and keep them, and get no gradient.
    """

    encoder: nn.Module
    head: nn.Module
    frozen: tuple[str, ...] = ()

    def __call__(
        self, images: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns features [B, F], embeddings [B, D] and logits [B, C]."""
        logits, features = self.encoder(images, train=train and "encoder" not in self.frozen)
        return features, self.head(features, train=train and "head" not in self.frozen), logits


def network(encoder: nn.Module, embedding_dim: int = 128, **options: Any) -> Network:
    """Puts the head of MCL (Linear-ReLU-Linear-L2) behind an encoder.

    Args:
        encoder: a module as `mcl_jax.models.create` returns.
        embedding_dim: D.
        **options: further options of `mcl_jax.models.ProjectionHead`.

    Returns:
        A network for `like` or a `Group`.
    """
    return Network(encoder, ProjectionHead(embedding_dim, **options))
