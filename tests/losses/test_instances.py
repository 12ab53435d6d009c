import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import TOLERANCE, assert_close, assert_gradient, log_sum_exp, run, unit

from mcl_jax import losses

B, N, D, K = 5, 12, 4, 7
INDEX = np.array([3, 0, 11, 3, 7])
RNG = np.random.default_rng(0)
POSITIVE, NEGATIVES = 3 * RNG.normal(size=(2, B)), 3 * RNG.normal(size=(2, B, K))


def discrimination(
    queries: np.ndarray, bank: np.ndarray, index: np.ndarray, temperature: float
) -> float:
    rows = [[q @ m / temperature for m in bank] for q in queries]
    values = [log_sum_exp(row) - row[j] for row, j in zip(rows, index, strict=True)]
    return float(np.mean(values))


def nce(positive: np.ndarray, negatives: np.ndarray, log_z: float, rows: int) -> np.ndarray:
    """The equation with probabilities, an anchor and a negative at a time."""
    noise = negatives.shape[-1] / rows
    out = np.zeros(positive.shape)
    for i in np.ndindex(out.shape):
        own = np.exp(positive[i] - log_z)
        out[i] = -np.log(own / (own + noise))
        for logit in negatives[i]:
            out[i] -= np.log(noise / (np.exp(logit - log_z) + noise))
    return out


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_instance_discrimination_against_loops(dtype: str) -> None:
    queries, bank = unit(1, B, D), unit(2, N, D)
    value = run(
        lambda q, m: losses.instance_discrimination(q, m, INDEX, temperature=0.1),
        queries,
        bank,
        dtype=dtype,
    )
    assert value.dtype == dtype
    assert_close(value, discrimination(queries, bank, INDEX, 0.1), TOLERANCE[dtype])


def test_instance_discrimination_gradients() -> None:
    queries, bank = unit(1, B, D), unit(2, N, D)
    f = functools.partial(losses.instance_discrimination, temperature=0.2)
    moved, kept = run(jax.grad(lambda q, m: f(q, m, INDEX), argnums=(0, 1)), queries, bank)
    assert_gradient(moved, lambda q: discrimination(q, bank, INDEX, 0.2), queries)
    assert_gradient(kept, lambda m: discrimination(queries, m, INDEX, 0.2), bank)


@pytest.mark.parametrize("temperature", [0.01, 0.07, 10.0])
def test_a_bank_of_equal_rows_gives_the_logarithm_of_their_number(temperature: float) -> None:
    queries, bank = unit(3, B, D), np.broadcast_to(unit(4, D), (N, D))
    value = run(
        lambda q, m: losses.instance_discrimination(q, m, INDEX, temperature=temperature),
        queries,
        bank,
    )
    assert_close(value, np.log(N), 1e-12)


@pytest.mark.parametrize("outside", [-1, N])
def test_an_anchor_whose_row_is_not_in_the_bank_does_not_count(outside: int) -> None:
    queries, bank = unit(1, B, D), unit(2, N, D)
    index = np.where(np.arange(B) == 2, outside, INDEX)
    f = functools.partial(losses.instance_discrimination, temperature=0.1)
    value, gradient = run(jax.value_and_grad(lambda q: f(q, bank, index)), queries)
    kept = [0, 1, 3, 4]
    assert_close(value, discrimination(queries[kept], bank, INDEX[kept], 0.1), 1e-9)
    np.testing.assert_array_equal(gradient[2], 0)


@pytest.mark.parametrize("temperature", [0.01, 10.0])
def test_zero_vectors_give_finite_numbers(temperature: float) -> None:
    queries, bank = unit(1, B, D), unit(2, N, D)
    queries[1], bank[3] = 0, 0

    def f(q: jax.Array, m: jax.Array) -> jax.Array:
        q, m = losses.l2_normalize(q), losses.l2_normalize(m)
        return losses.instance_discrimination(q, m, INDEX, temperature=temperature)

    value, gradients = run(jax.value_and_grad(f, argnums=(0, 1)), queries, bank, dtype="float32")
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(x)) for x in gradients)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_nce_against_loops(dtype: str) -> None:
    values = run(lambda p, n: losses.nce(p, n, 2.3, 40), POSITIVE, NEGATIVES, dtype=dtype)
    assert (values.dtype, values.shape) == (dtype, POSITIVE.shape)
    assert_close(values, nce(POSITIVE, NEGATIVES, 2.3, 40), TOLERANCE[dtype])


def test_nce_gradients() -> None:
    moved = run(
        jax.grad(lambda p, n: jnp.sum(losses.nce(p, n, 2.3, 40)), argnums=(0, 1)),
        POSITIVE,
        NEGATIVES,
    )
    assert_gradient(moved[0], lambda p: nce(p, NEGATIVES, 2.3, 40).sum(), POSITIVE)
    assert_gradient(moved[1], lambda n: nce(POSITIVE, n, 2.3, 40).sum(), NEGATIVES)


def test_every_network_may_have_its_own_partition() -> None:
    log_z = np.array([[1.0], [4.0]])
    values = run(lambda z: losses.nce(POSITIVE, NEGATIVES, z, 40), log_z)
    expected = [nce(p, n, z[0], 40) for p, n, z in zip(POSITIVE, NEGATIVES, log_z, strict=True)]
    assert_close(values, np.stack(expected), 1e-9)


def test_the_partition_is_a_constant() -> None:
    gradient = jax.grad(lambda z: jnp.sum(losses.nce(POSITIVE, NEGATIVES, z, 40)))(2.3)
    assert gradient == 0


def test_nce_is_the_softmax_over_all_rows_where_many_are_drawn() -> None:
    """Every row drawn equally often and the right partition: cross-entropy + log(K/N) + 1."""
    logits, own, repeats = np.random.default_rng(5).normal(size=(B, N)), np.arange(B), 10_000

    def estimate(x: jax.Array) -> jax.Array:
        log_z = jax.nn.logsumexp(x, axis=-1)
        drawn = jnp.repeat(x, repeats, axis=-1)
        return jnp.sum(losses.nce(x[own, own], drawn, log_z, N))

    def softmax(x: jax.Array) -> jax.Array:
        return jnp.sum(jax.nn.logsumexp(x, axis=-1) - x[own, own])

    value, gradient = run(jax.value_and_grad(estimate), logits)
    expected, slope = run(jax.value_and_grad(softmax), logits)
    assert_close(value / B, expected / B + np.log(repeats) + 1, 1e-4)
    assert_close(gradient, slope, 1e-3)


def test_the_authors_constant_in_the_denominators_raises_the_value_by_little() -> None:
    rows, log_z = 100_000, np.log(100_000 * 2.0)
    own, noise = np.exp(POSITIVE - log_z), K / rows
    others = np.exp(NEGATIVES - log_z)
    authors = -np.log(own / (own + noise + 1e-7))
    authors -= np.log(noise / (others + noise + 1e-7)).sum(axis=-1)
    gap = authors - run(lambda p, n: losses.nce(p, n, log_z, rows), POSITIVE, NEGATIVES)
    assert np.all(gap > 0)
    assert np.all(gap < 1e-7 * rows * (1 + 1 / K))
    assert gap.max() > 0.5e-7 * rows


@pytest.mark.parametrize("log_z", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("logit", [-100.0, 0.0, 100.0])
def test_nce_of_far_logits_and_partitions(logit: float, log_z: float) -> None:
    positive, negatives = np.full(2, logit), np.full((2, K), -logit)
    f = jax.value_and_grad(lambda p, n: jnp.sum(losses.nce(p, n, log_z, N)), argnums=(0, 1))
    value, gradients = run(f, positive, negatives, dtype="float32")
    even = log_z + np.log(K / N)
    expected = 2 * (np.logaddexp(0, even - logit) + K * np.logaddexp(0, -logit - even))
    assert_close(value, expected, 1e-5)
    assert all(np.all(np.isfinite(x)) and np.all(np.abs(x) <= 1) for x in gradients)


def partition_of(batches: Any, **options: Any) -> losses.Partition:
    update = jax.jit(functools.partial(losses.update_partition, **options))
    partition = losses.init_partition()
    for logits in batches:
        partition = update(partition, logits)
    return partition


@pytest.mark.parametrize(
    ("momentum", "newest"), [(0.99, 0.0), (1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.0, 1.0)]
)
def test_partition_is_a_running_mean(momentum: float, newest: float) -> None:
    batches, mean = RNG.normal(size=(9, 3, 4)), 0.0
    for count, logits in enumerate(batches, start=1):
        rate = max(1 / count, newest)
        mean = (1 - rate) * mean + rate * np.exp(logits).mean()
    partition = partition_of(batches, momentum=momentum)
    assert partition.batches == len(batches)
    np.testing.assert_allclose(partition.log_mean, np.log(mean), rtol=1e-5)
    if newest == 0:
        np.testing.assert_allclose(np.exp(partition.log_mean), np.exp(batches).mean(), rtol=1e-5)


@pytest.mark.parametrize("size", [-1000.0, 100.0, 1000.0])
def test_partition_of_far_logits(size: float) -> None:
    partition = partition_of(jnp.full((3, 2), size))
    np.testing.assert_allclose(losses.log_partition(partition, 100), size + np.log(100), rtol=1e-6)


def test_partition_gives_the_mean_over_the_rows_times_their_number() -> None:
    logits = RNG.normal(size=(4, N))
    log_z = run(lambda x: losses.log_partition(partition_of(x), N), logits)
    np.testing.assert_allclose(np.exp(log_z), np.exp(logits).sum(axis=1).mean(), rtol=1e-5)


def test_partition_is_carried_by_scan_and_moves_nothing() -> None:
    batches = jnp.asarray(RNG.normal(size=(5, 3, 4)), jnp.float32)

    def last(batches: jax.Array) -> tuple[jax.Array, losses.Partition]:
        def body(partition: losses.Partition, x: jax.Array) -> tuple[losses.Partition, None]:
            return losses.update_partition(partition, x), None

        partition, _ = jax.lax.scan(body, losses.init_partition(), batches)
        return partition.log_mean, partition

    gradient, partition = jax.grad(last, has_aux=True)(batches)
    assert_close(partition, partition_of(batches), 1e-6)
    np.testing.assert_array_equal(gradient, 0)


Q, M, P = jnp.ones((3, 4)), jnp.ones((5, 4)), losses.init_partition()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: losses.instance_discrimination(Q[0], M, jnp.arange(3), temperature=0.1),
            ValueError,
            "queries must have axes [B, D], got shape (4,).",
        ),
        (
            lambda: losses.instance_discrimination(Q, M[:, :2], jnp.arange(3), temperature=0.1),
            ValueError,
            "bank must be [N, D] with D = 4, got shape (5, 2).",
        ),
        (
            lambda: losses.instance_discrimination(Q, M, jnp.arange(2), temperature=0.1),
            ValueError,
            "index must have shape (3,), got (2,).",
        ),
        (
            lambda: losses.nce(Q[0], Q, 0.0, 5),
            ValueError,
            "negatives must be [..., B, K] with K of 1 or more for positive [..., B] of shape "
            "(4,), got shape (3, 4).",
        ),
        (
            lambda: losses.nce(Q, jnp.ones((3, 4, 0)), 0.0, 5),
            ValueError,
            "of shape (3, 4), got shape (3, 4, 0).",
        ),
        (
            lambda: losses.nce(Q[0].astype(int), Q.T, 0.0, 5),
            TypeError,
            "positive must have a floating dtype, got int32.",
        ),
        (
            lambda: losses.nce(jnp.ones(3), Q, jnp.zeros(2), 5),
            ValueError,
            "log_partition must broadcast to (3,), got shape (2,).",
        ),
        (
            lambda: losses.nce(jnp.ones(3), Q, 0.0, 0),
            ValueError,
            "num_rows must be above 0, got 0.",
        ),
        (
            lambda: losses.update_partition(P, Q, momentum=1.5),
            ValueError,
            "momentum must be a scalar from 0 to 1, got 1.5.",
        ),
        (
            lambda: losses.update_partition(P, Q[:0]),
            ValueError,
            "logits must not be empty, got shape (0, 4).",
        ),
        (
            lambda: losses.update_partition(P, Q.astype(int)),
            TypeError,
            "logits must have a floating dtype, got int32.",
        ),
        (
            lambda: losses.log_partition(P, -1),
            ValueError,
            "num_rows must be above 0, got -1.",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
