"""Boolean masks over keys: which are positive, which are candidates."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mcl_jax.losses import checks


def same_class(labels: jax.Array, key_labels: jax.Array | None = None) -> jax.Array:
    """Marks the keys of the anchor's class, oneself included.

    Computes ``mask[i, k] = (labels[i] == key_labels[k])``.

    Args:
        labels: [B], the anchors' classes, integer.
        key_labels: [K], the keys' classes, or [B, K], a set for each anchor; None takes ``labels``.

    Returns:
        [B, K], bool.

    Raises:
        TypeError: an argument is not integer.
        ValueError: a shape is not as above.

    Example:
        >>> import jax.numpy as jnp
        >>> same_class(jnp.array([0, 1]), jnp.array([1, 1, 0])).tolist()
        [[False, False, True], [True, True, False]]
    """
    return _compare_rows(labels, key_labels, jnp.equal, "labels")


def not_self(index: jax.Array, key_index: jax.Array | None = None) -> jax.Array:
    """Marks the keys that are another row than the anchor.

    Computes ``mask[i, k] = (index[i] != key_index[k])``.

    Args:
        index: [B], the anchors' positions in the whole batch (or rows of a bank), integer.
        key_index: [K], those of the keys, or [B, K]; None takes ``index``.

    Returns:
        [B, K], bool.

    Raises:
        TypeError: an argument is not integer.
        ValueError: a shape is not as above.

    Example:
        >>> import jax.numpy as jnp
        >>> not_self(jnp.arange(2), jnp.arange(3)).tolist()
        [[False, True, True], [True, False, True]]
    """
    return _compare_rows(index, key_index, jnp.not_equal, "index")


def _compare_rows(
    anchors: jax.Array,
    keys: jax.Array | None,
    compare: Callable[[jax.Array, jax.Array], jax.Array],
    name: str,
) -> jax.Array:
    """Compares [B] with [K] or [B, K] to [B, K]."""
    checks.rank(anchors, 1, name, "[B]")
    keys = anchors if keys is None else keys
    checks.rank(keys, (1, 2), f"key_{name}", "[K] or [B, K]")
    for array, argument in ((anchors, name), (keys, f"key_{name}")):
        checks.integer(array, argument)
    anchors, keys = jnp.asarray(anchors), jnp.asarray(keys)
    if keys.ndim == 2 and keys.shape[0] != anchors.shape[0]:
        raise ValueError(
            f"key_{name} must be [K] or [B, K] with B = {anchors.shape[0]}, got shape {keys.shape}."
        )
    return compare(anchors[:, None], keys)
