import collections
import doctest
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import memory

M, K, D = 2, 5, 3
RNG = np.random.default_rng(0)


def vectors(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("shape", [(2, 64, 16), (1, 1, 3)])
def test_queue_and_bank_start_as_random_unit_vectors(shape: tuple[int, int, int]) -> None:
    key = jax.random.key(0)
    queue, bank = memory.init_queue(key, *shape), memory.init_bank(key, *shape)
    assert queue.cursor.dtype == jnp.int32
    assert queue.cursor.shape == ()
    assert queue.cursor == 0
    for x in (queue.keys, bank):
        assert x.shape == shape
        assert x.dtype == jnp.float32
        np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1), 1, rtol=1e-6)
        assert len(np.unique(x)) == x.size
    other = memory.init_bank(jax.random.key(1), *shape)
    assert not np.any(other == bank)


def test_vectors_are_uniform_on_the_sphere() -> None:
    bank = np.asarray(memory.init_bank(jax.random.key(0), 1, 20_000, 4)[0], np.float64)
    np.testing.assert_allclose(bank.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(bank.T @ bank / len(bank), np.eye(4) / 4, atol=0.02)
    # A projected cube has heavier corners: the fourth moment of a coordinate tells them apart.
    np.testing.assert_allclose((bank**4).mean(axis=0), 3 / (4 * 6), atol=0.005)


def oldest_first(queue: memory.Queue) -> np.ndarray:
    return np.roll(queue.keys, -int(queue.cursor), axis=1)


@pytest.mark.parametrize(
    "batches",
    [(1, 1, 1, 1, 1, 1), (2, 2, 2, 2), (3, 4, 3), (5, 5), (2, 5, 1), (7, 3), (12, 1), (0, 2)],
)
def test_enqueue_is_a_deque(batches: tuple[int, ...]) -> None:
    start = RNG.normal(size=(M, K, D)).astype(np.float32)
    queue = memory.Queue(start, np.int32(0))
    expected = collections.deque(np.moveaxis(start, 1, 0), maxlen=K)
    push = jax.jit(memory.enqueue)
    for size in batches:
        keys = RNG.normal(size=(M, size, D)).astype(np.float32)
        queue = push(queue, keys)
        expected.extend(np.moveaxis(keys, 1, 0))
        assert 0 <= int(queue.cursor) < K
        np.testing.assert_array_equal(oldest_first(queue), np.stack(expected, axis=1))


def test_rows_go_to_the_places_from_the_cursor_on() -> None:
    queue = memory.Queue(jnp.zeros((1, 4, 1)), jnp.int32(3))
    queue = memory.enqueue(queue, jnp.array([[[1.0], [2.0]]]))
    np.testing.assert_array_equal(queue.keys[0, :, 0], [2, 0, 0, 1])
    assert queue.cursor == 1


def test_enqueue_in_place_of_a_donated_queue() -> None:
    queue = memory.init_queue(jax.random.key(0), M, K, D)
    keys = vectors(M, 3, D)
    expected = memory.enqueue(queue, keys)
    pushed = jax.jit(memory.enqueue, donate_argnums=0)(queue, keys)
    assert queue.keys.is_deleted()
    jax.tree.map(np.testing.assert_array_equal, pushed, expected)


def test_a_queue_keeps_its_dtypes_through_a_scan() -> None:
    queue = memory.init_queue(jax.random.key(0), M, K, D)
    batches = vectors(4, M, 3, D).astype(jnp.bfloat16)
    scanned, _ = jax.lax.scan(lambda q, keys: (memory.enqueue(q, keys), None), queue, batches)
    for keys in batches:
        queue = memory.enqueue(queue, keys)
    jax.tree.map(np.testing.assert_array_equal, scanned, queue)


def moved(bank: Any, index: Any, embeddings: Any, momentum: float) -> np.ndarray:
    """Row by row in the order of the batch, every occurrence from the old bank."""
    out = np.array(bank, np.float64)
    for m in range(len(bank)):
        for i, row in enumerate(index):
            x = momentum * np.float64(bank[m, row]) + (1 - momentum) * np.float64(embeddings[m, i])
            out[m, row] = x / np.linalg.norm(x)
    return out


@pytest.mark.parametrize("momentum", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("index", [(4, 0, 7), (3,), (2, 5, 2, 2, 5, 0), (1, 1)])
def test_update_bank_against_loops(index: tuple[int, ...], momentum: float) -> None:
    bank, embeddings = memory.init_bank(jax.random.key(0), M, 8, D), vectors(M, len(index), D)
    updated = jax.jit(memory.update_bank)(bank, jnp.array(index), embeddings, momentum)
    assert updated.dtype == bank.dtype
    np.testing.assert_allclose(updated, moved(bank, index, embeddings, momentum), atol=1e-6)
    others = np.setdiff1d(np.arange(8), index)
    np.testing.assert_array_equal(updated[:, others], bank[:, others])


def test_update_of_a_donated_bank() -> None:
    bank, embeddings = memory.init_bank(jax.random.key(0), M, 8, D), vectors(M, 2, D)
    expected = memory.update_bank(bank, jnp.array([1, 6]), embeddings, 0.5)
    update = jax.jit(memory.update_bank, donate_argnums=0)
    np.testing.assert_allclose(
        update(bank, jnp.array([1, 6]), embeddings, 0.5), expected, atol=1e-7
    )
    assert bank.is_deleted()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_bank_keeps_its_dtype(dtype: Any) -> None:
    bank, embeddings = memory.init_bank(jax.random.key(0), M, 8, D).astype(dtype), vectors(M, 2, D)
    updated = memory.update_bank(bank, jnp.array([1, 6]), embeddings, 0.5)
    assert updated.dtype == dtype
    np.testing.assert_allclose(np.float64(updated), moved(bank, (1, 6), embeddings, 0.5), atol=2e-2)


def test_no_gradient_reaches_embeddings() -> None:
    queue = memory.init_queue(jax.random.key(0), M, K, D)
    bank, embeddings = queue.keys, vectors(M, 2, D)
    for f in (
        lambda x: jnp.sum(memory.enqueue(queue, x).keys ** 3),
        lambda x: jnp.sum(memory.update_bank(bank, jnp.array([1, 3]), x, 0.5) ** 3),
    ):
        np.testing.assert_array_equal(jax.grad(f)(embeddings), 0)


KEY = jax.random.key(0)
QUEUE = memory.Queue(jnp.ones((M, K, D)), jnp.int32(0))
BANK, INDEX, X = QUEUE.keys, jnp.array([0, 1]), jnp.ones((M, 2, D))
KEYS = "keys must be [M, B, D] with M = 2 and D = 3, got shape "
SHAPES = "index must be [B] and embeddings [M, B, D] with M = 2 and D = 3, got shapes "


@pytest.mark.parametrize(
    ("f", "args", "error", "message"),
    [
        (memory.init_queue, (KEY, 0, 1, 1), ValueError, "networks must be at least 1, got 0."),
        (memory.init_queue, (KEY, 1, 0, 1), ValueError, "size must be at least 1, got 0."),
        (memory.init_bank, (KEY, 1, -1, 1), ValueError, "rows must be at least 1, got -1."),
        (memory.init_bank, (KEY, 1, 1, 0), ValueError, "dim must be at least 1, got 0."),
        (memory.enqueue, (QUEUE, X[0]), ValueError, KEYS + "(2, 3)."),
        (memory.enqueue, (QUEUE, X[:1]), ValueError, KEYS + "(1, 2, 3)."),
        (memory.enqueue, (QUEUE, X[..., :2]), ValueError, KEYS + "(2, 2, 2)."),
        (
            memory.enqueue,
            (QUEUE, X.astype(int)),
            TypeError,
            "keys must have a floating dtype, got int32.",
        ),
        (
            memory.update_bank,
            (BANK[0], INDEX, X, 0.5),
            ValueError,
            "bank must have axes [M, N, D], got shape (5, 3).",
        ),
        (
            memory.update_bank,
            (BANK, INDEX.astype(float), X, 0.5),
            TypeError,
            "index must be integer, got float32.",
        ),
        (
            memory.update_bank,
            (BANK, INDEX, X.astype(int), 0.5),
            TypeError,
            "embeddings must have a floating dtype, got int32.",
        ),
        (memory.update_bank, (BANK, INDEX[:1], X, 0.5), ValueError, SHAPES + "(1,) and (2, 2, 3)."),
        (
            memory.update_bank,
            (BANK, INDEX[None], X[:, None], 0.5),
            ValueError,
            SHAPES + "(1, 2) and (2, 1, 2, 3).",
        ),
        (
            memory.update_bank,
            (BANK, INDEX, X, 1.5),
            ValueError,
            "momentum must be a scalar from 0 to 1, got 1.5.",
        ),
    ],
)
def test_refuses(f: Any, args: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        f(*args)


def test_examples() -> None:
    results = doctest.testmod(memory)
    assert results.attempted > 0
    assert results.failed == 0
