import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from reference import TOLERANCE, Terms, assert_close, assert_gradient, golden, run, unit

from mcl_jax import losses, memory

B, K, D = 6, 7, 3
LABELS = np.array([0, 0, 0, 1, 1, 2])  # two others, one other and no other of the same class
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.7])


def masks(*shape: int) -> dict[str, np.ndarray]:
    """Positives (none for the last anchor), candidates and soft candidates, all at random."""
    rng = np.random.default_rng(5)
    positives, candidates, soft = rng.random((3, *shape, B, K)) < 0.5
    candidates[..., 2] = soft[..., 3] = True
    positives[..., -1, :] = False
    return {"positives": positives, "candidates": candidates, "soft_candidates": soft}


def case(name: str, networks: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Embeddings and options of a use of `mcl_terms`."""
    M = networks
    queries, keys, own = unit(1, M, B, D), unit(2, M, K, D), unit(3, M, B, D)
    per_anchor = unit(4, M, B, K, D)
    weights = np.random.default_rng(6).uniform(0.2, 2, (M, M))
    arrays: dict[str, np.ndarray] = {"queries": queries, "keys": keys}
    options: dict[str, Any] = {"temperature": 0.2}
    if name == "in batch":
        other = reference.not_self(np.arange(B))
        arrays["keys"] = queries
        options |= {"positives": reference.same_class(LABELS) & other, "candidates": other}
    elif name == "every key":
        options |= {"positives": masks()["positives"]}
    elif name == "pair by pair":
        options |= masks(M, M) | {"pair_weights": weights, "soft_temperature": 1.5}
    elif name == "log_sum":
        options |= masks() | {"numerator": "log_sum"}
    elif name == "keys for each anchor":
        arrays["keys"] = per_anchor
        options |= masks(M, M)
    elif name == "queue":
        arrays["own_keys"] = own
    elif name == "queue and everything":
        arrays |= {"keys": per_anchor, "own_keys": own}
        options |= masks(M, M) | {"pair_weights": weights, "numerator": "log_sum"}
    elif name == "queue and masks":
        arrays["own_keys"] = own
        options |= masks()
    return arrays, options


CASES = [
    "in batch",
    "every key",
    "pair by pair",
    "log_sum",
    "keys for each anchor",
    "queue",
    "queue and masks",
    "queue and everything",
]


def ours(arrays: dict[str, Any], options: dict[str, Any]) -> losses.MCLTerms:
    return losses.mcl_terms(**arrays, **options)


def total(arrays: dict[str, Any], options: dict[str, Any]) -> jax.Array:
    return sum(w * term for w, term in zip(WEIGHTS, ours(arrays, options), strict=True))


@pytest.mark.parametrize(("networks", "dtype"), [(1, "float64"), (2, "float32"), (3, "float64")])
@pytest.mark.parametrize("name", CASES)
def test_values_against_loops(name: str, networks: int, dtype: str) -> None:
    arrays, options = case(name, networks)
    terms = run(lambda x: ours(x, options), arrays, dtype=dtype)
    assert {x.dtype for x in terms} == {np.dtype(dtype)}
    assert_close(terms, reference.mcl_terms(**arrays, **options), TOLERANCE[dtype])


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    """Those of the four terms with the soft teachers, and nothing else, held fixed."""
    arrays, options = case(name, 2)
    temperature = options["temperature"]

    def logits(arrays: dict[str, np.ndarray]) -> np.ndarray:
        own = arrays.get("own_keys")
        return reference.all_logits(arrays["queries"], arrays["keys"], own, temperature)

    def f(moved: np.ndarray, which: str) -> float:
        terms = reference.mcl_terms(**(arrays | {which: moved}), **options, stopped=logits(arrays))
        return float(WEIGHTS @ np.array(terms))

    gradients = run(jax.grad(lambda x: total(x, options)), arrays)
    for which, gradient in gradients.items():
        assert_gradient(gradient, functools.partial(f, which=which), arrays[which])


def bank_masks(columns: int, positives: int) -> dict[str, np.ndarray]:
    """The own row, column 0, is a key of the other networks only."""
    index = np.arange(columns)
    keys = ~np.eye(2, dtype=bool)[:, :, None, None] | (index > 0)
    return {
        "positives": keys & (index < positives),
        "candidates": keys,
        "soft_candidates": keys,
    }


def golden_case(setting: str) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """The numbers of a setting, and how they are said to `mcl_terms`."""
    g = golden(setting)
    options: dict[str, Any] = {"temperature": float(g["tau"]), "soft_temperature": float(g["T"])}
    if setting == "inbatch_a":
        other = reference.not_self(np.arange(len(g["labels"])))
        options |= {"positives": losses.same_class(g["labels"]) & other, "candidates": other}
        return g, {"queries": g["z"], "keys": g["z"]}, options
    if setting == "bank_a":
        rows = np.concatenate([g["pos"], g["neg"]], axis=1)
        options |= bank_masks(rows.shape[1], g["pos"].shape[1])
        return g, {"queries": g["z"], "keys": g["bank0"][:, rows]}, options
    return g, {"queries": g["q"], "keys": g["queue0"], "own_keys": g["k"]}, options


@pytest.mark.parametrize("chunk_size", [None, 5])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("setting", ["inbatch_a", "bank_a", "queue_a"])
def test_values_of_the_authors(setting: str, dtype: str, chunk_size: int | None) -> None:
    g, arrays, options = golden_case(setting)
    options["chunk_size"] = chunk_size
    terms = run(lambda x: ours(x, options), arrays, dtype=dtype)
    assert_close(terms, [g[name] for name in Terms._fields], TOLERANCE[dtype])


@pytest.mark.parametrize("chunk_size", [None, 5])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("setting", ["inbatch_a", "bank_a"])
def test_gradients_of_the_authors(setting: str, dtype: str, chunk_size: int | None) -> None:
    g, arrays, options = golden_case(setting)
    options["chunk_size"] = chunk_size

    def f(z: jax.Array, keys: jax.Array) -> losses.MCLTerms:
        return ours({"queries": z, "keys": z if setting == "inbatch_a" else keys}, options)

    gradients = run(jax.jacrev(f), arrays["queries"], arrays["keys"], dtype=dtype)
    assert_close(gradients, [g[f"g_{name}"] for name in Terms._fields], TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_bank_and_queue_of_the_authors(dtype: str) -> None:
    g = golden("bank_a")
    index, momentum = g["pos"][:, 0], float(g["momentum"])
    bank = run(
        lambda bank, z: memory.update_bank(bank, index, z, momentum),
        g["bank0"],
        g["z"],
        dtype=dtype,
    )
    assert_close(bank, g["bank1"], TOLERANCE[dtype])

    g = golden("queue_a")
    queue = run(memory.enqueue, memory.Queue(g["queue0"], np.int32(0)), g["k"], dtype=dtype)
    assert_close(queue.keys, g["queue1"], TOLERANCE[dtype])
    assert set(g["ptr"]) == {int(queue.cursor)}


def in_batch(z: Any, labels: Any = LABELS, **options: Any) -> losses.MCLTerms:
    other = losses.not_self(jnp.arange(len(labels)))
    positives = losses.same_class(labels) & other
    return losses.mcl_terms(z, z, positives, other, temperature=0.1, **options)


def in_batch_total(z: Any, labels: Any = LABELS, **options: Any) -> jax.Array:
    return sum(w * term for w, term in zip(WEIGHTS, in_batch(z, labels, **options), strict=True))


def test_networks_in_another_order() -> None:
    order, weights = np.array([2, 0, 1]), np.random.default_rng(0).uniform(size=(3, 3))
    z = unit(0, 3, B, D)
    f = jax.value_and_grad(lambda z, w: in_batch_total(z, pair_weights=w))
    value, gradient = run(f, z, weights)
    moved_value, moved_gradient = run(f, z[order], weights[np.ix_(order, order)])
    assert_close(moved_value, value, 1e-12)
    assert_close(moved_gradient, gradient[order], 1e-12)


def test_anchors_and_keys_in_another_order() -> None:
    arrays, options = case("keys for each anchor", 2)
    anchors, columns = (
        np.random.default_rng(1).permutation(B),
        np.random.default_rng(2).permutation(K),
    )
    moved_arrays = {
        "queries": arrays["queries"][:, anchors],
        "keys": arrays["keys"][:, anchors][:, :, columns],
    }
    moved_options = options | {
        name: options[name][..., anchors, :][..., columns]
        for name in ("positives", "candidates", "soft_candidates")
    }
    terms = run(lambda x: ours(x, options), arrays)
    assert_close(run(lambda x: ours(x, moved_options), moved_arrays), terms, 1e-12)


def test_equal_networks_teach_each_other_nothing() -> None:
    z = np.broadcast_to(unit(0, B, D), (3, B, D))
    terms, gradients = run(lambda z: (in_batch(z), jax.jacrev(in_batch)(z)), z)
    for value, gradient in (
        (terms.soft_vcl, gradients.soft_vcl),
        (terms.soft_icl, gradients.soft_icl),
    ):
        assert abs(value) < 1e-12
        np.testing.assert_allclose(gradient, 0, atol=1e-12)
    np.testing.assert_allclose(terms.icl, 2 * terms.vcl)


@pytest.mark.parametrize("networks", [2, 4])
def test_collapsed_embeddings_are_worth_the_log_of_the_candidates(networks: int) -> None:
    """What the authors' first epoch logs: M ln 127 and M (M - 1) ln 127 for pairs in 128."""
    z = np.broadcast_to(unit(0, D), (networks, 128, D))
    terms = run(lambda z: in_batch(z, jnp.arange(128) // 2), z)
    assert_close(terms.vcl, networks * np.log(127), 1e-12)
    assert_close(terms.icl, networks * (networks - 1) * np.log(127), 1e-12)


def test_one_network_has_its_vcl_alone() -> None:
    terms, gradients = run(lambda z: (in_batch(z), jax.jacrev(in_batch)(z)), unit(0, 1, B, D))
    assert terms.vcl > 0
    assert np.any(gradients.vcl)
    for name in ("soft_vcl", "icl", "soft_icl"):
        assert getattr(terms, name) == 0
        np.testing.assert_array_equal(getattr(gradients, name), 0)


def test_a_batch_of_singletons_has_no_hard_terms() -> None:
    labels = np.arange(B)
    f = functools.partial(in_batch, labels=labels)
    terms, gradients = run(lambda z: (f(z), jax.jacrev(f)(z)), unit(0, 2, B, D))
    for name in ("vcl", "icl"):
        assert getattr(terms, name) == 0
        np.testing.assert_array_equal(getattr(gradients, name), 0)
    assert terms.soft_vcl > 0
    assert terms.soft_icl > 0


def test_icl_moves_queries_and_keys_of_both_networks() -> None:
    weights = np.array([[0.0, 1.0], [0.0, 0.0]])
    f = functools.partial(in_batch, pair_weights=weights)
    gradient = run(jax.grad(lambda z: f(z).icl), unit(0, 2, B, D))
    assert np.all(np.any(gradient, axis=(1, 2)))


@pytest.mark.parametrize("numerator", ["mean_log", "log_sum"])
def test_low_temperature(numerator: str) -> None:
    """In float32 as in float64, whatever an excluded own column of similarity 1 overflows to."""
    arrays, options = case("in batch", 2)
    arrays = {name: np.sign(x) * np.eye(D)[np.arange(B) % D] for name, x in arrays.items()}
    options |= {"temperature": 0.01, "soft_temperature": 1.0, "numerator": numerator}
    options["soft_candidates"] = options["candidates"]
    terms = run(lambda x: ours(x, options), arrays, dtype="float32")
    assert_close(terms, reference.mcl_terms(**arrays, **options), 1e-5)
    gradients = run(jax.grad(lambda x: total(x, options)), arrays, dtype="float32")
    assert all(np.all(np.isfinite(g)) for g in gradients.values())


def test_zero_vectors_stay_finite() -> None:
    x = np.zeros((2, B, D)) + np.where(np.arange(B) < 2, 0, 1)[:, None]
    value, gradient = run(
        jax.value_and_grad(lambda x: in_batch_total(losses.l2_normalize(x))), x, dtype="float32"
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[:, :2], 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", ["pair by pair", "queue and everything"])
def test_half_precision_is_computed_in_float32(name: str, dtype: Any) -> None:
    arrays, options = case(name, 2)
    narrow = {name: jnp.asarray(x, dtype) for name, x in arrays.items()}
    wide = {name: np.asarray(x, np.float64) for name, x in narrow.items()}
    terms = jax.jit(lambda x: ours(x, options))(narrow)
    assert {x.dtype for x in terms} == {jnp.dtype(jnp.float32)}
    assert_close(terms, reference.mcl_terms(**wide, **options), 1e-5)


def test_jit_is_eager_with_traced_temperatures_and_weights() -> None:
    def f(z: jax.Array, temperature: Any, soft_temperature: Any, weights: Any) -> losses.MCLTerms:
        return losses.mcl_terms(
            z,
            z,
            jnp.eye(B, dtype=bool),
            temperature=temperature,
            soft_temperature=soft_temperature,
            pair_weights=weights,
        )

    args = (jnp.asarray(unit(0, 2, B, D), jnp.float32), 0.1, 2.0, jnp.ones((2, 2)))
    assert_close(jax.jit(f)(*args), f(*args), 1e-6)


def test_vmap_is_a_loop() -> None:
    z, labels = unit(0, 3, 2, B, D), np.random.default_rng(0).integers(0, 3, (3, B))
    f = jax.value_and_grad(in_batch_total)
    values, gradients = run(jax.vmap(f), z, labels)
    for i in range(3):
        assert_close((values[i], gradients[i]), run(f, z[i], labels[i]), 1e-12)


Q = jnp.ones((2, 4, 3))
TRUE = jnp.ones((4, 4), bool)


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        (
            (Q, Q),
            {},
            ValueError,
            "positives must be given where own_keys is not, got None for both.",
        ),
        (
            (Q, Q),
            {"own_keys": Q[:, :1]},
            ValueError,
            "own_keys must be [M, B, D] as queries, (2, 4, 3), got (2, 1, 3).",
        ),
        (
            (Q, Q, jnp.ones((4, 5), bool)),
            {"own_keys": Q},
            ValueError,
            "positives must broadcast to (2, 2, 4, 4), got shape (4, 5).",
        ),
        (
            (Q, Q, TRUE),
            {"soft_candidates": TRUE.astype(int)},
            TypeError,
            "soft_candidates must be boolean, got int32.",
        ),
        (
            (Q, Q, TRUE),
            {"numerator": "max"},
            ValueError,
            "numerator must be one of ('mean_log', 'log_sum'), got 'max'.",
        ),
        (
            (Q, Q, TRUE),
            {"soft_temperature": 0.0},
            ValueError,
            "soft_temperature must be above 0, got 0.0.",
        ),
    ],
)
def test_refuses(
    args: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        jax.eval_shape(
            functools.partial(losses.mcl_terms, **({"temperature": 0.1} | options)), *args
        )
