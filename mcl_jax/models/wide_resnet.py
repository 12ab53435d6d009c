"""Wide residual networks for 32x32 images."""

import flax.linen as nn
from jax import Array

from mcl_jax.models.blocks import Layers, stage_of


class WideBlock(nn.Module):
    """x' + conv3x3(ReLU(BN(conv3x3(ReLU(BN(x)))))): a pre-activation block.

    x' is x, or conv1x1(ReLU(BN(x))) where the width changes: there the activation precedes the
    shortcut too. Zagoruyko and Komodakis, arXiv 1605.07146, without dropout, as the MCL authors run
    it.

    Attributes:
        width: channels of the two convolutions.
        stride: of the first.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> block, x = WideBlock(8, stride=2), jnp.ones((2, 4, 4, 4))
        >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 2, 2, 8)
    """

    width: int
    stride: int = 1
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, c] -> [B, H', W', width]``."""
        layers = self.layers
        out = nn.relu(layers.norm("bn1")(x, train))
        if x.shape[-1] != self.width:
            x = layers.conv(self.width, 1, self.stride, name="convShortcut")(out)
        out = layers.conv(self.width, 3, self.stride, name="conv1")(out)
        out = nn.relu(layers.norm("bn2")(out, train))
        return x + layers.conv(self.width, 3, name="conv2")(out)


class WideResNet(nn.Module):
    """conv3x3(16) - three stages of 16k, 32k, 64k, strides 1, 2, 2 - BN - ReLU - average - linear.

    Zagoruyko and Komodakis, arXiv 1605.07146. The bias of the last layer starts at zero, as the MCL
    authors have it in this family alone. Their pool takes 8x8 pixels, which is all of them for
    images of 32x32; here all are averaged at any size.

    Attributes:
        num_classes: number of classes C.
        depth: number of layers, 6 n + 4 for n blocks a stage.
        widen: the factor k.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net, images = WideResNet(num_classes=10, depth=16, widen=2), jnp.ones((2, 32, 32, 3))
        >>> variables = jax.eval_shape(net.init, jax.random.key(0), images)
        >>> logits, features = jax.eval_shape(net.apply, variables, images)
        >>> logits.shape, features.shape
        ((2, 10), (2, 128))
    """

    num_classes: int
    depth: int
    widen: int
    layers: Layers = Layers()

    @property
    def stages(self) -> int:
        """Number S of stages."""
        return 3

    def stage_of(self, name: str) -> int:
        """The stage of a top-level submodule: 0 for the stem, 1 to S, S + 1 for what follows."""
        return stage_of(
            name,
            self.stages,
            stem=("conv1",),
            end=("bn1", "fc"),
            pattern=r"block(\d+)_layer_\d+",
        )

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> tuple[Array, Array]:
        """Encodes and classifies images.

        Args:
            images: ``[B, H, W, c]``, floating.
            train: whether batch statistics are used and recorded.

        Returns:
            (logits ``[B, C]``, features ``[B, F]``), float32 or wider.

        Raises:
            ValueError: if the depth is not 6 n + 4.
        """
        blocks, rest = divmod(self.depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"depth of a wide ResNet must be 6 n + 4, n >= 1; got {self.depth}.")
        layers = self.layers
        x = layers.conv(16, 3, name="conv1")(layers.enter(images))
        for stage, (width, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
            for index in range(blocks):
                block = layers.block(WideBlock)(
                    width * self.widen,
                    stride if index == 0 else 1,
                    layers,
                    name=f"block{stage}_layer_{index}",
                )
                x = block(x, train)
        features = layers.pool(nn.relu(layers.norm("bn1")(x, train)))
        logits = layers.classifier(features, self.num_classes, name="fc", zero_bias=True)
        return logits, features
