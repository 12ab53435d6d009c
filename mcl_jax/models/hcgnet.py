"""Gated convolutional networks with hybrid connectivity for 32x32 images."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from mcl_jax.models.blocks import Layers, stage_of, uniform
from mcl_jax.models.uniform_convolution import uniform_convolution

_SQUEEZE_GROUPS = 4


class PreActivation(nn.Module):
    """conv(ReLU(BN(x))).

    Attributes:
        width: channels of the result.
        size: of the square kernel.
        stride: of the convolution.
        groups: the channels are convolved in so many groups apart.
        dilation: distance between the taps of the kernel.
        layers: how layers are built.

    Example:
        >>> import jax
        >>> module, x = PreActivation(8, 3, stride=2), jnp.ones((2, 4, 4, 4))
        >>> jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 2, 2, 8)
    """

    width: int
    size: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, c] -> [B, H', W', width]``."""
        return uniform_convolution(
            nn.relu(self.layers.norm("norm")(x, train)),
            self.width,
            self.size,
            self.stride,
            groups=self.groups,
            dilation=self.dilation,
            layers=self.layers,
            name="conv",
        )


class _Pointwise(nn.Module):
    """A 1x1 convolution with bias as what it is, one product; it starts as PyTorch's."""

    width: int
    layers: Layers

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[B, H, W, c] -> [B, H, W, width], in the type of the computation."""
        layers, channels = self.layers, x.shape[-1]
        start = uniform(channels)
        kernel = self.param("kernel", start, (1, 1, channels, self.width), layers.param_dtype)
        bias = self.param("bias", start, (self.width,), layers.param_dtype)
        x, kernel, bias = (a.astype(layers.dtype) for a in (x, kernel, bias))
        return x @ kernel[0, 0] + bias


def _context(x: Array, layers: Layers, name: str) -> Array:
    """The mean over space under learned weights, [B, H, W, c] -> [B, 1, 1, c], float32 at least."""
    scores = _Pointwise(1, layers, name=name)(x)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    weights = nn.softmax(scores.astype(wide), axis=(1, 2))
    return (weights * x).sum((1, 2), keepdims=True)


def _gates(x: Array, reduction: int, layers: Layers, train: bool) -> Array:
    """What the gates make of x: f * x + u.

    f, the forget gate, keeps some of x; u, the update gate, adds what is seen in a wider context.
    Both have the shape [B, 1, 1, C] and see contexts alone, means over space whose weights are
    softmax(conv1x1):

        f = sigmoid(fc2(tanh(BN(fc1(context(x))))))
        u = sum_k softmax_k(fc_k(tanh(BN(fcall([c_3, c_5]))))) c_k
        c_k = context(dconv_k(ReLU(BN(x))))

    where the depthwise convolution 5x5 is a 3x3 one with dilation 2. x is [B, H, W, C].
    """
    width = x.shape[-1]
    context = _context(x, layers, "global_forget_context")
    hidden = _Pointwise(width // reduction, layers, name="fc1")(context)
    hidden = nn.tanh(layers.norm("bn_forget")(hidden, train))
    forget = nn.sigmoid(_Pointwise(width, layers, name="fc2")(hidden))
    contexts = []
    for scale, dilation in (("3x3", 1), ("5x5", 2)):
        convolution = PreActivation(
            width, 3, groups=width, dilation=dilation, layers=layers, name=f"conv_{scale}"
        )
        contexts.append(_context(convolution(x, train), layers, f"global_context{scale}"))
    both = jnp.concatenate(contexts, axis=-1)
    hidden = _Pointwise(2 * width // reduction, layers, name="fcall")(both)
    hidden = nn.tanh(layers.norm("bn_attention")(hidden, train))
    scores = jnp.stack(
        [_Pointwise(width, layers, name=f"fc{scale}")(hidden) for scale in ("3x3", "5x5")]
    )
    weights = nn.softmax(scores.astype(both.dtype), axis=0)
    return forget * x + (weights * jnp.stack(contexts)).sum(0).astype(x.dtype)


class SMG(nn.Module):
    """[x, gates(conv3x3(conv1x1(x)))]: squeeze, multi-scale excitation and gates, appended to x.

    Yang et al., arXiv 1908.09699: the dense connection of hybrid connectivity is the concatenation,
    the residual one is inside the gates. Each convolution is ReLU and BN first; the squeezing 3x3
    one is grouped by 4.

    Attributes:
        growth: channels that are appended, a multiple of 4.
        layers: how layers are built.

    Example:
        >>> import jax
        >>> module, x = SMG(growth=8), jnp.ones((2, 4, 4, 5))
        >>> jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 4, 4, 13)
    """

    growth: int
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, c] -> [B, H, W, c + growth]``."""
        layers = self.layers
        new = PreActivation(4 * self.growth, 1, layers=layers, name="conv1_1x1")(x, train)
        squeeze = PreActivation(
            self.growth, 3, groups=_SQUEEZE_GROUPS, layers=layers, name="conv2_3x3"
        )
        new = _gates(squeeze(new, train), 2, layers, train)
        return jnp.concatenate((x, new), axis=-1)


class HybridBlock(nn.Module):
    """A run of SMG modules, each of which sees what all before it have appended.

    Yang et al., arXiv 1908.09699.

    Attributes:
        depth: number of modules.
        growth: channels that each of them appends, a multiple of 4.
        layers: how layers are built.

    Example:
        >>> import jax
        >>> block, x = HybridBlock(depth=2, growth=8), jnp.ones((2, 4, 4, 5))
        >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 4, 4, 21)
    """

    depth: int
    growth: int
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, c] -> [B, H, W, c + depth * growth]``."""
        kind = self.layers.block(SMG)
        for index in range(1, self.depth + 1):
            x = kind(self.growth, self.layers, name=f"SMG{index}")(x, train)
        return x


class Transition(nn.Module):
    """gates(conv3x3/2(conv1x1(x))): half the height and width, and half the channels.

    Yang et al., arXiv 1908.09699. The 1x1 convolution takes off a quarter of the channels, the 3x3
    one another. The authors' code for HCGNet alone may drop blocks of pixels here; MCL's does not,
    nor does this.

    Attributes:
        layers: how layers are built.

    Example:
        >>> import jax
        >>> module, x = Transition(), jnp.ones((2, 4, 4, 16))
        >>> jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 2, 2, 8)
    """

    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, c] -> [B, H / 2, W / 2, c // 2]``."""
        layers, wide = self.layers, x.shape[-1]
        half = wide // 2
        middle = wide - (wide - half) // 2
        x = PreActivation(middle, 1, layers=layers, name="conv1_1x1")(x, train)
        x = PreActivation(half, 3, 2, layers=layers, name="conv2_3x3")(x, train)
        return _gates(x, 4, layers, train)


class HCGNet(nn.Module):
    """conv3x3(2 g) - hybrid blocks with transitions between them - BN - ReLU - average - linear.

    Yang et al., arXiv 1908.09699, as the MCL authors run it: without dropping blocks, and layers
    start as PyTorch's default. Their code takes square images; here any rectangle will do.

    Attributes:
        num_classes: number of classes C.
        growth: channels that a module appends, for each stage, multiples of 4; (12, 24, 36) is
            HCGNet-A1, (24, 36, 64) A2.
        depth: modules a stage.
        layers: how layers are built.

    Example:
        >>> import jax
        >>> net, images = HCGNet(num_classes=10, growth=(8, 12), depth=2), jnp.ones((2, 8, 8, 3))
        >>> variables = jax.eval_shape(net.init, jax.random.key(0), images)
        >>> logits, features = jax.eval_shape(net.apply, variables, images)
        >>> logits.shape, features.shape
        ((2, 10), (2, 40))
    """

    num_classes: int
    growth: Sequence[int]
    depth: int = 8
    layers: Layers = Layers()

    @property
    def stages(self) -> int:
        """Number S of stages."""
        return len(self.growth)

    def stage_of(self, name: str) -> int:
        """The stage of a top-level submodule: 0 for the stem, 1 to S, S + 1 for what follows.

        A transition belongs to the stage before it, as in the authors' branch-shared networks.
        """
        return stage_of(
            name,
            self.stages,
            stem=("conv0",),
            end=("norm5", "classifier"),
            pattern=r"(?:HybridBlock|Transition)(\d+)",
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
            ValueError: if a growth is no multiple of 4.
        """
        if any(growth % _SQUEEZE_GROUPS for growth in self.growth):
            raise ValueError(f"growth of HCGNet must be multiples of 4; got {tuple(self.growth)}.")
        layers = self.layers
        x = layers.enter(images)
        x = uniform_convolution(x, 2 * self.growth[0], 3, layers=layers, name="conv0")
        for stage, growth in enumerate(self.growth, start=1):
            x = HybridBlock(self.depth, growth, layers, name=f"HybridBlock{stage}")(x, train)
            if stage < self.stages:
                x = layers.block(Transition)(layers, name=f"Transition{stage}")(x, train)
        features = layers.pool(nn.relu(layers.norm("norm5")(x, train)))
        return layers.classifier(features, self.num_classes, name="classifier"), features
