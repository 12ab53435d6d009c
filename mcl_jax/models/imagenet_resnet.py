"""Residual networks for images of 224x224 or so."""

from collections.abc import Sequence

import flax.linen as nn
from jax import Array

from mcl_jax.models.blocks import BasicBlock, Bottleneck, Layers, residual_stages


class ImageNetResNet(nn.Module):
    """conv7x7(64)/2 - BN - ReLU - maxpool3x3/2 - stages of 64, 128, 256, 512 - average - linear.

    He et al., arXiv 1512.03385, as torchvision and the MCL authors build it.

    Attributes:
        num_classes: number of classes C.
        depths: blocks of each stage; (2, 2, 2, 2) gives ResNet-18, (3, 4, 6, 3) ResNet-34 and, with
            bottlenecks, -50.
        bottleneck: bottleneck blocks rather than basic ones.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net = ImageNetResNet(num_classes=10, depths=(2, 2, 2, 2))
        >>> images = jnp.ones((2, 64, 64, 3))
        >>> variables = jax.eval_shape(net.init, jax.random.key(0), images)
        >>> logits, features = jax.eval_shape(net.apply, variables, images)
        >>> logits.shape, features.shape
        ((2, 10), (2, 512))
    """

    num_classes: int
    depths: Sequence[int]
    bottleneck: bool = False
    layers: Layers = Layers()

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
        x = layers.conv(64, 7, 2, name="conv1")(layers.enter(images))
        x = nn.relu(layers.norm("bn1")(x, train))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        x = residual_stages(
            x,
            train,
            block=Bottleneck if self.bottleneck else BasicBlock,
            widths=(64, 128, 256, 512),
            depths=self.depths,
            strides=(1, 2, 2, 2),
            layers=layers,
        )
        features = layers.pool(x)
        return layers.classifier(features, self.num_classes, name="fc"), features
