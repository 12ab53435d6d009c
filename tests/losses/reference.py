"""The papers' equations in float64 NumPy, one loop an index, and what the tests share."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

Array = np.ndarray
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
FAST_TO_COMPILE: Any = {"xla_backend_optimization_level": 0}  # what is run once need not be fast
GOLDEN = Path(__file__).parents[1] / "golden" / "mcl_reference.npz"


class Terms(NamedTuple):
    vcl: float
    soft_vcl: float
    icl: float
    soft_icl: float


def golden(setting: str) -> dict[str, Array]:
    """The authors' numbers of one setting."""
    with np.load(GOLDEN) as stored:
        names = [name for name in stored.files if name.startswith(f"{setting}/")]
        return {name.removeprefix(f"{setting}/"): stored[name] for name in names}


def run(f: Callable[..., Any], *args: Any, dtype: str = "float64") -> Any:
    """Calls the jitted `f` with every floating array in `dtype` and returns NumPy arrays."""

    def cast(x: Any) -> Any:
        return x.astype(dtype) if np.issubdtype(np.result_type(x), np.floating) else x

    with jax.enable_x64(dtype == "float64"):
        jitted = jax.jit(f, compiler_options=FAST_TO_COMPILE)
        return jax.tree.map(np.asarray, jitted(*jax.tree.map(cast, args)))


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Every leaf agrees to `tolerance`, relative to the leaf's largest entry (at least 1e-3)."""
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = max(1e-3, float(np.max(np.abs(y))))
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale)


def unit(seed: int, *shape: int) -> Array:
    """Random unit vectors."""
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cross_network_logits(queries: Array, keys: Array, temperature: float) -> Array:
    M, B, _ = queries.shape
    out = np.zeros((M, M, B, keys.shape[-2]))
    for a, b, i, k in np.ndindex(out.shape):
        key = keys[b, k] if keys.ndim == 3 else keys[b, i, k]
        out[a, b, i, k] = sum(queries[a, i] * key) / temperature
    return out


def same_class(labels: Array, key_labels: Array | None = None) -> Array:
    key_labels = labels if key_labels is None else key_labels
    return np.array([[x == y for y in key_labels] for x in labels])


def not_self(index: Array, key_index: Array | None = None) -> Array:
    return ~same_class(index, key_index)


def log_sum_exp(values: Iterable[float]) -> float:
    x = np.array(list(values))
    return float(x.max() + np.log(np.exp(x - x.max()).sum()))


def anchor_info_nce(row: Array, positive: Array, candidate: Array, numerator: str) -> float:
    """InfoNCE of one anchor, 0 without a positive."""
    own = [float(x) for x, p in zip(row, positive, strict=True) if p]
    if not own:
        return 0.0
    normaliser = log_sum_exp(float(x) for x, c in zip(row, candidate, strict=True) if c)
    if numerator == "log_sum":
        return normaliser - log_sum_exp(own)
    return sum(normaliser - x for x in own) / len(own)


def full(mask: Array | None, shape: Sequence[int]) -> Array:
    return np.broadcast_to(True if mask is None else mask, shape)


def info_nce(
    logits: Array, positives: Array, candidates: Array | None = None, numerator: str = "mean_log"
) -> Array:
    positives, candidates = full(positives, logits.shape), full(candidates, logits.shape)
    out = np.zeros(logits.shape[:-1])
    for i in np.ndindex(out.shape):
        out[i] = anchor_info_nce(logits[i], positives[i], candidates[i], numerator)
    return out


def contrast(
    logits: Array,
    positives: Array,
    candidates: Array | None,
    numerator: str,
    pair_weights: Array | None,
    within: bool,
) -> float:
    """Weighted sum over networks (`within`) or ordered pairs of the mean over their anchors."""
    losses = info_nce(logits, positives, candidates, numerator)
    positives = full(positives, logits.shape)
    total = 0.0
    for a, b in np.ndindex(logits.shape[:2]):
        valid = [i for i in range(logits.shape[2]) if positives[a, b, i].any()]
        if (a == b) == within and valid:
            weight = 1.0 if pair_weights is None else pair_weights[a, b]
            total += weight * sum(losses[a, b, i] for i in valid) / len(valid)
    return total


def vcl(
    logits: Array,
    positives: Array,
    candidates: Array | None = None,
    numerator: str = "mean_log",
    pair_weights: Array | None = None,
) -> float:
    return contrast(logits, positives, candidates, numerator, pair_weights, within=True)


def icl(
    logits: Array,
    positives: Array,
    candidates: Array | None = None,
    numerator: str = "mean_log",
    pair_weights: Array | None = None,
) -> float:
    return contrast(logits, positives, candidates, numerator, pair_weights, within=False)


def kl(teacher: Array, student: Array, mask: Array, temperature: float) -> float:
    """Squared temperature times KL(teacher || student) over the keys of the mask."""
    keys = [k for k in range(len(mask)) if mask[k]]
    if not keys:
        return 0.0
    t, s = teacher[keys] / temperature, student[keys] / temperature
    log_t, log_s = t - log_sum_exp(t), s - log_sum_exp(s)
    return temperature**2 * float(sum(np.exp(log_t) * (log_t - log_s)))


def soft(
    student: Callable[[int, int], Array],
    teacher: Callable[[int, int], Array],
    mask: Callable[[int, int], Array],
    networks: int,
    temperature: float,
    pair_weights: Array | None,
) -> float:
    total = 0.0
    for a, b in np.ndindex(networks, networks):
        if a != b:
            weight = 1.0 if pair_weights is None else pair_weights[a, b]
            rows = zip(teacher(a, b), student(a, b), mask(a, b), strict=True)
            total += weight * float(np.mean([kl(t, s, m, temperature) for t, s, m in rows]))
    return total


def soft_vcl(
    logits: Array,
    candidates: Array | None = None,
    soft_temperature: float = 3.0,
    pair_weights: Array | None = None,
    stopped: Array | None = None,
) -> float:
    """Network b's own distribution teaches network a's; `stopped` holds the teachers' logits."""
    teacher = logits if stopped is None else stopped
    mask = full(candidates, logits.shape)
    return soft(
        lambda a, b: logits[a, a],
        lambda a, b: teacher[b, b],
        lambda a, b: mask[a, a],
        len(logits),
        soft_temperature,
        pair_weights,
    )


def soft_icl(
    logits: Array,
    candidates: Array | None = None,
    soft_temperature: float = 3.0,
    pair_weights: Array | None = None,
    stopped: Array | None = None,
) -> float:
    """What b sees in a teaches what a sees in b; `stopped` holds the teachers' logits."""
    teacher = logits if stopped is None else stopped
    mask = full(candidates, logits.shape)
    return soft(
        lambda a, b: logits[a, b],
        lambda a, b: teacher[b, a],
        lambda a, b: mask[a, b],
        len(logits),
        soft_temperature,
        pair_weights,
    )


def with_own(mask: Array | None, shape: Sequence[int], empty: bool) -> Array:
    """A mask over the keys with the own key's column of True in front."""
    mask = np.zeros(shape, bool) if mask is None and empty else full(mask, shape)
    return np.concatenate([np.ones((*shape[:-1], 1), bool), mask], axis=-1)


def all_logits(queries: Array, keys: Array, own_keys: Array | None, temperature: float) -> Array:
    logits = cross_network_logits(queries, keys, temperature)
    if own_keys is None:
        return logits
    own = cross_network_logits(queries, own_keys[:, :, None], temperature)
    return np.concatenate([own, logits], axis=-1)


def mcl_terms(
    queries: Array,
    keys: Array,
    positives: Array | None = None,
    candidates: Array | None = None,
    *,
    own_keys: Array | None = None,
    soft_candidates: Array | None = None,
    temperature: float,
    soft_temperature: float = 3.0,
    numerator: str = "mean_log",
    pair_weights: Array | None = None,
    stopped: Array | None = None,
) -> Terms:
    logits = all_logits(queries, keys, own_keys, temperature)
    if own_keys is not None:
        shape = (*logits.shape[:-1], keys.shape[-2])
        positives = with_own(positives, shape, empty=True)
        candidates = with_own(candidates, shape, empty=False)
        soft_candidates = with_own(soft_candidates, shape, empty=False)
    assert positives is not None
    hard = (logits, positives, candidates, numerator, pair_weights)
    mimicry = (logits, soft_candidates, soft_temperature, pair_weights, stopped)
    return Terms(vcl(*hard), soft_vcl(*mimicry), icl(*hard), soft_icl(*mimicry))


def logit_distillation(
    logits: Array,
    soft_temperature: float = 3.0,
    students: str = "all",
    stopped: Array | None = None,
) -> float:
    teacher = np.mean(logits if stopped is None else stopped, axis=0)
    every = np.ones(logits.shape[-1], bool)
    total = 0.0
    for student in logits if students == "all" else logits[-1:]:
        rows = zip(teacher, student, strict=True)
        total += float(np.mean([kl(t, s, every, soft_temperature) for t, s in rows]))
    return total


def deep_mutual(
    logits: Array, soft_temperature: float = 1.0, stopped: Array | None = None
) -> float:
    teacher = logits if stopped is None else stopped
    every = np.ones(logits.shape[1:], bool)
    return soft(
        lambda a, b: logits[a],
        lambda a, b: teacher[b],
        lambda a, b: every,
        len(logits),
        soft_temperature,
        None,
    )


def assert_gradient(gradient: Array, f: Callable[[Array], float], x: Array) -> None:
    """Agrees with central differences of a scalar function, along random directions."""
    step, directions = 1e-5, unit(7, 6, x.size).reshape(6, *x.shape)
    expected = [(f(x + step * d) - f(x - step * d)) / (2 * step) for d in directions]
    assert_close(np.array([np.sum(gradient * d) for d in directions]), np.array(expected), 1e-7)
