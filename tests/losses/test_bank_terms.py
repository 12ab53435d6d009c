"""Terms of rows that each anchor draws from banks are those of the keys, gathered and held."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax import lax
from reference import FAST_TO_COMPILE, TOLERANCE, Terms, assert_close, golden, run, unit
from test_reduction import arguments, mapped, on_one_device

from mcl_jax import losses
from mcl_jax.axes import gather

B, N, K, D = 5, 12, 7, 3
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.7])


def drawn(networks: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays with gradients, and the rest: rows that come twice, masks, an anchor without any."""
    rng = np.random.default_rng(3)
    arrays = {
        "queries": unit(1, networks, B, D),
        "temperature": np.asarray(0.2),
        "pair_weights": rng.uniform(0.2, 2, (networks, networks)),
    }
    rows, (positives, candidates, soft) = rng.integers(0, N, (B, K)), rng.random((3, 2, B, K)) < 0.6
    positives[:, [0, -1]] = candidates[:, 0] = soft[:, 1] = False
    fixed = {"bank": unit(2, networks, N, D), "rows": rows, "positives": positives}
    return arrays, fixed | {"candidates": candidates, "soft_candidates": soft}


def by_pair(mask: Any, networks: int) -> Any:
    """[2, B, K], within and across networks, as [M, M, B, K]."""
    return np.where(np.eye(networks, dtype=bool)[:, :, None, None], mask[0], mask[1])


def held(networks: int, fixed: dict[str, Any]) -> dict[str, Any]:
    """The same as arguments of `mcl_terms`."""
    masks = {name: by_pair(x, networks) for name, x in fixed.items() if x.dtype == bool}
    return masks | {"keys": fixed["bank"][:, fixed["rows"]]}


def value_and_gradients(f: Any, arrays: dict[str, Any], dtype: str = "float64") -> Any:
    def total(arrays: dict[str, Any]) -> tuple[jax.Array, losses.MCLTerms]:
        terms = f(**arrays)
        return sum(w * x for w, x in zip(WEIGHTS, terms, strict=True)), terms

    return run(jax.value_and_grad(total, has_aux=True), arrays, dtype=dtype)


@pytest.mark.parametrize(
    ("networks", "chunk_size", "dtype"),
    [(1, 2 * K, "float64"), (2, "auto", "float32"), (3, 4, "float64")],
)
def test_values_and_gradients(networks: int, chunk_size: int | str, dtype: str) -> None:
    """Queries, temperature and weights of pairs; of parts of a set, and of several sets at once."""
    arrays, fixed = drawn(networks)
    options = {"soft_temperature": 1.5}
    f = functools.partial(losses.bank_terms, **fixed, **options, chunk_size=chunk_size)
    (total, terms), gradients = value_and_gradients(f, arrays, dtype)
    whole = functools.partial(losses.mcl_terms, **held(networks, fixed), **options)
    expected = value_and_gradients(whole, arrays)
    assert_close(((total, terms), gradients), expected, TOLERANCE[dtype])
    numpy = reference.mcl_terms(**arrays, **held(networks, fixed), **options)
    assert_close(terms, numpy, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_authors_numbers(dtype: str) -> None:
    """Values, and gradients of each term, of the code for ImageNet."""
    g = golden("bank_a")
    rows = np.concatenate([g["pos"], g["neg"]], axis=1)
    own, column = np.array([False, True])[:, None, None], np.arange(rows.shape[1])
    candidates = own | (column > 0)  # one's own row, in front, is a key of other networks only

    def f(z: jax.Array, bank: jax.Array) -> losses.MCLTerms:
        return losses.bank_terms(
            z,
            bank,
            rows,
            candidates & (column < g["pos"].shape[1]),
            candidates,
            soft_candidates=candidates,
            temperature=float(g["tau"]),
            soft_temperature=float(g["T"]),
            chunk_size=5,
        )

    terms, gradients = run(lambda *x: (f(*x), jax.jacrev(f)(*x)), g["z"], g["bank0"], dtype=dtype)
    assert_close(terms, [g[name] for name in Terms._fields], TOLERANCE[dtype])
    assert_close(gradients, [g[f"g_{name}"] for name in Terms._fields], TOLERANCE[dtype])


def test_without_soft_terms_and_without_masks() -> None:
    arrays, fixed = drawn(2)
    rows = {name: fixed[name] for name in ("bank", "rows")}
    options = {"positives": fixed["positives"][1, 1], "soft_temperature": None}
    f = functools.partial(losses.bank_terms, **rows, **options)
    whole = functools.partial(losses.mcl_terms, keys=fixed["bank"][:, fixed["rows"]], **options)
    found = value_and_gradients(f, arrays)
    assert_close(found, value_and_gradients(whole, arrays), 1e-12)
    assert found[0][1].soft_vcl == found[0][1].soft_icl == 0
    assert_close(run(lambda x: f(**x), arrays), found[0][1], 1e-12)


def test_half_precision_is_computed_in_float32() -> None:
    arrays, fixed = drawn(2)
    narrow = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), arrays["queries"])
    bank = jnp.asarray(fixed.pop("bank"), jnp.bfloat16)

    def f(queries: jax.Array, bank: jax.Array) -> tuple[jax.Array, losses.MCLTerms]:
        terms = losses.bank_terms(queries, bank, **fixed, temperature=0.2, chunk_size=4)
        return sum(terms), terms

    g = jax.jit(jax.grad(f, has_aux=True), compiler_options=FAST_TO_COMPILE)
    gradient, terms = g(narrow, bank)
    assert gradient.dtype == jnp.bfloat16
    assert {x.dtype for x in terms} == {jnp.dtype(jnp.float32)}
    wide = run(jax.grad(f, has_aux=True), *(np.asarray(x, np.float64) for x in (narrow, bank)))
    assert_close(terms, wide[1], 1e-5)
    assert_close(np.asarray(gradient, np.float64), wide[0], 2.0**-8)


def test_equal_networks_teach_each_other_nothing() -> None:
    _, fixed = drawn(3)
    fixed |= {"bank": np.broadcast_to(fixed["bank"][0], (3, N, D)), "temperature": 0.1}
    f = functools.partial(losses.bank_terms, **fixed)
    z = np.broadcast_to(unit(0, B, D), (3, B, D))
    terms, gradients = run(lambda z: (f(z), jax.jacrev(f)(z)), z)
    assert terms.soft_vcl == terms.soft_icl == 0
    np.testing.assert_allclose(gradients.soft_vcl, 0, atol=1e-12)
    np.testing.assert_allclose(gradients.soft_icl, 0, atol=1e-12)


def test_jit_is_eager_and_vmap_is_a_loop() -> None:
    _, fixed = drawn(2)
    rest = fixed | {"temperature": 0.2, "chunk_size": 4}

    def f(queries: jax.Array, rows: jax.Array) -> jax.Array:
        return sum(losses.bank_terms(queries, **rest | {"rows": rows}))

    queries, rows = unit(5, 2, 2, B, D), np.stack([fixed["rows"], fixed["rows"][::-1]])
    with jax.enable_x64(True):
        g = jax.jit(jax.value_and_grad(f), compiler_options=FAST_TO_COMPILE)
        batched = run(jax.vmap(jax.value_and_grad(f)), queries, rows)
        alone = [g(queries[i], rows[i]) for i in range(2)]
        assert_close(jax.tree.map(lambda *x: np.stack(x), *alone), batched, 1e-12)
        assert_close(f(queries[0], rows[0]), alone[0][0], 1e-12)


def test_keys_are_never_held() -> None:
    """What a step takes is a share of the keys of the batch, which it gathers once for each."""
    M, batch, number, dim = 2, 64, 128, 64
    keys = 4 * M * batch * number * dim
    shapes = [(M, batch, dim), (M, 256, dim)]
    queries, bank = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    rows = jax.ShapeDtypeStruct((batch, number), jnp.int32)

    def f(queries: jax.Array, bank: jax.Array, rows: jax.Array) -> jax.Array:
        positives = jnp.arange(number) < 2
        return sum(
            losses.bank_terms(queries, bank, rows, positives, temperature=0.1, chunk_size=number)
        )

    compiled = jax.jit(jax.value_and_grad(f)).lower(queries, bank, rows).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < keys / 6
    assert compiled.as_text().count(" gather(") > 0


def on_devices(
    params: jax.Array, batch: dict[str, jax.Array], axis_name: str | None, split: bool = False
) -> jax.Array:
    """Anchors and banks in params, which no gradient reaches through a bank."""
    z = losses.l2_normalize(jnp.einsum("bf,mfd->mbd", batch["x"], params))
    bank = losses.l2_normalize(jnp.sin(jnp.arange(2 * 16 * 4.0)).reshape(2, 16, 4))
    index = batch["index"]
    rows = (index[:, None] * jnp.array([1, 3, 5, 7, 9]) + jnp.arange(5)) % 16
    positives = (rows % 3 == 0) & (index[:, None] % 5 > 0)
    candidates = jnp.stack([rows % 5 > 0, rows % 7 > 0])
    options: dict[str, Any] = {"temperature": 0.2, "chunk_size": 2, "axis_name": axis_name}
    if axis_name is not None and split:
        z, candidates = (gather(x, axis_name, axis=1) for x in (z, candidates))
        rows, positives = (gather(x, axis_name) for x in (rows, positives))
        each = 16 // lax.axis_size(axis_name)
        bank = lax.dynamic_slice_in_dim(bank, lax.axis_index(axis_name) * each, each, axis=1)
        options |= {"axis_name": None, "bank_axis_name": axis_name}
    terms = losses.bank_terms(
        z, bank, rows, positives, candidates, soft_candidates=candidates, **options
    )
    return sum(weight * value for weight, value in enumerate(terms, start=1))


@pytest.mark.parametrize(
    ("split", "mapper", "devices"),
    [(False, "check_vma", 4), (True, "check_vma", 4), (True, "pmap", 2)],
)
def test_many_devices_are_one(split: bool, mapper: str, devices: int) -> None:
    with jax.enable_x64(True):
        f = functools.partial(on_devices, split=split)
        assert_close(mapped(f, mapper, devices)(*arguments()), on_one_device(on_devices), 1e-12)


ARGUMENTS = {
    "queries": np.ones((2, 3, 4), np.float32),
    "bank": np.ones((2, 9, 4), np.float32),
    "rows": np.zeros((3, 5), np.int32),
    "positives": np.ones((3, 5), bool),
    "temperature": 0.1,
}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rows": np.zeros((3, 5))}, TypeError, "rows must be integer, got float32."),
        (
            {"rows": np.zeros((2, 5), int)},
            ValueError,
            "rows must be [B, K] with B = 3, that of queries, got shape (2, 5).",
        ),
        (
            {"bank": np.ones((2, 3, 9, 4), np.float32)},
            ValueError,
            "bank must have axes [M, N, D], got shape (2, 3, 9, 4).",
        ),
        (
            {"positives": np.ones((2, 2, 3, 5), bool)},
            ValueError,
            "positives must broadcast to (2, 3, 5), got shape (2, 2, 3, 5).",
        ),
        (
            {"positives": None},
            ValueError,
            "positives must be a boolean mask over the keys, got None.",
        ),
        (
            {"candidates": np.ones((3, 5))},
            TypeError,
            "candidates must be boolean, got float32.",
        ),
        (
            {"chunk_size": 0},
            ValueError,
            'chunk_size must be "auto" or a whole number above 0, got 0.',
        ),
        (
            {"soft_temperature": 0.0},
            ValueError,
            "soft_temperature must be above 0, got 0.0.",
        ),
        (
            {"bank_axis_name": "data"},
            ValueError,
            "bank_axis_name must be an axis that the function is mapped over, got 'data'.",
        ),
        (
            {"bank_axis_name": "data", "axis_name": "data"},
            ValueError,
            "axis_name and bank_axis_name must differ, got 'data' and 'data': where anchors and "
            "keys are split over one axis, gather the queries over it and leave axis_name out.",
        ),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_refuses(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        losses.bank_terms(**ARGUMENTS | changes)
