"""Convolution that stays one convolution a network when networks are stacked and vmapped.

``jax.vmap`` of a convolution whose kernel is batched lowers to one *grouped* convolution, which XLA
runs many times slower than the same work done network by network. The function here carries its own
batching rule.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from mcl_jax.models import convolution_cpu

CONVOLUTIONS = ("per_network", "plain")

_Function = Callable[..., Array]


def _loop_over_networks(function: _Function, folds: tuple[int, ...] | None, out: int) -> _Function:
    """Gives ``function`` a batching rule: a call a network, or one if the kernel is shared.

    ``folds`` holds the batch axis of each argument before the kernel (which is last) and ``out``
    that of the result; None says that the result has no batch axis, so that calls cannot be joined.
    """
    batched_function = jax.custom_batching.custom_vmap(function)

    @batched_function.def_vmap
    def rule(size: int, batched: Sequence[bool], *args: Array) -> tuple[Array, bool]:
        if folds is not None and not batched[-1]:
            rows = [
                _fold(arg if b else jnp.broadcast_to(arg, (size, *arg.shape)), axis)
                for arg, b, axis in zip(args[:-1], batched[:-1], folds, strict=True)
            ]
            return _unfold(batched_function(*rows, args[-1]), out, size), True
        calls = [
            batched_function(*(a[i] if b else a for a, b in zip(args, batched, strict=True)))
            for i in range(size)
        ]
        return jnp.stack(calls), True

    return batched_function


def _fold(x: Array, axis: int) -> Array:
    """[n, ..., B, ...] -> [..., n * B, ...], where B stands at ``axis`` of one entry."""
    x = jnp.moveaxis(x, 0, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _unfold(x: Array, axis: int, size: int) -> Array:
    """[..., n * B, ...] -> [n, ..., B, ...], the inverse of ``_fold``."""
    x = x.reshape(*x.shape[:axis], size, -1, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)


@functools.cache
def _convolution(**settings: Any) -> _Function:
    """The convolution of one setting, cached so that layers alike share one function."""
    layout = settings["dimension_numbers"]
    rows, out = layout.lhs_spec[0], layout.out_spec[0]

    def plain(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(x, kernel, **settings)

    # Transposing (rather than writing the gradients out) lets JAX insert the sum over devices that
    # a replicated kernel needs under shard_map.
    def to_input(g: Array, x: Array, kernel: Array) -> Array:
        (gradient,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(g)
        return gradient

    def to_kernel(g: Array, x: Array, kernel: Array) -> Array:
        (gradient,) = jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(g)
        return gradient

    def by_platform(on_cpu: _Function, elsewhere: _Function) -> _Function:
        on_cpu = functools.partial(on_cpu, settings=settings)
        return functools.partial(lax.platform_dependent, cpu=on_cpu, default=elsewhere)

    forward = _loop_over_networks(by_platform(convolution_cpu.forward, plain), (rows,), out)
    input_gradient = _loop_over_networks(
        by_platform(convolution_cpu.input_gradient, to_input), (out, rows), rows
    )
    kernel_gradient = _loop_over_networks(
        by_platform(convolution_cpu.kernel_gradient, to_kernel), None, 0
    )

    @jax.custom_vjp
    def convolution(x: Array, kernel: Array) -> Array:
        return forward(x, kernel)

    def convolution_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        x = _hold(x)
        return forward(x, kernel), (x, kernel)

    def convolution_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
        g = _hold(g)
        return input_gradient(g, *saved), kernel_gradient(g, *saved)

    convolution.defvjp(convolution_forward, convolution_backward)
    return convolution


_hold = _loop_over_networks(
    functools.partial(lax.platform_dependent, cpu=convolution_cpu.hold, default=lambda x: x),
    None,
    0,
)


def _tuples(value: Any) -> Any:
    """Lists as tuples, so that settings are hashable."""
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def per_network_convolution(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Array:
    """A drop-in for ``jax.lax.conv_general_dilated`` that vmaps to one convolution a network.

    Made for ``flax.linen.Conv(conv_general_dilated=per_network_convolution)``. Value and gradients
    are those of the plain convolution. Where only the input is mapped (views of one network), the
    mapped axis joins the batch. There is no forward-mode derivative and hence no second derivative:
    use the plain convolution for those.

    Args:
        lhs: images, ``[B, H, W, c]`` or as ``dimension_numbers`` says.
        rhs: the kernel, ``[h, w, c, C]`` or as ``dimension_numbers`` says.
        window_strides: as ``jax.lax.conv_general_dilated``, and so are the others.
        padding: ``"SAME"``, ``"VALID"`` or (low, high) for each spatial axis.
        lhs_dilation: dilation of the input.
        rhs_dilation: dilation of the kernel.
        dimension_numbers: the axis layout.
        feature_group_count: number of channel groups.
        precision: precision of the products.

    Returns:
        The convolved images, ``[B, H', W', C]`` or as ``dimension_numbers`` says.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> images, kernels = jnp.ones((2, 4, 8, 8, 3)), jnp.ones((2, 3, 3, 3, 5))
        >>> layout = ("NHWC", "HWIO", "NHWC")
        >>> def one(x, w):
        ...     return per_network_convolution(x, w, (1, 1), "SAME", dimension_numbers=layout)
        >>> jax.vmap(one)(images, kernels).shape
        (2, 4, 8, 8, 5)
    """
    layout = dimension_numbers
    if not isinstance(layout, lax.ConvDimensionNumbers):
        layout = lax.conv_dimension_numbers(lhs.shape, rhs.shape, layout)
    function = _convolution(
        dimension_numbers=lax.ConvDimensionNumbers(*_tuples(tuple(layout))),
        window_strides=_tuples(window_strides),
        padding=_tuples(padding),
        lhs_dilation=_tuples(lhs_dilation),
        rhs_dilation=_tuples(rhs_dilation),
        feature_group_count=feature_group_count,
        precision=_tuples(precision),
    )
    return function(lhs, rhs)


def select_convolution(name: str) -> _Function:
    """The convolution of that name: ``"per_network"``, or ``"plain"`` for second-order work.

    Args:
        name: one of ``CONVOLUTIONS``.

    Returns:
        A function with the arguments of ``jax.lax.conv_general_dilated``.

    Raises:
        ValueError: if there is no convolution of that name.

    Example:
        >>> select_convolution("per_network") is per_network_convolution
        True
    """
    functions: dict[str, _Function] = {
        "per_network": per_network_convolution,
        "plain": lax.conv_general_dilated,
    }
    if name not in functions:
        raise ValueError(f"convolution must be one of {', '.join(CONVOLUTIONS)}; got {name!r}.")
    return functions[name]
