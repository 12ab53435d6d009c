"""What holds of every objective: its numbers stay finite, and a few statements are exact.

Every shape is compiled, so these come from a short list; numbers and masks are drawn freely.
"""

import functools
import itertools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from jax import lax
from reference import FAST_TO_COMPILE, unit

from mcl_jax import losses, mutual_information, regions

set_hypothesis_home_dir(Path(tempfile.gettempdir(), "hypothesis"))  # and not into the tree

Arrays = dict[str, Any]
Strategy = st.SearchStrategy[Any]
Sizes = dict[str, int]

INPUTS = [
    ({"M": 3, "B": 4, "K": 5, "D": 4, "N": 5, "C": 2, "1": 1}, "float32"),
    ({"M": 2, "B": 1, "K": 6, "D": 4, "N": 2, "C": 2, "1": 1}, "bfloat16"),
    ({"M": 1, "B": 4, "K": 1, "D": 1, "N": 5, "C": 2, "1": 1}, "float32"),
]
SIZES = INPUTS[0][0]  # of the exact statements


def drawn(max_examples: int) -> settings:
    """The same draws in every run.

    All that is drawn are whole numbers to 100: of larger ones, and of fractions, Hypothesis takes
    some from the modules that happen to be loaded.
    """
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow],
    )


def mcl(
    queries: jax.Array,
    keys: jax.Array,
    temperature: jax.Array,
    soft_temperature: jax.Array | None = None,
    *,
    narrow: bool = False,
    chunk_size: int | None = None,
    **more: Any,
) -> losses.MCLTerms:
    """`mcl_terms`, narrowed to a ring or not."""
    if narrow:
        ring = regions.score_bounds(queries, keys, 0.6, 0.4, pool=more.get("candidates"))
        more |= {"region": ring, "soft_region": ring}
    if soft_temperature is not None and (narrow or chunk_size):
        soft_temperature = lax.stop_gradient(soft_temperature)
    return losses.mcl_terms(
        queries,
        keys,
        temperature=temperature,
        soft_temperature=soft_temperature,
        chunk_size=chunk_size,
        **more,
    )


def nce_of_draws(positive: jax.Array, negatives: jax.Array) -> jax.Array:
    partition = losses.init_partition()
    for _ in range(2):
        partition = losses.update_partition(partition, negatives)
    return losses.nce(positive, negatives, losses.log_partition(partition, 10), 10)


def nce(positive: jax.Array, negatives: jax.Array, log_partition: jax.Array) -> jax.Array:
    return losses.nce(positive, negatives, log_partition, 10)


def info_nce_reading(scores: jax.Array) -> jax.Array:
    return mutual_information.info_nce(*mutual_information.joint_and_marginal(scores))


class Objective(NamedTuple):
    """A function, and the axes of its arguments and of its values, one letter each.

    Attributes:
        f: the function, by named arguments.
        arguments: the axes of each; "" is a scalar.
        values: the axes of what it returns.
        ordered: axes along which the order matters.
    """

    f: Callable[..., Any]
    arguments: dict[str, str]
    values: str = ""
    ordered: str = ""


def log_sum(f: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(f, numerator="log_sum")


SOFT = {"temperature": "", "soft_temperature": ""}
ONE_SET = {"queries": "MBD", "keys": "MKD"}
SETS = {"queries": "MBD", "keys": "MBKD", "own_keys": "MBD"}
MCL = {
    "in batch": Objective(mcl, ONE_SET | {"positives": "BK", "candidates": "BK"} | SOFT),
    "queue": Objective(
        mcl, ONE_SET | {"own_keys": "MBD", "candidates": "K", "pair_weights": "MM"} | SOFT
    ),
    "pair by pair": Objective(
        log_sum(mcl),
        ONE_SET | dict.fromkeys(("positives", "candidates", "soft_candidates"), "MMBK") | SOFT,
    ),
    "keys for each anchor": Objective(
        log_sum(mcl),
        SETS
        | {"positives": "MMBK", "candidates": "M11K", "soft_candidates": "1MB1"}
        | {"pair_weights": "MM"}
        | SOFT,
    ),
    "ring": Objective(
        functools.partial(mcl, narrow=True),
        SETS | {"positives": "BK", "candidates": "M1BK", "soft_candidates": "BK"} | SOFT,
        ordered="KD",  # ties go to the earlier key, and what is a tie is a matter of rounding
    ),
}


CHUNKED = {name: x._replace(f=functools.partial(x.f, chunk_size=2)) for name, x in MCL.items()}

ONE = {"logits": "BK", "positives": "BK", "candidates": "K"}
PAIRS = {"logits": "MMBK", "positives": "BK", "candidates": "M1BK"}
MIMICRY = {"logits": "MMBK", "candidates": "MMBK", "soft_temperature": ""}
CLASSES = {"logits": "MBK", "soft_temperature": ""}
ROWS = {"embeddings": "MBD", "labels": "B", "temperature": ""}
SOFT_TERMS = {
    "soft_vcl": Objective(losses.soft_vcl, MIMICRY),
    "soft_icl": Objective(losses.soft_icl, MIMICRY),
    "logit_distillation": Objective(losses.logit_distillation, CLASSES),
    "deep_mutual": Objective(losses.deep_mutual, CLASSES),
}
OBJECTIVES = SOFT_TERMS | {
    "info_nce": Objective(losses.info_nce, ONE, "B"),
    "info_nce, log_sum": Objective(log_sum(losses.info_nce), ONE, "B"),
    "vcl": Objective(losses.vcl, PAIRS | {"pair_weights": "MM"}),
    "vcl, log_sum": Objective(log_sum(losses.vcl), PAIRS),
    "icl": Objective(losses.icl, PAIRS | {"pair_weights": "MM"}),
    "icl, log_sum": Objective(log_sum(losses.icl), PAIRS),
    "supcon, out": Objective(losses.supcon, ROWS),
    "supcon, in": Objective(functools.partial(losses.supcon, form="in"), ROWS),
    "nt_xent": Objective(losses.nt_xent, {"first": "BD", "second": "BD", "temperature": ""}),
    "instance_discrimination": Objective(
        losses.instance_discrimination,
        {"queries": "BD", "bank": "ND", "index": "B", "temperature": ""},
        ordered="N",
    ),
    "nce": Objective(nce, {"positive": "MB", "negatives": "MBK", "log_partition": "MB"}, "MB"),
    "nce of draws": Objective(nce_of_draws, {"positive": "MB", "negatives": "MBK"}, "MB"),
    "local_aggregation": Objective(
        losses.local_aggregation, {"logits": "BK", "close": "BK", "background": "BK"}, "B"
    ),
    "decoupled": Objective(losses.decoupled, ONE, "B"),
    "decoupled, log_sum": Objective(log_sum(losses.decoupled), ONE, "B"),
    "debiased": Objective(losses.debiased, ONE | {"class_prior": "", "temperature": ""}, "B"),
    "cmc": Objective(
        losses.cmc,
        {"queries": "CBD", "keys": "CKD", "positives": "BK", "candidates": "CC1K"}
        | {"temperature": ""},
    ),
    "cosine_regression": Objective(
        losses.cosine_regression, {"predictions": "BD", "targets": "BD"}, "B"
    ),
    "l2_normalize": Objective(losses.l2_normalize, {"x": "MBD"}, "MBD"),
    "mean_cosine": Objective(losses.mean_cosine, {"x": "MND"}, "M"),
    "alignment": Objective(losses.alignment, {"x": "MBD", "y": "MBD", "alpha": ""}, "M"),
    "uniformity": Objective(losses.uniformity, {"x": "MND", "t": ""}, "M"),
    "effective_rank": Objective(losses.effective_rank, {"x": "MBD"}, "M"),
    "linear_cka": Objective(losses.linear_cka, {"x": "MBD", "y": "MBK"}, "M"),
    "reading of InfoNCE": Objective(info_nce_reading, {"scores": "MNN"}, "M"),
    "vince": Objective(mutual_information.vince, {"joint": "MB", "conditional": "MBK"}, "M"),
    "donsker_varadhan": Objective(
        mutual_information.donsker_varadhan, {"joint": "MB", "marginal": "MBK"}, "M"
    ),
    "nwj": Objective(mutual_information.nwj, {"joint": "MB", "marginal": "MBK"}, "M"),
    "pairwise_bounds": Objective(
        mutual_information.pairwise_bounds,
        {"queries": "MBD", "keys": "MBD", "temperature": ""},
        "MM",
    ),
}
TERMS = {f"mcl_terms, {name}": x for name, x in MCL.items()} | {
    f"mcl_terms, {name}, in chunks": x for name, x in CHUNKED.items()
}
EVERY = OBJECTIVES | TERMS

LENGTHS = {"unit": 1.0, "zero": 0.0, "tiny": 1e-20, "long": 1e3, "huge": 1e8}
USUAL = ("unit", "zero")
EMBEDDINGS = ("unit", "zero", "tiny", "long")  # with a logit as huge as 1e8
MASKS = {"positives", "candidates", "soft_candidates", "close", "background"}
TEMPERATURES = [float(x) for x in np.geomspace(0.01, 10, 31)]
SCALARS = {
    "temperature": TEMPERATURES,
    "soft_temperature": TEMPERATURES,
    "t": TEMPERATURES,
    "alpha": [0.5, 1.0, 2.0, 3.5],
    "class_prior": [0.0, 0.1, 0.5, 0.99],
}


def vectors(shape: tuple[int, ...], kinds: tuple[str, ...]) -> Strategy:
    """Rows of a length each, in a random direction or along the first axis, where they tie."""
    number = math.prod(shape[:-1])

    def build(seed: int, rows: list[tuple[str, bool]]) -> np.ndarray:
        free, axis = unit(seed, number, shape[-1]), np.eye(1, shape[-1])[0]
        turned = zip(free, rows, strict=True)
        built = [LENGTHS[kind] * (axis if tied else x) for x, (kind, tied) in turned]
        return np.reshape(built, shape).astype(np.float32)

    row = st.sampled_from(list(itertools.product(kinds, (False, True))))
    return st.builds(build, st.integers(0, 99), st.lists(row, min_size=number, max_size=number))


def masks(shape: tuple[int, ...]) -> Strategy:
    """Rows of none, all, or any of the keys."""
    number, everything = math.prod(shape[:-1]), 2 ** shape[-1] - 1

    def build(rows: list[int]) -> np.ndarray:
        bits = np.array(rows)[:, None] >> np.arange(shape[-1]) & 1
        return np.reshape(bits == 1, shape)

    row = st.sampled_from([0, everything]) | st.integers(0, everything)
    return st.lists(row, min_size=number, max_size=number).map(build)


def integers(number: int, low: int, high: int) -> Strategy:
    values = st.lists(st.integers(low, high), min_size=number, max_size=number)
    return values.map(lambda x: np.array(x, np.int32))


def argument(
    name: str, axes: str, sizes: Sizes, kinds: tuple[str, ...], huge: tuple[str, ...]
) -> Strategy:
    shape = tuple(sizes[axis] for axis in axes)
    if name in MASKS:
        return masks(shape)
    if name in SCALARS:
        return st.sampled_from(SCALARS[name]).map(np.float32)
    if name == "labels":
        return integers(*shape, 0, 2)
    if name == "index":
        return integers(*shape, -1, sizes["N"])  # the first and the last are in no bank
    if name == "pair_weights":
        return vectors(shape, USUAL)
    return vectors(shape, kinds if axes.endswith("D") else kinds + huge)


def inputs(
    objective: Objective, sizes: Sizes, kinds: tuple[str, ...] = USUAL, huge: tuple[str, ...] = ()
) -> Strategy:
    """All arguments; `kinds` are the lengths of rows, `huge` others of what is no embedding."""
    axes = objective.arguments.items()
    return st.fixed_dictionaries({name: argument(name, x, sizes, kinds, huge) for name, x in axes})


@functools.cache
def compiled(f: Callable[..., Any]) -> Callable[[Arrays], tuple[Any, Arrays]]:
    """`f` of named arrays: its values, and gradients of their sum to all that are floating."""

    def total(floating: Arrays, others: Arrays) -> tuple[jax.Array, Any]:
        values = f(**floating, **others)
        return sum(jnp.sum(x) for x in jax.tree.leaves(values)), values

    both = jax.jit(jax.grad(total, has_aux=True), compiler_options=FAST_TO_COMPILE)

    def call(arrays: Arrays) -> tuple[Any, Arrays]:
        floating = {k: v for k, v in arrays.items() if jnp.issubdtype(v.dtype, jnp.floating)}
        others = {k: v for k, v in arrays.items() if k not in floating}
        gradients, values = jax.tree.map(np.asarray, both(floating, others))
        return values, gradients

    return call


def rounding(arrays: Arrays, *, soft: bool = True) -> float:
    """What float32 leaves uncertain of terms of unit vectors.

    Their logits are as large as the inverse of the temperature. A soft term is a mean of logits
    with weights that are as uncertain as the logits over the soft temperature.
    """
    sharpness = 1 + float(arrays.get("t", 1 / arrays.get("temperature", 1)))
    if not soft or "soft_temperature" not in arrays:
        return 2e-6 * sharpness
    return 1e-6 * (sharpness + float(arrays["soft_temperature"])) ** 2


@pytest.mark.parametrize("name", EVERY)
@drawn(30)
@given(data=st.data())
def test_values_and_gradients_are_finite(name: str, data: st.DataObject) -> None:
    sizes, dtype = data.draw(st.sampled_from(INPUTS))
    arrays = data.draw(inputs(EVERY[name], sizes, EMBEDDINGS, ("huge",)))
    arrays = {
        k: v.astype(dtype) if v.dtype.kind == "f" and v.ndim else v for k, v in arrays.items()
    }
    values, gradients = compiled(EVERY[name].f)(arrays)
    for x in jax.tree.leaves(values):
        assert x.dtype == np.float32
        assert np.all(np.isfinite(x)), values
    for argument, x in gradients.items():
        assert x.dtype == arrays[argument].dtype
        assert np.all(np.isfinite(x.astype("float32"))), (argument, x)


@pytest.mark.parametrize("name", MCL)
@drawn(20)
@given(data=st.data())
def test_chunks_are_the_whole(name: str, data: st.DataObject) -> None:
    arrays = data.draw(inputs(MCL[name], SIZES))
    expected, slopes = compiled(MCL[name].f)(arrays)
    values, gradients = compiled(CHUNKED[name].f)(arrays)
    for field, x, y in zip(values._fields, values, expected, strict=True):
        atol = rounding(arrays, soft=field.startswith("soft"))
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol)
    for name in gradients.keys() - {"soft_temperature"}:  # of which chunks have no derivative
        atol = rounding(arrays) / (min(1, arrays["temperature"]) if name == "temperature" else 1)
        np.testing.assert_allclose(gradients[name], slopes[name], rtol=1e-5, atol=atol)


def permuted(x: np.ndarray, axes: str, letter: str, order: list[int]) -> np.ndarray:
    for n in (n for n, axis in enumerate(axes) if axis == letter):
        x = np.take(x, order, axis=n)
    return x


@pytest.mark.parametrize("name", EVERY)
@drawn(12)
@given(data=st.data())
def test_order_is_immaterial(name: str, data: st.DataObject) -> None:
    """Of networks, anchors, keys and dimensions alike."""
    f, arguments, axes, ordered = EVERY[name]
    letter = data.draw(st.sampled_from(sorted({*"".join(arguments.values())} - {*ordered, "1"})))
    order = data.draw(st.permutations(range(SIZES[letter])))
    arrays = data.draw(inputs(EVERY[name], SIZES))
    values, _ = compiled(f)(
        {k: permuted(v, arguments[k], letter, order) for k, v in arrays.items()}
    )
    expected = [permuted(x, axes, letter, order) for x in jax.tree.leaves(compiled(f)(arrays)[0])]
    for x, y in zip(jax.tree.leaves(values), expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=rounding(arrays))


def of_equal_networks(objective: Objective, arrays: Arrays) -> Arrays:
    """Every network has the first one's embeddings; masks and weights stay."""
    kept = MASKS | {"pair_weights"}
    axes, first = objective.arguments, [0] * SIZES["M"]
    return {k: v if k in kept else permuted(v, axes[k], "M", first) for k, v in arrays.items()}


@pytest.mark.parametrize("name", TERMS)
@drawn(12)
@given(data=st.data())
def test_equal_networks_teach_each_other_nothing(name: str, data: st.DataObject) -> None:
    arrays = of_equal_networks(TERMS[name], data.draw(inputs(TERMS[name], SIZES)))
    terms, _ = compiled(TERMS[name].f)(arrays)
    assert max(abs(terms.soft_vcl), abs(terms.soft_icl)) <= rounding(arrays)


@pytest.mark.parametrize("name", SOFT_TERMS)
@drawn(12)
@given(data=st.data())
def test_equal_logits_do_not_move(name: str, data: st.DataObject) -> None:
    arrays = of_equal_networks(SOFT_TERMS[name], data.draw(inputs(SOFT_TERMS[name], SIZES)))
    value, gradients = compiled(SOFT_TERMS[name].f)(arrays)
    assert abs(value) <= rounding(arrays)
    np.testing.assert_allclose(gradients["logits"], 0, atol=rounding(arrays))


def log_counts(
    positives: np.ndarray, candidates: np.ndarray, joined: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """log(candidates), less log(positives) where these are joined; and which anchors have both."""
    number, whole = (np.sum(x, axis=-1) for x in np.broadcast_arrays(positives, candidates))
    counted = (number > 0) & (whole > 0)
    values = np.log(np.maximum(whole, 1) / (np.maximum(number, 1) if joined else 1))
    return np.where(counted, values, 0), counted


def of_equal_rows(objective: Objective, arrays: Arrays) -> Arrays:
    """Embeddings are one unit vector, and logits one number."""
    first = arrays[next(iter(objective.arguments))].ravel()

    def equal(name: str, x: np.ndarray) -> np.ndarray:
        is_embedding = objective.arguments[name].endswith("D")
        return np.broadcast_to(first[: SIZES["D"]] if is_embedding else first[0], x.shape)

    kept = MASKS | SCALARS.keys() | {"labels", "pair_weights"}
    return {k: v if k in kept else equal(k, v) for k, v in arrays.items()}


def assert_collapsed(objective: Objective, arrays: Arrays, expected: Any) -> None:
    """To 1e-6; of logits beyond 10 float32 itself has fewer decimals."""
    values, _ = compiled(objective.f)(arrays)
    tolerance = 1e-6 * max(1, 0.1 / arrays.get("temperature", 1))
    for x, y in zip(jax.tree.leaves(values), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


ANCHORS = SIZES["M"] * SIZES["B"]  # the first axis being views
COLLAPSED: dict[str, Callable[[Arrays], Any]] = {
    "info_nce": lambda x: log_counts(x["positives"], x["candidates"])[0],
    "info_nce, log_sum": lambda x: log_counts(x["positives"], x["candidates"], joined=True)[0],
    "decoupled": lambda x: log_counts(x["positives"], x["candidates"] & ~x["positives"])[0],
    "local_aggregation": lambda x: log_counts(
        x["close"] & x["background"], x["background"], joined=True
    )[0],
    "supcon, out": lambda _: np.log(ANCHORS - 1),
    "supcon, in": lambda _: np.log(ANCHORS - 1),
    "nt_xent": lambda _: np.log(2 * SIZES["B"] - 1),
    "alignment": lambda _: np.zeros(SIZES["M"]),
    "uniformity": lambda _: np.zeros(SIZES["M"]),
    "reading of InfoNCE": lambda _: np.zeros(SIZES["M"]),
    "donsker_varadhan": lambda _: np.zeros(SIZES["M"]),
    "pairwise_bounds": lambda _: np.zeros((SIZES["M"], SIZES["M"])),
}


@pytest.mark.parametrize("name", COLLAPSED)
@drawn(12)
@given(data=st.data())
def test_what_collapsed_loses_the_log_of_a_count(name: str, data: st.DataObject) -> None:
    objective = OBJECTIVES[name]
    arrays = of_equal_rows(objective, data.draw(inputs(objective, SIZES, ("unit",))))
    assert_collapsed(objective, arrays, COLLAPSED[name](arrays))


def contrast(arrays: Arrays, joined: bool) -> losses.MCLTerms:
    """The terms where every logit is the same."""
    M, B, K = (SIZES[axis] for axis in "MBK")
    own = np.ones((M, M, B, 1 if "own_keys" in arrays else 0), bool)
    positives, candidates = (
        np.concatenate([own, np.broadcast_to(arrays.get(name, default), (M, M, B, K))], axis=-1)
        for name, default in (("positives", False), ("candidates", True))
    )
    values, counted = log_counts(positives, candidates, joined)
    means = np.sum(values, axis=-1) / np.maximum(np.sum(counted, axis=-1), 1)
    means = means * arrays.get("pair_weights", 1)
    return losses.MCLTerms(np.trace(means), 0.0, np.sum(means) - np.trace(means), 0.0)


@pytest.mark.parametrize("name", [name for name in TERMS if "ring" not in name])
@drawn(12)
@given(data=st.data())
def test_collapsed_cohorts_lose_the_log_of_a_count(name: str, data: st.DataObject) -> None:
    objective = TERMS[name]
    arrays = of_equal_rows(objective, data.draw(inputs(objective, SIZES, ("unit",))))
    joined = "soft_candidates" in arrays  # the entries of log-sum form
    assert_collapsed(objective, arrays, contrast(arrays, joined))
