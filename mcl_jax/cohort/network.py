"""One network: an encoder with its projection head."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mcl_jax.models import JigsawHead, ProjectionHead

PATCHES = 9  # of an image's jigsaw, in three rows of three


class Network(nn.Module):
    """An encoder with its projection head.

    Attributes:
        encoder: images [B, H, W, c] to (logits [B, C], features [B, F]).
        head: features [B, F] to embeddings [B, D].
        frozen: parts of ``("encoder", "head")`` that are as in evaluation while others are trained:
            they use their running statistics and keep them, and get no gradient.
        jigsaw: patches' features [B, P, F] and orders [B, P] to embeddings [B, D], or None.
    """

    encoder: nn.Module
    head: nn.Module
    frozen: tuple[str, ...] = ()
    jigsaw: JigsawHead | None = None

    def __call__(
        self, images: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns features [B, F], embeddings [B, D] and logits [B, C]."""
        logits, features = self.encoder(images, train=train and "encoder" not in self.frozen)
        if self.jigsaw is not None and self.is_initializing():
            shape = (len(features), PATCHES)
            self.jigsaw(jnp.zeros((*shape, features.shape[-1])), jnp.zeros(shape, int))
        return features, self.head(features, train=train and "head" not in self.frozen), logits

    def solve(self, patches: jax.Array, order: jax.Array, train: bool = False) -> jax.Array:
        """Embeds the patches of an image together.

        Args:
            patches: [B P, h, w, c], those of an image side by side.
            order: int [B, P], in which the jigsaw head joins them.
            train: whether batch statistics are used and recorded.

        Returns:
            [B, D].

        Raises:
            ValueError: the network has no jigsaw head.
        """
        if self.jigsaw is None:
            raise ValueError("jigsaw must be a head to embed patches, got None.")
        _, features = self.encoder(patches, train=train)
        return self.jigsaw(features.reshape(*order.shape, -1), order)


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
