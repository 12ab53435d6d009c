"""Unit vectors and the similarities between them."""

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses import checks


def l2_normalize(x: jax.Array) -> jax.Array:
    """Scales vectors to unit length.

    Computes ``x / ||x||`` over the last axis. A zero vector stays zero and its gradient is zero;
    any other vector of normal numbers becomes a unit vector, however long or short it is; NaN stays
    NaN.

    Args:
        x: [..., D], floating.

    Returns:
        [..., D]; float32 for bfloat16 and float16, else the dtype of ``x``.

    Raises:
        TypeError: ``x`` is not floating.

    Example:
        >>> import jax.numpy as jnp
        >>> l2_normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]

    The authors divide by the norm without guarding zero.
    """
    x = checks.as_floating(x, "x")
    # The result does not depend on the scale, so it needs no derivative; without it the squares
    # of long vectors overflow and those of short ones vanish.
    largest = lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True, initial=0.0))
    nonzero = ~(largest < jnp.finfo(x.dtype).tiny)  # true of NaN, which must not become zero
    scaled = jnp.where(nonzero, x / jnp.where(nonzero, largest, 1.0), 0.0)
    squared = jnp.sum(jnp.square(scaled), axis=-1, keepdims=True)
    return scaled * lax.rsqrt(jnp.where(nonzero, squared, 1.0))


def cross_network_logits(
    queries: jax.Array, keys: jax.Array, temperature: float | jax.Array
) -> jax.Array:
    """Similarity of every network's queries to every network's keys.

    Computes ``logits[a, b, i, k] = <queries[a, i], keys[b, k]> / temperature``.

    Args:
        queries: [M, B, D], floating.
        keys: [M, K, D], shared by the batch, or [M, B, K, D], a set for each anchor.
        temperature: a scalar above 0.

    Returns:
        [M, M, B, K]; sums are taken in float32 for bfloat16 and float16.

    Raises:
        TypeError: an argument is not floating.
        ValueError: the shapes do not fit together, or ``temperature`` is not a scalar above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> queries = jnp.array([[[1.0, 0.0]], [[0.0, 1.0]]])
        >>> cross_network_logits(queries, queries, 0.5)[:, :, 0, 0].tolist()
        [[2.0, 0.0], [0.0, 2.0]]
    """
    dtype = check_embeddings(queries, keys, temperature)
    pattern = "aid,bkd->abik" if keys.ndim == 3 else "aid,bikd->abik"
    products = jnp.einsum(
        pattern, queries, keys, precision=lax.Precision.HIGHEST, preferred_element_type=dtype
    )
    return products / jnp.asarray(temperature, dtype)


def check_embeddings(
    queries: jax.Array, keys: jax.Array, temperature: float | jax.Array
) -> jnp.dtype:
    """Checks the arguments of `cross_network_logits` and returns the dtype of the logits.

    Raises:
        TypeError, ValueError: as `cross_network_logits`.
    """
    checks.positive_number(temperature, "temperature")
    checks.rank(queries, 3, "queries", "[M, B, D]")
    checks.rank(keys, (3, 4), "keys", "[M, K, D] or [M, B, K, D]")
    networks, anchors, dim = queries.shape
    expected = (networks, anchors) if keys.ndim == 4 else (networks,)
    if keys.shape[: len(expected)] != expected or keys.shape[-1] != dim:
        raise ValueError(
            f"keys must be [M, K, D] or [M, B, K, D] for queries [M, B, D] of shape "
            f"{queries.shape}, got {keys.shape}."
        )
    return jnp.result_type(checks.as_floating(queries, "queries"), checks.as_floating(keys, "keys"))


def mean_cosine(x: jax.Array) -> jax.Array:
    """How alike the rows of a batch are: the mean similarity of two different ones.

    Computes ``(||sum_i x_i||^2 - sum_i ||x_i||^2) / (B (B - 1))``, for unit vectors the mean
    cosine: 1 where all rows are equal, about 0 where they spread over the sphere.

    Args:
        x: [..., B, D], floating; unit vectors, two or more.

    Returns:
        [...]; float32 for bfloat16 and float16, else the dtype of ``x``.

    Raises:
        TypeError: ``x`` is not floating.
        ValueError: there are fewer than two rows.

    Example:
        >>> import jax.numpy as jnp
        >>> mean_cosine(jnp.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])).tolist()
        [1.0, 0.0]
    """
    x = checks.as_floating(x, "x")
    rows = x.shape[-2] if x.ndim > 1 else 0
    if rows < 2:
        raise ValueError(f"x must be [..., B, D] of two rows or more, got shape {x.shape}.")
    joint = jnp.sum(jnp.square(jnp.sum(x, axis=-2)), axis=-1)
    return (joint - jnp.sum(jnp.square(x), axis=(-2, -1))) / (float(rows) * (rows - 1))
