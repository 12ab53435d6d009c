"""One network: an encoder with its projection head."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mcl_jax.losses import l2_normalize
from mcl_jax.models import JigsawHead, Predictor, ProjectionHead

PATCHES = 9  # of an image's jigsaw, in three rows of three


class Network(nn.Module):
    """An encoder with its projection head.

    Attributes:
        encoder: images [B, H, W, c] to (logits [B, C], features [B, F]).
        head: features [B, F] to embeddings [B, D].
        frozen: parts of ``("encoder", "head", "predictor")`` that are as in evaluation while others
            are trained: they use their running statistics and keep them, and get no gradient.
        jigsaw: patches' features [B, P, F] and orders [B, P] to embeddings [B, D], or None.
        predictor: what the head gives, of any length, to predictions [B, D], or None.
    """

    encoder: nn.Module
    head: nn.Module
    frozen: tuple[str, ...] = ()
    jigsaw: JigsawHead | None = None
    predictor: Predictor | None = None

    def __call__(
        self, images: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns features [B, F], embeddings [B, D] and logits [B, C]."""
        logits, features = self.encoder(images, train=train and "encoder" not in self.frozen)
        if self.jigsaw is not None and self.is_initializing():
            shape = (len(features), PATCHES)
            self.jigsaw(jnp.zeros((*shape, features.shape[-1])), jnp.zeros(shape, int))
        embeddings = self.head(features, train=train and "head" not in self.frozen)
        if self.predictor is not None:
            if self.is_initializing():
                self.predictor(embeddings)
            embeddings = l2_normalize(embeddings)
        return features, embeddings, logits

    def look(
        self,
        parts: jax.Array,
        combine: Callable[[jax.Array], jax.Array] | None,
        predict: bool,
        train: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Embeds what an image is looked at in.

        Args:
            parts: [B, P, h, w, c], P crops or patches of each image.
            combine: features [P, B, F] to [C, B, F], as means of pairs; None leaves them.
            predict: whether the predictor follows.
            train: whether batch statistics are used and recorded.

        Returns:
            What the head gives, [B, C, D], of any length, and predictions of it; the same twice if
            there are none.

        Raises:
            ValueError: the network has no predictor.
        """
        if self.predictor is None:
            raise ValueError("predictor must be one to look by, got None.")
        rows, number = parts.shape[:2]
        images = parts.reshape(-1, *parts.shape[2:])
        _, features = self.encoder(images, train=train and "encoder" not in self.frozen)
        if combine is not None:
            of_parts = jnp.swapaxes(features.reshape(rows, number, -1), 0, 1)
            features = jnp.swapaxes(combine(of_parts), 0, 1).reshape(-1, features.shape[-1])
        projections = self.head(features, train=train and "head" not in self.frozen)
        held = "predictor" in self.frozen
        found = self.predictor(projections, train=train and not held) if predict else projections
        shape = (rows, -1, projections.shape[-1])
        return projections.reshape(shape), found.reshape(shape)

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
