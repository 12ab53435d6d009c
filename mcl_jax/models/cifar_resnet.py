"""Residual networks for 32x32 images."""

import flax.linen as nn
from jax import Array

from mcl_jax.models.blocks import BasicBlock, Bottleneck, Layers, residual_stages, stage_of


class CifarResNet(nn.Module):
    """conv3x3(16) - BN - ReLU - three stages of 16, 32, 64, strides 1, 2, 2 - average - linear.

    He et al., arXiv 1512.03385, section 4.2, as the MCL authors build it: projection shortcuts (the
    paper pads with zeros), and depth 110 is made of bottlenecks 12-12-12 with 256 features (the
    paper: basic blocks 18-18-18).

    Attributes:
        num_classes: number of classes C.
        depth: blocks a stage; 3, 5, 9 give ResNet-20, -32, -56.
        bottleneck: bottleneck blocks rather than basic ones.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net, images = CifarResNet(num_classes=10, depth=3), jnp.ones((2, 32, 32, 3))
        >>> variables = jax.eval_shape(net.init, jax.random.key(0), images)
        >>> logits, features = jax.eval_shape(net.apply, variables, images)
        >>> logits.shape, features.shape
        ((2, 10), (2, 64))
    """

    num_classes: int
    depth: int
    bottleneck: bool = False
    layers: Layers = Layers()

    @property
    def stages(self) -> int:
        """Number S of stages."""
        return 3

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
        x = layers.conv(16, 3, name="conv1")(layers.enter(images))
        x = nn.relu(layers.norm("bn1")(x, train))
        x = residual_stages(
            x,
            train,
            block=Bottleneck if self.bottleneck else BasicBlock,
            widths=(16, 32, 64),
            depths=(self.depth,) * 3,
            strides=(1, 2, 2),
            layers=layers,
        )
        features = layers.pool(x)
        return layers.classifier(features, self.num_classes, name="classifier"), features
