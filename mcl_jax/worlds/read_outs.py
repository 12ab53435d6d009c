"""Linear read-outs of features that stay as they are."""

import jax
import jax.numpy as jnp
import optax
from jax import lax

_STEPS, _RATE, _DECAY = 300, 0.05, 1e-3
_PRECISION = lax.Precision.HIGHEST


def read_classes(
    features: jax.Array, labels: jax.Array, held_out: jax.Array, *, classes: int
) -> jax.Array:
    """Fits softmax regression to some rows and lets it answer for others.

        minimise  mean over rows of cross-entropy + 0.001 / 2 sum(W^2)

    Features are standardised first, as they lie in the rows that are fitted; 300 steps of Adam over
    all rows follow, their rate falling from 0.05 to 0 as a cosine.

    Args:
        features: [N, F], floating, of the rows that are fitted.
        labels: [N], integer, in 0 ... ``classes`` - 1.
        held_out: [n, F], of the others.
        classes: C.

    Returns:
        int32 [n], the most probable class of each.

    Example:
        >>> rows = jnp.eye(3).repeat(4, axis=0)
        >>> read_classes(rows, jnp.arange(3).repeat(4), jnp.eye(3), classes=3).tolist()
        [0, 1, 2]
    """
    fitted, judged = _standardised(features, held_out)
    optimizer = optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS))

    def loss(params: tuple[jax.Array, jax.Array]) -> jax.Array:
        weights, bias = params
        logits = jnp.matmul(fitted, weights, precision=_PRECISION) + bias
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(entropy) + _DECAY / 2 * jnp.sum(weights**2)

    def step(carry: tuple, _: None) -> tuple[tuple, None]:
        params, state = carry
        moves, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, moves), state), None

    start = jnp.zeros((fitted.shape[1], classes)), jnp.zeros(classes)
    (weights, bias), _ = lax.scan(step, (start, optimizer.init(start)), length=_STEPS)[0]
    return jnp.argmax(jnp.matmul(judged, weights, precision=_PRECISION) + bias, axis=1)


def read_positions(features: jax.Array, positions: jax.Array, held_out: jax.Array) -> jax.Array:
    """Fits ridge regression to some rows and lets it answer for others.

        minimise  mean over rows of sum((x W + b - position)^2) + 0.001 sum(W^2)

    Features are standardised first, as in `read_classes`; the minimum is found exactly.

    Args:
        features: [N, F], floating, of the rows that are fitted.
        positions: [N, 2], floating.
        held_out: [n, F], of the others.

    Returns:
        [n, 2], in the unit of ``positions``.

    Example:
        >>> rows = jnp.arange(6.0)[:, None]
        >>> held_out = jnp.array([[1.5]])
        >>> read_positions(rows, jnp.tile(rows, 2) * 2, held_out).round(1).tolist()
        [[3.0, 3.0]]
    """
    fitted, judged = _standardised(features, held_out)
    mean = jnp.mean(positions, axis=0)
    gram = jnp.matmul(fitted.T, fitted, precision=_PRECISION) / len(fitted)
    towards = jnp.matmul(fitted.T, positions - mean, precision=_PRECISION) / len(fitted)
    weights = jax.scipy.linalg.solve(gram + _DECAY * jnp.eye(len(gram)), towards, assume_a="pos")
    return mean + jnp.matmul(judged, weights, precision=_PRECISION)


def _standardised(features: jax.Array, held_out: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both, with mean 0 and deviation 1 over the rows of the first; constants become 0."""
    mean, scale = jnp.mean(features, axis=0), jnp.std(features, axis=0)
    scale = jnp.where(scale > 1e-6, scale, jnp.inf)
    return (features - mean) / scale, (held_out - mean) / scale
