"""Keys kept from earlier batches: a queue and a bank, as values that are passed in and returned."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses import checks, l2_normalize


class Queue(NamedTuple):
    """The newest keys of every network, first in first out.

    Attributes:
        keys: [M, K, D], unit vectors.
        cursor: [], int32, the place of the next key, which holds the oldest.
    """

    keys: jax.Array
    cursor: jax.Array


def init_queue(key: jax.Array, networks: int, size: int, dim: int) -> Queue:
    """A queue of random unit vectors, uniform on the sphere.

    Args:
        key: a JAX random key.
        networks: M.
        size: K, number of keys.
        dim: D.

    Returns:
        Queue of keys [M, K, D], float32, and a cursor of 0.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax
        >>> init_queue(jax.random.key(0), 2, 64, 16).keys.shape
        (2, 64, 16)
    """
    _check_sizes(networks=networks, size=size, dim=dim)
    return Queue(_unit_vectors(key, (networks, size, dim)), jnp.zeros((), jnp.int32))


def enqueue(queue: Queue, keys: jax.Array) -> Queue:
    """Replaces the oldest keys by those of a batch.

    Row i of the batch goes to place ``(cursor + i) mod K``; of a batch larger than the queue the
    last K rows stay. Gradients do not flow into the queue.

    Args:
        queue: Queue of keys [M, K, D].
        keys: [M, B, D], unit vectors; B may be any size.

    Returns:
        Queue with the cursor moved on by B (mod K).

    Raises:
        TypeError: ``keys`` is not floating.
        ValueError: ``keys`` is not [M, B, D] with the queue's M and D.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> queue = init_queue(jax.random.key(0), 1, 4, 2)
        >>> int(enqueue(queue, jnp.ones((1, 3, 2))).cursor)
        3
    """
    networks, size, dim = queue.keys.shape
    checks.as_floating(keys, "keys")
    if jnp.ndim(keys) != 3 or (keys.shape[0], keys.shape[2]) != (networks, dim):
        raise ValueError(
            f"keys must be [M, B, D] with M = {networks} and D = {dim}, got shape "
            f"{jnp.shape(keys)}."
        )
    batch = keys.shape[1]
    kept = min(batch, size)
    places = (queue.cursor + jnp.arange(batch - kept, batch)) % size
    newest = lax.stop_gradient(keys[:, batch - kept :]).astype(queue.keys.dtype)
    return Queue(
        queue.keys.at[:, places].set(newest, unique_indices=True),
        (queue.cursor + batch).astype(jnp.int32) % size,
    )


def init_bank(key: jax.Array, networks: int, rows: int, dim: int) -> jax.Array:
    """A bank of random unit vectors, one for each row of the data set and each network.

    Args:
        key: a JAX random key.
        networks: M.
        rows: N.
        dim: D.

    Returns:
        [M, N, D], float32.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> import jax
        >>> init_bank(jax.random.key(0), 2, 100, 16).shape
        (2, 100, 16)

    The authors draw from a cube, so that only the mean squared length is 1.
    """
    _check_sizes(networks=networks, rows=rows, dim=dim)
    return _unit_vectors(key, (networks, rows, dim))


def update_bank(
    bank: jax.Array, index: jax.Array, embeddings: jax.Array, momentum: float | jax.Array
) -> jax.Array:
    """Moves the rows of a batch towards its embeddings.

    Computes ``bank[:, index] = l2_normalize(momentum bank[:, index] + (1 - momentum) embeddings)``.
    Of a row that stands twice in the batch the last occurrence counts. Gradients do not flow into
    the bank.

    Args:
        bank: [M, N, D].
        index: [B], rows of the bank, integer.
        embeddings: [M, B, D], unit vectors.
        momentum: a scalar in [0, 1]; 0 replaces the rows.

    Returns:
        [M, N, D].

    Raises:
        TypeError: ``index`` is not integer, or ``embeddings`` is not floating.
        ValueError: shapes do not fit together, or ``momentum`` is not a scalar in [0, 1].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bank = init_bank(jax.random.key(0), 1, 4, 2)
        >>> update_bank(bank, jnp.array([1]), jnp.array([[[0.0, 1.0]]]), 0.0)[0, 1].tolist()
        [0.0, 1.0]
    """
    checks.rank(bank, 3, "bank", "[M, N, D]")
    checks.as_floating(embeddings, "embeddings")
    networks, rows, dim = bank.shape
    if not jnp.issubdtype(jnp.result_type(index), jnp.integer):
        raise TypeError(f"index must be integer, got {jnp.result_type(index)}.")
    if jnp.shape(embeddings) != (networks, *jnp.shape(index), dim) or jnp.ndim(index) != 1:
        raise ValueError(
            f"index must be [B] and embeddings [M, B, D] with M = {networks} and D = {dim}, got "
            f"shapes {jnp.shape(index)} and {jnp.shape(embeddings)}."
        )
    if jnp.ndim(momentum) != 0 or (isinstance(momentum, int | float) and not 0 <= momentum <= 1):
        raise ValueError(f"momentum must be a scalar from 0 to 1, got {momentum}.")
    order = jnp.arange(index.shape[0])
    repeated_later = jnp.any((index[:, None] == index) & (order[:, None] < order), axis=1)
    moved = l2_normalize(
        momentum * bank[:, index]
        + (1 - momentum) * lax.stop_gradient(embeddings).astype(bank.dtype)
    )
    # Rows outside the bank are dropped: where repeated writes meet, which one wins is undefined.
    places = jnp.where(repeated_later, rows, index)
    return bank.at[:, places].set(moved.astype(bank.dtype), mode="drop")


def _unit_vectors(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return l2_normalize(jax.random.normal(key, shape, jnp.float32))


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}.")
