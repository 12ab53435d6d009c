"""Convolution that starts as PyTorch's own does, for encoders whose authors left it at that."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from mcl_jax.models.blocks import Layers
from mcl_jax.models.convolution import select_convolution


def uniform(fan_in: int) -> nn.initializers.Initializer:
    """Draws from U(±1 / sqrt(fan_in)), PyTorch's default for weights and biases.

    Args:
        fan_in: inputs that a unit of the layer sees.

    Returns:
        A Flax initialiser.

    Example:
        >>> bool((jnp.abs(uniform(4)(jax.random.key(0), (5, 6), jnp.float32)) <= 0.5).all())
        True
    """

    def start(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, tuple(shape), dtype, -(fan_in**-0.5), fan_in**-0.5)

    return start


def uniform_convolution(
    x: Array,
    features: int,
    size: int,
    stride: int = 1,
    *,
    layers: Layers,
    name: str,
    groups: int = 1,
    dilation: int = 1,
) -> Array:
    """Convolves images without bias; weights start from U(±1 / sqrt(fan_in)).

    That is ``Layers.conv`` with PyTorch's default in place of He's initialisation. To be called
    from inside a Flax module.

    Args:
        x: ``[B, H, W, c]``.
        features: width of the output.
        size: of the square kernel; the image is padded by ``dilation * (size // 2)``.
        stride: step over rows and columns.
        layers: how layers are built.
        name: of the submodule.
        groups: the channels are convolved in so many groups apart.
        dilation: distance between the taps of the kernel.

    Returns:
        ``[B, H', W', features]``, in the type of the computation.

    Example:
        >>> class Net(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         return uniform_convolution(x, 8, 3, 2, layers=Layers(), name="conv", groups=4)
        >>> variables = jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((1, 6, 6, 4)))
        >>> variables["params"]["conv"]["kernel"].shape
        (3, 3, 1, 8)
    """
    convolution = nn.Conv(
        features,
        (size, size),
        strides=stride,
        padding=dilation * (size // 2),
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=False,
        dtype=layers.dtype,
        param_dtype=layers.param_dtype,
        kernel_init=uniform(size * size * x.shape[-1] // groups),
        conv_general_dilated=select_convolution(layers.convolution),
        name=name,
    )
    return convolution(x)
