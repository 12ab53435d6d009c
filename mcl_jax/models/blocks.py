"""Parts of encoders: layers with the authors' initialisation, residual blocks, stages."""

import dataclasses
import re
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from mcl_jax.models.convolution import select_convolution
from mcl_jax.models.normalization import BatchNorm, GroupNorm

NORMALIZATIONS = ("batch", "group")

_HE = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def uniform(fan_in: int) -> nn.initializers.Initializer:
    """Draws from U(±1 / sqrt(fan_in)), PyTorch's default for weights and biases.

    Args:
        fan_in: inputs that a unit of the layer sees.

    Returns:
        A Flax initialiser.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bool((jnp.abs(uniform(4)(jax.random.key(0), (5, 6), jnp.float32)) <= 0.5).all())
        True
    """

    def start(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, -(fan_in**-0.5), fan_in**-0.5)

    return start


def linear(
    features: int,
    fan_in: int,
    *,
    name: str,
    param_dtype: DTypeLike,
    dtype: DTypeLike | None,
    use_bias: bool = True,
    zero_bias: bool = False,
) -> nn.Dense:
    """A linear layer that starts as PyTorch's: weights and biases from U(±1 / sqrt(fan_in)).

    Args:
        features: width of the output.
        fan_in: width of the input.
        name: of the submodule.
        param_dtype: of the parameters.
        dtype: of the computation; None for that of the input.
        use_bias: whether there are biases.
        zero_bias: whether biases start at zero instead.

    Returns:
        The layer, ``[..., fan_in] -> [..., features]``.

    Example:
        >>> linear(3, 4, name="fc", param_dtype="float32", dtype=None).features
        3
    """
    start = uniform(fan_in)
    return nn.Dense(
        features,
        use_bias=use_bias,
        kernel_init=start,
        bias_init=nn.initializers.zeros if zero_bias else start,
        name=name,
        param_dtype=param_dtype,
        dtype=dtype,
    )


@dataclasses.dataclass(frozen=True)
class Layers:
    """How the layers of an encoder are built: numerics, convolution, normalisation.

    Attributes:
        dtype: of the computation (bfloat16 is allowed; statistics, features and logits stay in
            float32 at least).
        param_dtype: of the parameters.
        convolution: ``"per_network"`` or ``"plain"``.
        normalization: ``"batch"``, or ``"group"``, which keeps no statistics.
        norm_axis_name: mapped axis over which batch statistics are synced.
        norm_groups: groups of rows that are normalised apart.
        remat: whether a block is computed again in the backward pass rather than stored.
        zero_residual: whether the last scale of a residual block starts at zero, and the block as
            its shortcut (Goyal et al., arXiv 1706.02677).

    Raises:
        ValueError: if the convolution or the normalisation is unknown, there are fewer than one
            group, or group normalisation is asked to sync or to split batch statistics.

    Example:
        >>> Layers(norm_groups=2).norm("bn1").groups
        2
    """

    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32
    convolution: str = "per_network"
    normalization: str = "batch"
    norm_axis_name: str | None = None
    norm_groups: int = 1
    remat: bool = False
    zero_residual: bool = False

    def __post_init__(self) -> None:
        select_convolution(self.convolution)
        if self.normalization not in NORMALIZATIONS:
            raise ValueError(
                f"norm must be one of {', '.join(NORMALIZATIONS)}; got {self.normalization!r}."
            )
        if self.norm_groups < 1:
            raise ValueError(f"norm_groups must be at least 1; got {self.norm_groups}.")
        if self.normalization == "batch":
            return
        for name, value, wanted in (
            ("norm_axis_name", self.norm_axis_name, None),
            ("norm_groups", self.norm_groups, 1),
        ):
            if value != wanted:
                raise ValueError(
                    f"{name} must be {wanted} with norm 'group', which has no batch statistics; "
                    f"got {value!r}."
                )

    def conv(
        self,
        features: int,
        size: int,
        stride: int = 1,
        *,
        name: str,
        groups: int = 1,
        use_bias: bool = False,
        dilation: int = 1,
        kernel_init: nn.initializers.Initializer = _HE,
    ) -> nn.Conv:
        """A convolution padded by ``dilation * (size // 2)``.

        Args:
            features: width of the output.
            size: of the square kernel.
            stride: step over rows and columns.
            name: of the submodule.
            groups: the channels are convolved in so many groups apart; as many groups as channels
                is a depthwise convolution.
            use_bias: whether a bias, zero at first, is added.
            dilation: distance between the taps of the kernel.
            kernel_init: how the kernel starts; kaiming-normal over fan_out if not given.

        Returns:
            The layer, ``[B, H, W, c] -> [B, H', W', features]``.
        """
        return nn.Conv(
            features,
            (size, size),
            strides=stride,
            padding=dilation * (size // 2),
            kernel_dilation=dilation,
            feature_group_count=groups,
            use_bias=use_bias,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            kernel_init=kernel_init,
            conv_general_dilated=select_convolution(self.convolution),
            name=name,
        )

    def norm(
        self, name: str, *, use_bias: bool = True, scale: str = "one"
    ) -> BatchNorm | GroupNorm:
        """A normalisation, called with (x, train); ``scale`` as there, a bias starts at zero."""
        if self.normalization == "group":
            return GroupNorm(
                use_bias=use_bias,
                scale=scale,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )
        return BatchNorm(
            axis_name=self.norm_axis_name,
            groups=self.norm_groups,
            use_bias=use_bias,
            scale=scale,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )

    def last_norm(self, name: str) -> BatchNorm | GroupNorm:
        """The normalisation that a residual block ends with."""
        return self.norm(name, scale="zero" if self.zero_residual else "one")

    def block(self, kind: type[nn.Module]) -> Callable[..., nn.Module]:
        """The class of a block as this encoder runs it: itself, or rematerialised.

        Rematerialised, the block keeps its input alone for the backward pass and computes the rest
        again there; values and gradients stay what they are, and so do the names of the parameters
        as long as ``name=`` is given. An encoder builds every block through here::

            x = layers.block(BasicBlock)(width, stride, layers, name="layer1_0")(x, train)

        On CPU it saves no memory unless XLA is told ``xla_disable_hlo_passes=cse_barrier_expander``
        (the trainer does, by `shard_map`): that pass removes the barriers that keep XLA from doing
        the second computation early.

        Args:
            kind: a module whose call takes exactly (x, train), by position. Of several arrays make
                x a tuple.

        Returns:
            A class to be called with the fields of ``kind``.
        """
        return nn.remat(kind, static_argnums=(2,)) if self.remat else kind

    def enter(self, images: Array) -> Array:
        """Checks a batch of images ``[B, H, W, c]`` and casts it to the type of the computation."""
        if images.ndim != 4:
            raise ValueError(f"images must have shape [B, H, W, c]; got {images.shape}.")
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise TypeError(f"images must be floating; got {images.dtype}. Normalise them first.")
        return images.astype(self.dtype)

    def pool(self, x: Array) -> Array:
        """Averages over space, ``[B, H, W, F] -> [B, F]``, in float32 at least."""
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2))

    def classifier(
        self, features: Array, num_classes: int, *, name: str, zero_bias: bool = False
    ) -> Array:
        """Class logits ``[B, C]`` from features ``[B, F]``, in the type of the features."""
        layer = linear(
            num_classes,
            features.shape[-1],
            name=name,
            param_dtype=self.param_dtype,
            dtype=features.dtype,
            zero_bias=zero_bias,
        )
        return layer(features)


class BasicBlock(nn.Module):
    """ReLU(BN(conv3x3(ReLU(BN(conv3x3(x))))) + shortcut(x)).

    The shortcut is x, or BN(conv1x1(x)) where the block changes the shape.

    He et al., arXiv 1512.03385, with projection shortcuts as the MCL authors use them on CIFAR too.

    Attributes:
        width: channels of the two convolutions.
        stride: of the first.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> block, x = BasicBlock(8, stride=2), jnp.ones((2, 4, 4, 4))
        >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 2, 2, 8)
    """

    width: int
    stride: int = 1
    layers: Layers = Layers()

    expansion = 1

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, c] -> [B, H', W', width]``."""
        layers = self.layers
        out = layers.conv(self.width, 3, self.stride, name="conv1")(x)
        out = nn.relu(layers.norm("bn1")(out, train))
        out = layers.conv(self.width, 3, name="conv2")(out)
        out = layers.last_norm("bn2")(out, train)
        return nn.relu(out + _shortcut(x, self.width, self.stride, layers, train))


class Bottleneck(nn.Module):
    """ReLU(BN(conv1x1(ReLU(BN(conv3x3(ReLU(BN(conv1x1(x)))))))) + shortcut(x)).

    The result is four times as wide as the waist; the shortcut is that of ``BasicBlock``.

    He et al., arXiv 1512.03385; the stride is on the 3x3 convolution, as in torchvision and in the
    MCL authors' code, not on the first 1x1 as in the paper.

    Attributes:
        width: channels of the waist.
        stride: of the 3x3 convolution.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> block, x = Bottleneck(8, stride=2), jnp.ones((2, 4, 4, 4))
        >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x, False)[0]).shape
        (2, 2, 2, 32)
    """

    width: int
    stride: int = 1
    layers: Layers = Layers()

    expansion = 4

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """``[B, H, W, c] -> [B, H', W', 4 * width]``."""
        layers, wide = self.layers, self.width * self.expansion
        out = layers.conv(self.width, 1, name="conv1")(x)
        out = nn.relu(layers.norm("bn1")(out, train))
        out = layers.conv(self.width, 3, self.stride, name="conv2")(out)
        out = nn.relu(layers.norm("bn2")(out, train))
        out = layers.conv(wide, 1, name="conv3")(out)
        out = layers.last_norm("bn3")(out, train)
        return nn.relu(out + _shortcut(x, wide, self.stride, layers, train))


def _shortcut(x: Array, width: int, stride: int, layers: Layers, train: bool) -> Array:
    """Returns x itself, or its projection where the block changes the shape."""
    if stride == 1 and x.shape[-1] == width:
        return x
    x = layers.conv(width, 1, stride, name="downsample_0")(x)
    return layers.norm("downsample_1")(x, train)


def residual_stages(
    x: Array,
    train: bool,
    *,
    block: type[BasicBlock] | type[Bottleneck],
    widths: Sequence[int],
    depths: Sequence[int],
    strides: Sequence[int],
    layers: Layers,
) -> Array:
    """Stages of residual blocks ``layer<stage>_<block>``; the first of a stage strides.

    To be called from inside a Flax module.

    Args:
        x: ``[B, H, W, c]``.
        train: whether batch statistics are used.
        block: the kind of block.
        widths: width of each stage.
        depths: number of blocks of each stage.
        strides: stride of each stage.
        layers: how layers are built.

    Returns:
        ``[B, H', W', block.expansion * widths[-1]]``.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp
        >>> class Net(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         sizes = dict(widths=(8, 16), depths=(1, 2), strides=(1, 2))
        ...         return residual_stages(x, False, block=BasicBlock, layers=Layers(), **sizes)
        >>> variables = jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((1, 4, 4, 3)))
        >>> sorted(variables["params"])
        ['layer1_0', 'layer2_0', 'layer2_1']
    """
    kind = layers.block(block)
    stages = zip(widths, depths, strides, strict=True)
    for stage, (width, depth, stride) in enumerate(stages, start=1):
        for index in range(depth):
            name = f"layer{stage}_{index}"
            x = kind(width, stride if index == 0 else 1, layers, name=name)(x, train)
    return x


def stage_of(
    name: str,
    stages: int,
    *,
    stem: Sequence[str],
    end: Sequence[str],
    pattern: str = r"layer(\d+)_\d+",
    first: int = 1,
) -> int:
    """The stage that a top-level submodule of an encoder belongs to.

    Args:
        name: of the submodule.
        stages: number S of stages.
        stem: names before the first stage.
        end: names after the last stage.
        pattern: a regular expression for the names inside stages; its group is the stage's number.
        first: how the names number the first stage.

    Returns:
        0 for the stem, 1 to S for a stage, S + 1 for what follows.

    Raises:
        ValueError: if the encoder has no submodule of that name.

    Example:
        >>> [stage_of(n, 3, stem=["conv1"], end=["fc"]) for n in ("conv1", "layer2_0", "fc")]
        [0, 2, 4]
    """
    if name in stem:
        return 0
    if name in end:
        return stages + 1
    found = re.fullmatch(pattern, name)
    stage = int(found[1]) - first + 1 if found else 0
    if not 1 <= stage <= stages:
        raise ValueError(f"name must be a top-level submodule of the encoder; got {name!r}.")
    return stage
