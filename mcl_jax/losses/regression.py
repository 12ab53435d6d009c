"""Regression of one embedding on another, without negatives."""

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses import checks
from mcl_jax.losses.similarity import l2_normalize


def cosine_regression(predictions: jax.Array, targets: jax.Array) -> jax.Array:
    """Squared distance between the directions of predictions and of stopped targets.

    Computes ``2 - 2 cos(predictions, stop(targets))``.

    Args:
        predictions: [..., D], floating, of any length.
        targets: [..., D], the same shape. No gradient flows into them.

    Returns:
        [...], from 0 to 4; 2 where a vector is zero.

    Raises:
        TypeError: an argument is not floating.
        ValueError: the shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[3.0, 0.0], [0.0, 2.0]])
        >>> cosine_regression(x, jnp.array([[1.0, 0.0], [5.0, 0.0]])).tolist()
        [0.0, 2.0]

    BYOL, arXiv 2006.07733, whose loss is the sum over the two ways round of two views. The authors
    write it as the squared distance of vectors that are divided by at least 1e-6, which is the same
    for vectors longer than that.
    """
    if jnp.shape(predictions) != jnp.shape(targets) or jnp.ndim(predictions) == 0:
        raise ValueError(
            f"predictions and targets must both be [..., D] of one shape, got shapes "
            f"{jnp.shape(predictions)} and {jnp.shape(targets)}."
        )
    predictions, targets = (
        checks.as_floating(x, name)
        for x, name in ((predictions, "predictions"), (targets, "targets"))
    )
    cosine = jnp.sum(l2_normalize(predictions) * l2_normalize(lax.stop_gradient(targets)), axis=-1)
    return 2 - 2 * cosine
