"""Convolution that starts as PyTorch's own does, for encoders whose authors left it at that."""

from jax import Array

from mcl_jax.models.blocks import Layers, uniform


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
        >>> import flax.linen as nn, jax, jax.numpy as jnp
        >>> class Net(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x):
        ...         return uniform_convolution(x, 8, 3, 2, layers=Layers(), name="conv", groups=4)
        >>> variables = jax.eval_shape(Net().init, jax.random.key(0), jnp.ones((1, 6, 6, 4)))
        >>> variables["params"]["conv"]["kernel"].shape
        (3, 3, 1, 8)
    """
    start = uniform(size * size * x.shape[-1] // groups)
    return layers.conv(
        features, size, stride, name=name, groups=groups, dilation=dilation, kernel_init=start
    )(x)
