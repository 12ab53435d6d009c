"""Checks of arguments: each failure is one sentence that quotes what was received."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def as_floating(x: jax.Array, name: str) -> jax.Array:
    """Returns ``x`` in the dtype sums are taken in: bfloat16 and float16 become float32.

    Args:
        x: an array of a floating dtype, any shape.
        name: how the caller knows the argument.

    Raises:
        TypeError: ``x`` is not floating.
    """
    dtype = jnp.result_type(x)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"{name} must have a floating dtype, got {dtype}.")
    return jnp.asarray(x, dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32)


def integer(x: jax.Array, name: str) -> None:
    """Raises TypeError unless ``x``, of any shape, has an integer dtype."""
    if not jnp.issubdtype(jnp.result_type(x), jnp.integer):
        raise TypeError(f"{name} must be integer, got {jnp.result_type(x)}.")


def rank(x: jax.Array, ranks: int | tuple[int, ...], name: str, axes: str) -> None:
    """Raises ValueError unless ``x`` has one of ``ranks`` axes; ``axes`` names them."""
    allowed = (ranks,) if isinstance(ranks, int) else ranks
    if jnp.ndim(x) not in allowed:
        raise ValueError(f"{name} must have axes {axes}, got shape {jnp.shape(x)}.")


def network_pairs(logits: jax.Array, weights: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns logits [M, M, B, K] and weights [M, M] of the pairs, None being a weight of 1.

    Raises:
        TypeError: ``logits`` is not floating.
        ValueError: a shape is not as above.
    """
    logits = as_floating(logits, "logits")
    if logits.ndim != 4 or logits.shape[0] != logits.shape[1]:
        raise ValueError(f"logits must have axes [M, M, B, K], got shape {logits.shape}.")
    return logits, pair_weights(weights, logits.shape[0], logits.dtype)


def pair_weights(weights: jax.Array | None, networks: int, dtype: jnp.dtype) -> jax.Array:
    """Returns weights [M, M], None being a weight of 1; raises ValueError for another shape."""
    shape = (networks, networks)
    if weights is None:
        return jnp.ones(shape, dtype)
    if jnp.shape(weights) != shape:
        raise ValueError(f"pair_weights must have shape {shape}, got {jnp.shape(weights)}.")
    return jnp.asarray(weights, dtype)


def mask(x: jax.Array, shape: tuple[int, ...], name: str) -> jax.Array:
    """Broadcasts a boolean mask to ``shape``; raises as `mask_fits`."""
    mask_fits(x, shape, name)
    return jnp.broadcast_to(x, shape)


def mask_fits(x: jax.Array, shape: tuple[int, ...], name: str) -> None:
    """Checks that ``x`` is a boolean mask that broadcasts to ``shape``.

    Raises:
        TypeError: ``x`` is not boolean.
        ValueError: ``x`` is None or does not broadcast to ``shape``.
    """
    if x is None:
        raise ValueError(f"{name} must be a boolean mask over the keys, got None.")
    if jnp.result_type(x) != jnp.bool_:
        raise TypeError(f"{name} must be boolean, got {jnp.result_type(x)}.")
    if not broadcasts(jnp.shape(x), shape):
        raise ValueError(f"{name} must broadcast to {shape}, got shape {jnp.shape(x)}.")


def broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of ``shape`` broadcasts to ``target``."""
    ends = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(x in (1, y) for x, y in ends)


def optional_mask(x: jax.Array | None, shape: tuple[int, ...], name: str) -> jax.Array | None:
    """As `mask`; None, which means every key, stays None."""
    return None if x is None else mask(x, shape, name)


def number(x: float | jax.Array, name: str) -> bool:
    """Checks that ``x`` is one number, and returns whether it is known yet (not traced).

    Raises:
        TypeError: ``x`` is not a number.
        ValueError: ``x`` is an array of several.
    """
    if not isinstance(x, int | float | np.generic | np.ndarray | jax.Array):
        raise TypeError(f"{name} must be a number, got {x!r}.")
    if jnp.ndim(x) != 0:
        raise ValueError(f"{name} must be a scalar, got shape {jnp.shape(x)}.")
    return not isinstance(x, jax.core.Tracer)


def positive_number(x: float | jax.Array, name: str) -> None:
    """Raises TypeError or ValueError unless ``x`` is a scalar above zero, as far as is known."""
    if number(x, name) and not x > 0:
        raise ValueError(f"{name} must be above 0, got {x}.")


def share(x: float | jax.Array, name: str) -> None:
    """Raises TypeError or ValueError unless ``x`` is a scalar from 0 to 1, as far as is known."""
    if jnp.ndim(x) != 0 or (number(x, name) and not 0 <= x <= 1):
        raise ValueError(f"{name} must be a scalar from 0 to 1, got {x}.")


def mapped_axis(name: str, argument: str = "axis_name") -> str:
    """Returns ``name``; raises ValueError unless the function is mapped over such an axis."""
    try:
        lax.axis_size(name)
    except NameError:
        raise ValueError(
            f"{argument} must be an axis that the function is mapped over, got {name!r}."
        ) from None
    return name
