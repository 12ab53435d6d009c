"""A small residual network for 28x28 or so, quick enough for a CPU."""

from collections.abc import Sequence

import flax.linen as nn
from jax import Array

from mcl_jax.models.blocks import BasicBlock, Layers, residual_stages, stage_of


class SmallResNet(nn.Module):
    """conv3x3/2 - BN - ReLU - three basic blocks, strides 1, 2, 2 - average - linear.

    No paper's; it follows CifarResNet, but strides at once and is shallow, which suits a CPU. With
    one block it is ``tiny_resnet``, which compiles at once: for smoke runs and tests.

    Attributes:
        num_classes: number of classes C.
        widths: of the stages; the stem is as wide as the first.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net, images = SmallResNet(num_classes=10), jnp.ones((2, 28, 28, 1))
        >>> logits, features = net.apply(net.init(jax.random.key(0), images), images)
        >>> logits.shape, features.shape
        ((2, 10), (2, 64))
    """

    num_classes: int
    widths: Sequence[int] = (16, 32, 64)
    layers: Layers = Layers()

    @property
    def stages(self) -> int:
        """Number S of stages."""
        return len(self.widths)

    def stage_of(self, name: str) -> int:
        """The stage of a top-level submodule: 0 for the stem, 1 to S, S + 1 for what follows."""
        return stage_of(name, self.stages, stem=("conv1", "bn1"), end=("classifier",))

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> tuple[Array, Array]:
        """Encodes and classifies images.

        Args:
            images: ``[B, H, W, c]``, floating.
            train: whether batch statistics are used and recorded.

        Returns:
            (logits ``[B, C]``, features ``[B, F]``), float32 or wider.
        """
        layers = self.layers
        x = layers.conv(self.widths[0], 3, 2, name="conv1")(layers.enter(images))
        x = nn.relu(layers.norm("bn1")(x, train))
        x = residual_stages(
            x,
            train,
            block=BasicBlock,
            widths=self.widths,
            depths=(1,) * len(self.widths),
            strides=(1,) + (2,) * (len(self.widths) - 1),
            layers=layers,
        )
        features = layers.pool(x)
        return layers.classifier(features, self.num_classes, name="classifier"), features
