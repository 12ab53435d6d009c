"""ShuffleNet V2 for 32x32 images."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from mcl_jax.models.blocks import Layers, stage_of
from mcl_jax.models.uniform_convolution import uniform_convolution


class _Unit(nn.Module):
    """What both units are made of."""

    width: int
    layers: Layers = Layers()

    def pointwise(self, x: Array, width: int, index: int, train: bool) -> Array:
        """ReLU(BN(conv1x1(x))), the unit's layers of that index."""
        x = uniform_convolution(x, width, 1, layers=self.layers, name=f"conv{index}")
        return nn.relu(self.layers.norm(f"bn{index}")(x, train))

    def depthwise(self, x: Array, stride: int, index: int, train: bool) -> Array:
        """BN(conv3x3(x)), each channel by itself: the unit's layers of that index."""
        width, name = x.shape[-1], f"conv{index}"
        x = uniform_convolution(x, width, 3, stride, groups=width, layers=self.layers, name=name)
        return self.layers.norm(f"bn{index}")(x, train)


def _shuffle(left: Array, right: Array) -> Array:
    """The channels of both in turn, [..., C] and [..., C] -> [..., 2 C]."""
    return jnp.stack((left, right), axis=-1).reshape(*left.shape[:-1], -1)


class ShuffleUnit(_Unit):
    """shuffle(x1, ReLU(BN(conv1x1(BN(dconv3x3(ReLU(BN(conv1x1(x2)))))))), x1 and x2 halves of x.

    Ma et al., arXiv 1807.11164, figure 3c; "d" is for depthwise.

    Attributes:
        width: channels of x and of the result, even.
        layers: how layers are built.

    Example:
        >>> import jax
        >>> unit, x = ShuffleUnit(8), jnp.ones((2, 4, 4, 8))
        >>> jax.eval_shape(lambda: unit.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 4, 4, 8)
    """

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, width] -> [B, H, W, width]``."""
        half = self.width // 2
        kept, out = x[..., :half], x[..., half:]
        out = self.pointwise(out, half, 1, train)
        out = self.depthwise(out, 1, 2, train)
        out = self.pointwise(out, half, 3, train)
        return _shuffle(kept, out)


class ShuffleDownUnit(_Unit):
    """shuffle(pw(dw(x)), pw(dw(pw(x)))) at half the height and width.

    pw = ReLU BN conv1x1 and dw = BN dconv3x3/2. Ma et al., arXiv 1807.11164, figure 3d.

    Attributes:
        width: channels of the result, even.
        layers: how layers are built.

    Example:
        >>> import jax
        >>> unit, x = ShuffleDownUnit(8), jnp.ones((2, 4, 4, 3))
        >>> jax.eval_shape(lambda: unit.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 2, 2, 8)
    """

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, c] -> [B, H / 2, W / 2, width]``."""
        half = self.width // 2
        left = self.pointwise(self.depthwise(x, 2, 1, train), half, 2, train)
        right = self.pointwise(x, half, 3, train)
        right = self.pointwise(self.depthwise(right, 2, 4, train), half, 5, train)
        return _shuffle(left, right)


class ShuffleNetV2(nn.Module):
    """conv3x3(24) - BN - ReLU - three stages of shuffle units - conv1x1 - BN - ReLU - linear.

    Features are averaged over space before the linear layer; every stage halves height and width.

    Ma et al., arXiv 1807.11164, as the MCL authors run it on CIFAR: the stem has stride 1 and is
    not pooled (in the paper stride 2 and max pooling, for 224x224), and layers start as PyTorch's
    default. Their pool takes 4x4 pixels, which is all of them for images of 32x32; here all are
    averaged at any size.

    Attributes:
        num_classes: number of classes C.
        widths: of the stages, even; the paper's table 5 calls (48, 96, 192) 0.5x and
            (116, 232, 464) 1x.
        depths: units of each stage.
        embed: width F of the last convolution.
        layers: how layers are built.

    Example:
        >>> import jax
        >>> net = ShuffleNetV2(num_classes=10, widths=(48, 96, 192))
        >>> images = jnp.ones((2, 32, 32, 3))
        >>> variables = jax.eval_shape(net.init, jax.random.key(0), images)
        >>> logits, features = jax.eval_shape(net.apply, variables, images)
        >>> logits.shape, features.shape
        ((2, 10), (2, 1024))
    """

    num_classes: int
    widths: Sequence[int]
    depths: Sequence[int] = (4, 8, 4)
    embed: int = 1024
    layers: Layers = Layers()

    @property
    def stages(self) -> int:
        """Number S of stages."""
        return len(self.widths)

    def stage_of(self, name: str) -> int:
        """The stage of a top-level submodule: 0 for the stem, 1 to S, S + 1 for what follows."""
        return stage_of(name, self.stages, stem=("conv1", "bn1"), end=("conv2", "bn2", "linear"))

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> tuple[Array, Array]:
        """Encodes and classifies images.

        Args:
            images: ``[B, H, W, c]``, floating.
            train: whether batch statistics are used and recorded.

        Returns:
            (logits ``[B, C]``, features ``[B, F]``), float32 or wider.

        Raises:
            ValueError: if a width is odd.
        """
        if any(width % 2 for width in self.widths):
            raise ValueError(f"widths of ShuffleNetV2 must be even; got {tuple(self.widths)}.")
        layers = self.layers
        x = uniform_convolution(layers.enter(images), 24, 3, layers=layers, name="conv1")
        x = nn.relu(layers.norm("bn1")(x, train))
        for stage, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True), start=1):
            for index in range(depth):
                kind = layers.block(ShuffleUnit if index else ShuffleDownUnit)
                x = kind(width, layers, name=f"layer{stage}_{index}")(x, train)
        x = uniform_convolution(x, self.embed, 1, layers=layers, name="conv2")
        features = layers.pool(nn.relu(layers.norm("bn2")(x, train)))
        return layers.classifier(features, self.num_classes, name="linear"), features
