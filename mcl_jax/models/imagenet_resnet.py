"""Residual networks for images of 224x224 or so."""

from collections.abc import Sequence

import flax.linen as nn
from jax import Array

from mcl_jax.models.blocks import BasicBlock, Bottleneck, Layers, residual_stages, stage_of

STEMS = ("", "small")


class ImageNetResNet(nn.Module):
    """conv7x7(64)/2 - BN - ReLU - maxpool3x3/2 - stages of 64, 128, 256, 512 - average - linear.

    He et al., arXiv 1512.03385, as torchvision and the MCL authors build it.

    Attributes:
        num_classes: number of classes C.
        depths: blocks of each stage; (2, 2, 2, 2) gives ResNet-18, (3, 4, 6, 3) ResNet-34 and, with
            bottlenecks, -50; (3, 4, 23, 3) ResNet-101.
        bottleneck: bottleneck blocks rather than basic ones.
        width: factor on the width of every layer, and so of the features; ``resnet50`` with 2 is
            PyContrast's ``resnet50x2`` and SimCLR's ResNet-50 (2x). As in PyContrast the stem is
            never narrower than 64. (torchvision's ``wide_resnet50_2`` is another network: it widens
            the waists of the bottlenecks alone.)
        stem: "" or "small", a 3x3 convolution of stride 1 without pooling, for images of 32x32 or
            so (SimCLR, arXiv 2002.05709, appendix B.9).
        layers: how layers are built.

    Raises:
        ValueError: if the stem is unknown, or the first stage is less than one channel wide.

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
    width: float = 1.0
    stem: str = ""
    layers: Layers = Layers()

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ValueError(f"stem must be one of {STEMS}; got {self.stem!r}.")
        if self.width < 1 / 64:
            raise ValueError(f"width must be at least 1/64; got {self.width}.")
        super().__post_init__()

    @property
    def stages(self) -> int:
        """Number S of stages."""
        return len(self.depths)

    def stage_of(self, name: str) -> int:
        """The stage of a top-level submodule: 0 for the stem, 1 to S, S + 1 for what follows."""
        return stage_of(name, self.stages, stem=("conv1", "bn1"), end=("fc",))

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> tuple[Array, Array]:
        """Encodes and classifies images.

        Args:
            images: ``[B, H, W, c]``, floating.
            train: whether batch statistics are used and recorded.

        Returns:
            (logits ``[B, C]``, features ``[B, F]``), float32 or wider.
        """
        layers, base, small = self.layers, int(64 * self.width), self.stem == "small"
        size, stride = (3, 1) if small else (7, 2)
        x = layers.conv(max(base, 64), size, stride, name="conv1")(layers.enter(images))
        x = nn.relu(layers.norm("bn1")(x, train))
        if not small:
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        x = residual_stages(
            x,
            train,
            block=Bottleneck if self.bottleneck else BasicBlock,
            widths=(base, 2 * base, 4 * base, 8 * base),
            depths=self.depths,
            strides=(1, 2, 2, 2),
            layers=layers,
        )
        features = layers.pool(x)
        return layers.classifier(features, self.num_classes, name="fc"), features
