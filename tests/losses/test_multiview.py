import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from reference import TOLERANCE, assert_close, assert_gradient, run, unit

from mcl_jax import losses

B, K, D = 5, 7, 4
QUERIES, KEYS, OWN = unit(1, 2, B, D), unit(2, 2, K, D), unit(3, 2, B, D)
DRAWN = unit(4, 2, B, K, D)
POSITIVES = np.random.default_rng(0).random((B, K)) < 0.4
POSITIVES[:, 0], POSITIVES[-1] = True, False


def cmc(queries: np.ndarray, keys: np.ndarray, own: np.ndarray, temperature: float) -> float:
    """The authors' sum of both ways: the first of each anchor's logits is its own."""
    total = 0.0
    for a, b in ((0, 1), (1, 0)):
        values = []
        for i in range(queries.shape[1]):
            others = keys[b, i] if keys.ndim == 4 else keys[b]
            row = [queries[a, i] @ k / temperature for k in (own[b, i], *others)]
            values.append(reference.log_sum_exp(row) - row[0])
        total += float(np.mean(values))
    return total


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("keys", [KEYS, DRAWN], ids=["queues", "banks"])
def test_own_keys_against_loops(keys: np.ndarray, dtype: str) -> None:
    value = run(
        lambda q, k, o: losses.cmc(q, k, own_keys=o, temperature=0.1),
        *(QUERIES, keys, OWN),
        dtype=dtype,
    )
    assert value.dtype == dtype
    assert_close(value, cmc(QUERIES, keys, OWN, 0.1), TOLERANCE[dtype])


def test_gradients() -> None:
    f = jax.grad(lambda q, k, o: losses.cmc(q, k, own_keys=o, temperature=0.2), argnums=(0, 1, 2))
    moved = run(f, QUERIES, KEYS, OWN)
    assert_gradient(moved[0], lambda q: cmc(q, KEYS, OWN, 0.2), QUERIES)
    assert_gradient(moved[1], lambda k: cmc(QUERIES, k, OWN, 0.2), KEYS)
    assert_gradient(moved[2], lambda o: cmc(QUERIES, KEYS, o, 0.2), OWN)


@pytest.mark.parametrize("numerator", ["mean_log", "log_sum"])
def test_masks_are_those_of_icl(numerator: str) -> None:
    candidates = np.arange(K) != 3
    value = run(
        lambda q, k: losses.cmc(q, k, POSITIVES, candidates, temperature=0.2, numerator=numerator),
        QUERIES,
        KEYS,
    )
    logits = reference.cross_network_logits(QUERIES, KEYS, 0.2)
    assert_close(value, reference.icl(logits, POSITIVES, candidates, numerator), 1e-9)


def test_the_views_may_be_swapped() -> None:
    def f(q: jax.Array, k: jax.Array) -> jax.Array:
        return losses.cmc(q, k, POSITIVES, temperature=0.2)

    assert_close(run(f, QUERIES[::-1], KEYS[::-1]), run(f, QUERIES, KEYS), 1e-12)


def test_a_view_is_not_contrasted_with_itself() -> None:
    """What one network's queries learn does not depend on its own keys."""

    def f(q: jax.Array, k: jax.Array) -> jax.Array:
        return losses.cmc(q, k, POSITIVES, temperature=0.2)

    other = np.stack([unit(9, K, D), KEYS[1]])
    gradient, moved = run(jax.grad(f), QUERIES, KEYS), run(jax.grad(f), QUERIES, other)
    assert_close(gradient[0], moved[0], 1e-12)
    assert np.max(np.abs(gradient[1] - moved[1])) > 0.01


@pytest.mark.parametrize("temperature", [0.01, 10.0])
def test_equal_embeddings_give_twice_the_logarithm_of_the_number_of_candidates(
    temperature: float,
) -> None:
    same = [np.broadcast_to(QUERIES[0, 0], x.shape) for x in (QUERIES, KEYS, OWN)]
    values = run(
        lambda q, k, o: [
            losses.cmc(q, k, POSITIVES, temperature=temperature),
            losses.cmc(q, k, own_keys=o, temperature=temperature),
        ],
        *same,
    )
    assert_close(values, [2 * np.log(K), 2 * np.log(K + 1)], 1e-12)


@pytest.mark.parametrize("networks", [1, 3])
def test_two_networks_or_nothing(networks: int) -> None:
    z = jnp.ones((networks, B, D))
    message = f"queries must be of two networks, [2, B, D], got shape {z.shape}."
    with pytest.raises(ValueError, match=re.escape(message)):
        losses.cmc(z, z, jnp.eye(B, dtype=bool), temperature=0.1)


Z = jnp.ones((2, B, D))


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((Z[0], Z), ValueError, "queries must have axes [2, B, D], got shape (5, 4)."),
        ((Z, Z), ValueError, "positives must be given where own_keys is not, got None for both."),
        ((Z, Z, jnp.eye(B)), TypeError, "positives must be boolean, got float32."),
    ],
)
def test_refuses(args: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        losses.cmc(*args, temperature=0.1)
