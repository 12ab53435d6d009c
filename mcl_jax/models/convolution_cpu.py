"""Convolutions in the forms that XLA runs fast on CPU.

Its grouped convolutions and their gradients are naive loops there, and a narrow convolution leaves
half of the processor idle. ``settings`` are the keyword arguments of ``lax.conv_general_dilated``.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

# The gradient of a kernel is found faster in parts of the batch than at once: 1.7 to 3.2 times at
# the sizes of a CIFAR ResNet. More parts take longer to compile.
_PART_ROWS, _MOST_PARTS = 16, 8

# So many channels fill one vector register, and two neighbouring pixels of them fill two.
_NARROW = 16

_CHANNELS_LAST = lax.conv_dimension_numbers((1,) * 4, (1,) * 4, ("NHWC", "HWIO", "NHWC"))

_Settings = dict[str, Any]


def forward(x: Array, kernel: Array, settings: _Settings) -> Array:
    """The convolution.

    Args:
        x: images, as the layout of ``settings`` says; so are the other arrays.
        kernel: the kernel.
        settings: of the convolution.

    Returns:
        The convolved images.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> settings = dict(window_strides=(1, 1), padding="SAME", lhs_dilation=None,
        ...     rhs_dilation=None, feature_group_count=1, precision=None,
        ...     dimension_numbers=lax.conv_dimension_numbers(
        ...         (4, 8, 8, 3), (3, 3, 3, 5), ("NHWC", "HWIO", "NHWC")))
        >>> images, kernel = jnp.ones((4, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
        >>> jax.eval_shape(lambda x, w: forward(x, w, settings), images, kernel).shape
        (4, 8, 8, 5)
    """
    form = _form(x, kernel, settings)
    if form == "grouped":
        return jnp.concatenate([forward(*each) for each in _groups(x, kernel, settings)], -1)
    return _FORMS[form](x, kernel, settings)


def input_gradient(g: Array, x: Array, kernel: Array, settings: _Settings) -> Array:
    """The gradient to the input; ``g`` is that to the output, the rest as in ``forward``."""
    form = _form(x, kernel, settings)
    if form == "grouped":
        groups = zip(_split(g, settings), _groups(x, kernel, settings), strict=True)
        return jnp.concatenate([input_gradient(g, *each) for g, each in groups], -1)
    if form == "joined":
        return _joined_input_gradient(g, x, kernel, settings)
    (gradient,) = jax.linear_transpose(lambda x: _FORMS[form](x, kernel, settings), x)(g)
    return gradient


def kernel_gradient(
    g: Array, x: Array, kernel: Array, settings: _Settings, most_parts: int = _MOST_PARTS
) -> Array:
    """The gradient to the kernel in parts of the batch; the arguments as in ``input_gradient``."""
    form = _form(x, kernel, settings)
    if form == "grouped":
        most_parts = max(1, most_parts // settings["feature_group_count"])
        groups = zip(_split(g, settings), _groups(x, kernel, settings), strict=True)
        return jnp.concatenate(
            [kernel_gradient(g, *each, most_parts=most_parts) for g, each in groups], -1
        )
    # Joining pays for the products with the kernel alone.
    function = _FORMS["plain" if form == "joined" else form]
    layout = settings["dimension_numbers"]
    rows, out = layout.lhs_spec[0], layout.out_spec[0]
    batch = x.shape[rows]
    size = max(_PART_ROWS, -(-batch // most_parts))

    def part(start: int) -> Array:
        end = min(start + size, batch)
        some = lax.slice_in_dim(x, start, end, axis=rows)
        transposed = jax.linear_transpose(lambda kernel: function(some, kernel, settings), kernel)
        return transposed(lax.slice_in_dim(g, start, end, axis=out))[0]

    total = part(0)
    for start in range(size, batch, size):
        total = total + part(start)
    return total


def hold(x: Array) -> Array:
    """Returns x itself, computed once: not anew wherever it is used.

    XLA copies cheap producers into every consumer, so each part of a kernel's gradient went through
    a whole chain of residual sums again; by then it has dropped ``lax.optimization_barrier``. A
    loop stands in for one: its first turn never comes, which only the run can tell.

    Args:
        x: any array of floats.

    Example:
        >>> hold(jnp.arange(3.0)).tolist()
        [0.0, 1.0, 2.0]
    """
    first = x[(0,) * x.ndim]

    def turn(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        # Should the first entry be NaN, the turn comes, and changes nothing either.
        going, x = carry
        return going & False, jnp.where(going, x, -x)

    held: Array = lax.while_loop(lambda carry: carry[0], turn, (first != first, x))[1]
    return held


def _form(x: Array, kernel: Array, settings: _Settings) -> str:
    """Which form suits: "grouped" or a key of ``_FORMS``."""
    if settings["dimension_numbers"] != _CHANNELS_LAST or _dilates(settings["lhs_dilation"]):
        return "plain"
    if settings["feature_group_count"] > 1:
        return "depthwise" if kernel.shape[2] == 1 else "grouped"
    return "joined" if _can_be_joined(x, kernel, settings) else "plain"


def _dilates(dilation: tuple[int, ...] | None) -> bool:
    return dilation is not None and set(dilation) != {1}


def _can_be_joined(x: Array, kernel: Array, settings: _Settings) -> bool:
    """Whether neighbours of a row come in pairs, in the input and in the output."""
    width = x.shape[2] + sum(_pads(x, kernel, settings)[1]) - kernel.shape[1] + 1
    return (
        kernel.shape[1] > 1
        and max(kernel.shape[2:]) <= _NARROW
        and x.dtype == jnp.float32
        and set(settings["window_strides"]) == {1}
        and not _dilates(settings["rhs_dilation"])
        and x.shape[2] % 2 == width % 2 == 0
    )


def _steps(settings: _Settings) -> tuple[int, int]:
    """Pixels from one entry of the kernel to the next."""
    return settings["rhs_dilation"] or (1, 1)


def _pads(x: Array, kernel: Array, settings: _Settings) -> list[tuple[int, int]]:
    """Padding as (low, high) for each spatial axis."""
    padding, sizes = settings["padding"], kernel.shape[:2]
    if not isinstance(padding, str):
        return list(padding)
    reach = [(size - 1) * step + 1 for size, step in zip(sizes, _steps(settings), strict=True)]
    return list(lax.padtype_to_pads(x.shape[1:3], reach, settings["window_strides"], padding))


def _plain(x: Array, kernel: Array, settings: _Settings) -> Array:
    return lax.conv_general_dilated(x, kernel, **settings)


def _depthwise(x: Array, kernel: Array, settings: _Settings) -> Array:
    """A sum of shifted images, each times its entry of the kernel."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    images = jnp.pad(x, ((0, 0), *_pads(x, kernel, settings), (0, 0))).astype(wide)
    images = jnp.repeat(images, kernel.shape[3] // x.shape[3], 3)

    def shifted(image: Array, axis: int, index: int) -> Array:
        step, stride = _steps(settings)[axis], settings["window_strides"][axis]
        room = image.shape[axis + 1] - (kernel.shape[axis] - 1) * step
        return lax.slice_in_dim(image, index * step, index * step + room, stride, axis + 1)

    total = jnp.zeros((), wide)
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            total += shifted(shifted(images, 0, i), 1, j) * kernel[i, j, 0].astype(wide)
    return total.astype(x.dtype)


def _joined(x: Array, kernel: Array, settings: _Settings) -> Array:
    """Two neighbours of a row at once: a kernel wider by one, to twice as many channels."""
    first, second = (jnp.pad(kernel, ((0, 0), pad, (0, 0), (0, 0))) for pad in ((0, 1), (1, 0)))
    strides = {"window_strides": (1, 2), "padding": _pads(x, kernel, settings)}
    pairs = _plain(x, jnp.concatenate((first, second), 3), settings | strides)
    return pairs.reshape(*pairs.shape[:2], -1, kernel.shape[3])


def _joined_input_gradient(g: Array, x: Array, kernel: Array, settings: _Settings) -> Array:
    """The convolution of ``g`` with the kernel turned round."""
    pads = zip(kernel.shape[:2], _pads(x, kernel, settings), strict=True)
    padding = tuple((size - 1 - low, size - 1 - high) for size, (low, high) in pads)
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    gradient = _joined(g, turned, settings | {"padding": padding})
    # Adds nothing, but transposed it sums over the devices on which x is replicated.
    nothing = jnp.where(False, g[0, 0, 0, 0] + kernel[0, 0, 0, 0], 0)
    return jax.linear_transpose(lambda x: x + nothing, x)(gradient)[0]


def _split(x: Array, settings: _Settings) -> list[Array]:
    """The channels of each group."""
    return jnp.split(x, settings["feature_group_count"], -1)


def _groups(
    x: Array, kernel: Array, settings: _Settings
) -> Iterator[tuple[Array, Array, _Settings]]:
    """The arguments of the convolution of each group."""
    one = settings | {"feature_group_count": 1}
    for images, weights in zip(_split(x, settings), _split(kernel, settings), strict=True):
        yield images, weights, one


_FORMS = {"plain": _plain, "depthwise": _depthwise, "joined": _joined}
