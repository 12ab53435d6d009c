"""The nearest rows by cosine, exactly, a part of the queries at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_AT_ONCE = 2**25  # similarities that are held at the same time: 128 MiB


def nearest(
    keys: np.ndarray,
    queries: np.ndarray,
    count: int,
    *,
    without_itself: bool = False,
    at_once: int = _AT_ONCE,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of ``keys`` with the largest cosine to each query.

    Every key is compared; of n queries so few at a time that no more than ``at_once`` cosines
    exist. Among equal ones the earlier key is the nearer. The cosine of a row of zeros is 0.

    Args:
        keys: [N, F], floating.
        queries: [n, F].
        count: k, rows for each query; no more than there are are returned.
        without_itself: the queries are the keys, and none is its own neighbour.
        at_once: cosines, at least those of one query.

    Returns:
        float32 cosines [n, k], falling, and int32 rows [n, k].

    Raises:
        ValueError: the shapes do not fit together, or ``count`` is not 1 or more.

    Example:
        >>> import numpy as np
        >>> cosines, rows = nearest(np.eye(3), np.array([[2.0, 1.0, 0.0]]), 2)
        >>> cosines.astype(float).round(3).tolist(), rows.tolist()
        ([[0.894, 0.447]], [[0, 1]])
    """
    shapes = np.shape(keys), np.shape(queries)
    if [len(shape) for shape in shapes] != [2, 2] or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"keys must be [N, F] and queries [n, F], got {shapes[0]}, {shapes[1]}.")
    if without_itself and shapes[0] != shapes[1]:
        raise ValueError(
            f"without_itself wants the keys as queries, got {shapes[0]} and {shapes[1]}."
        )
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}.")
    count = min(count, len(keys) - without_itself)
    if not (len(queries) and count):
        return np.empty((len(queries), count), np.float32), np.empty(
            (len(queries), count), np.int32
        )
    rows = min(len(queries), max(1, at_once // len(keys)))
    on_device = jnp.asarray(unit(keys))
    unit_queries = unit(queries)
    parts = []
    for start in range(0, len(queries), rows):
        part = unit_queries[start : start + rows]
        filled = np.pad(part, [(0, rows - len(part)), (0, 0)])
        own = jnp.int32(start) if without_itself else None
        parts.append([x[: len(part)] for x in _search(on_device, filled, own, count)])
    cosines, found = (np.concatenate(x) for x in zip(*parts, strict=True))
    return cosines, found


def unit(x: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; zero stays zero."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


@functools.partial(jax.jit, static_argnums=3)
def _search(
    keys: jax.Array, queries: jax.Array, own: jax.Array | None, count: int
) -> tuple[jax.Array, jax.Array]:
    """Cosines and rows [n, count]; key ``own + i`` is not looked at for query i."""
    cosines = jnp.matmul(queries, keys.T, precision=lax.Precision.HIGHEST)
    if own is not None:
        itself = own + jnp.arange(len(queries))[:, None] == jnp.arange(len(keys))
        cosines = jnp.where(itself, -jnp.inf, cosines)
    return lax.top_k(cosines, count)
