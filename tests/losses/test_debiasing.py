import itertools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from reference import TOLERANCE, assert_close, assert_gradient, run, unit

from mcl_jax import losses

B, K, TEMPERATURE = 5, 8, 0.5
RNG = np.random.default_rng(0)
# Cosines of unit vectors over the temperature. The first anchor's positive is near, all else far.
COSINES = RNG.uniform(-0.9, 0.9, size=(B, K))
COSINES[0] = RNG.uniform(-0.99, -0.95, size=K)
COSINES[0, 1] = 0.9
LOGITS = COSINES / TEMPERATURE
ONE = np.arange(K) == 1
POSITIVES = RNG.random((B, K)) < 0.4
POSITIVES[:, 1] = True
POSITIVES[-1] = False
CANDIDATES = RNG.random((B, K)) < 0.7
CANDIDATES[:, [1, 2]] = True
POSITIVES[:, 2] = False
MASKS = {
    "one positive": (ONE, None),
    "several": (POSITIVES, None),
    "candidates": (POSITIVES, CANDIDATES),
}
every_mask = pytest.mark.parametrize("masks", MASKS)


def debiased(
    logits: np.ndarray,
    positives: np.ndarray,
    candidates: np.ndarray | None,
    class_prior: float,
    temperature: float,
) -> np.ndarray:
    """The paper's estimator with its max, for one positive at a time."""
    positives = reference.full(positives, logits.shape)
    candidates = reference.full(candidates, logits.shape)
    out = np.zeros(len(logits))
    for i in range(len(logits)):
        own = [float(x) for x, p in zip(logits[i], positives[i], strict=True) if p]
        negatives = [
            float(x)
            for x, p, c in zip(logits[i], positives[i], candidates[i], strict=True)
            if c and not p
        ]
        if own and negatives:
            hidden = class_prior * np.mean(np.exp(own))
            g = (np.mean(np.exp(negatives)) - hidden) / (1 - class_prior)
            g = max(g, np.exp(-1 / temperature))
            rest = len(negatives) * g
            out[i] = np.mean([-np.log(np.exp(p) / (np.exp(p) + rest)) for p in own])
    return out


@every_mask
@pytest.mark.parametrize("numerator", ["mean_log", "log_sum"])
def test_decoupled_is_info_nce_over_the_negatives(masks: str, numerator: str) -> None:
    positives, candidates = MASKS[masks]
    negatives = reference.full(candidates, LOGITS.shape) & ~positives
    values = run(lambda x: losses.decoupled(x, positives, candidates, numerator=numerator), LOGITS)
    expected = reference.info_nce(LOGITS, positives, negatives, numerator)
    assert_close(values, expected, 1e-9)


def test_decoupled_against_the_equation() -> None:
    values = run(lambda x: losses.decoupled(x, ONE), LOGITS)
    rest = np.delete(np.exp(LOGITS), 1, axis=1).sum(axis=1)
    assert_close(values, np.log(rest) - LOGITS[:, 1], 1e-12)
    assert values.min() < 0


def test_decoupled_positives_do_not_repel_each_other() -> None:
    """The gradient of a positive is the same however high it or another one scores."""
    gradient = run(jax.grad(lambda x: jnp.sum(losses.decoupled(x, POSITIVES))), LOGITS)
    number = POSITIVES.sum(axis=1, keepdims=True)
    assert_close(gradient[POSITIVES], (-1 / np.maximum(number, 1) * POSITIVES)[POSITIVES], 1e-12)


@every_mask
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("class_prior", [0.0, 0.1, 0.6])
def test_debiased_against_loops(masks: str, class_prior: float, dtype: str) -> None:
    values = run(
        lambda x: losses.debiased(
            x, *MASKS[masks], class_prior=class_prior, temperature=TEMPERATURE
        ),
        LOGITS,
        dtype=dtype,
    )
    assert values.dtype == dtype
    expected = debiased(LOGITS, *MASKS[masks], class_prior, TEMPERATURE)
    assert_close(values, expected, TOLERANCE[dtype])


def test_the_cases_meet_the_floor_and_miss_it() -> None:
    """Else the tests above and below would not see both branches."""
    own, rest = np.exp(LOGITS[:, 1]), np.delete(np.exp(LOGITS), 1, axis=1).mean(axis=1)
    for prior in (0.1, 0.6):
        floored = (rest - prior * own) / (1 - prior) < np.exp(-1 / TEMPERATURE)
        assert 0 < floored.sum() < B


@every_mask
@pytest.mark.parametrize("class_prior", [0.0, 0.6])
def test_debiased_gradient(masks: str, class_prior: float) -> None:
    options = {"class_prior": class_prior, "temperature": TEMPERATURE}
    gradient = run(
        jax.grad(lambda x: jnp.sum(losses.debiased(x, *MASKS[masks], **options))), LOGITS
    )
    assert_gradient(
        gradient,
        lambda x: debiased(x, *MASKS[masks], class_prior, TEMPERATURE).sum(),
        LOGITS,
    )


def test_without_a_prior_one_positive_gives_info_nce() -> None:
    values = run(
        lambda x: losses.debiased(x, ONE, class_prior=0.0, temperature=TEMPERATURE), LOGITS
    )
    assert_close(values, reference.info_nce(LOGITS, ONE), 1e-12)


def test_without_a_prior_several_positives_do_not_see_each_other() -> None:
    values = run(
        lambda x: losses.debiased(x, POSITIVES, class_prior=0.0, temperature=TEMPERATURE), LOGITS
    )
    for i in range(B):
        alone = [np.arange(K) == p for p in np.flatnonzero(POSITIVES[i])]
        each = [reference.info_nce(LOGITS[i, None], p, p | ~POSITIVES[i]) for p in alone]
        assert_close(values[i], np.mean(each) if each else 0.0, 1e-12)


@pytest.mark.parametrize("class_prior", [0.0, 0.2])
def test_a_traced_prior_and_temperature_give_the_same(class_prior: float) -> None:
    def f(x: jax.Array, prior: Any, temperature: Any) -> jax.Array:
        return losses.debiased(x, ONE, class_prior=prior, temperature=temperature)

    traced = run(f, LOGITS, np.array(class_prior), np.array(TEMPERATURE))
    assert_close(traced, run(lambda x: f(x, class_prior, TEMPERATURE), LOGITS), 1e-12)


@pytest.mark.parametrize("class_prior", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("logit", [-90.0, 0.0, 90.0])
def test_equal_logits_give_the_logarithm_of_the_number_of_keys(
    logit: float, class_prior: float
) -> None:
    """Collapsed embeddings: the hidden positives are worth as much as the negatives."""
    values = run(
        lambda x: [
            losses.debiased(x, ONE, class_prior=class_prior, temperature=0.01),
            losses.decoupled(x, ONE),
        ],
        np.full((B, K), logit),
    )
    assert_close(values, [np.full(B, np.log(K)), np.full(B, np.log(K - 1))], 1e-9)


def test_values_and_gradients_are_finite() -> None:
    """Queries and keys apart, equal, opposite or zero, all with all."""
    x, keys = unit(1, 4, B, 4), unit(2, 4, K, 4)
    x[1], x[2], x[3, 1] = x[0, 0], -x[0, 0], 0
    keys[1], keys[2, 1:], keys[3, 1] = x[0, 0], keys[2, 0], 0

    def f(x: jax.Array, keys: jax.Array, prior: float, temperature: float) -> jax.Array:
        z, k = losses.l2_normalize(x), losses.l2_normalize(keys)
        logits = losses.cross_network_logits(z, k, temperature)
        return sum(
            jnp.sum(losses.debiased(logits, *masks, class_prior=prior, temperature=temperature))
            + jnp.sum(losses.decoupled(logits, *masks))
            for masks in MASKS.values()
        )

    jitted = jax.jit(jax.value_and_grad(f, (0, 1)), compiler_options=reference.FAST_TO_COMPILE)
    x, keys = x.astype("float32"), keys.astype("float32")
    with jax.debug_nans(True):
        for prior, temperature in itertools.product((0.0, 0.1, 0.99), (0.01, 1.0, 10.0)):
            value, gradients = jitted(x, keys, prior, temperature)
            assert np.isfinite(value)
            assert all(np.all(np.isfinite(g)) for g in gradients)


@pytest.mark.parametrize("ulps", [-2, -1, 0, 1, 2])
def test_negatives_that_the_prior_explains_leave_the_floor(ulps: int) -> None:
    """Where the estimate is 0 its logarithm is not finite, and rounding may fall to either side."""
    own = np.float32(np.log(2)) * np.float32(1 + ulps * np.finfo("float32").eps)
    logits, first = np.array([[own, 0]]), np.array([True, False])
    f = jax.value_and_grad(
        lambda x: jnp.sum(losses.debiased(x, first, class_prior=0.5, temperature=0.1))
    )
    with jax.debug_nans(True):
        value, gradient = run(f, logits, dtype="float32")
    assert_close(value, np.log1p(np.exp(-10) / 2), 1e-2)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize(
    ("positives", "candidates"),
    [(np.zeros(K, bool), None), (np.ones(K, bool), None), (ONE, ONE), (ONE, np.zeros(K, bool))],
    ids=["no positive", "all positive", "no negative", "no candidate"],
)
def test_empty_masks_give_zero(positives: np.ndarray, candidates: np.ndarray | None) -> None:
    def f(x: jax.Array) -> jax.Array:
        value = losses.debiased(x, positives, candidates, class_prior=0.1, temperature=TEMPERATURE)
        return jnp.sum(value + losses.decoupled(x, positives, candidates))

    with jax.debug_nans(True):
        value, gradient = run(jax.value_and_grad(f), LOGITS, dtype="float32")
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


X, OPTIONS = jnp.zeros((2, 3)), {"class_prior": 0.1, "temperature": 0.5}
TRUE = jnp.ones((2, 3), bool)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        *(
            (
                lambda prior=prior: losses.debiased(X, TRUE, class_prior=prior, temperature=0.5),
                ValueError,
                f"class_prior must be a scalar from 0 to below 1, got {prior}.",
            )
            for prior in (-0.1, 1.0, 1, float("nan"))
        ),
        (
            lambda: losses.debiased(X, TRUE, class_prior=jnp.zeros(2), temperature=0.5),
            ValueError,
            "class_prior must be a scalar from 0 to below 1, got [0. 0.].",
        ),
        (
            lambda: losses.debiased(X, TRUE, class_prior=0.1, temperature=0),
            ValueError,
            "temperature must be above 0, got 0.",
        ),
        (
            lambda: losses.debiased(X.astype(int), TRUE, **OPTIONS),
            TypeError,
            "logits must have a floating dtype, got int32.",
        ),
        (
            lambda: losses.debiased(X, None, **OPTIONS),
            ValueError,
            "positives must be a boolean mask over the keys, got None.",
        ),
        (
            lambda: losses.decoupled(X, TRUE.astype(int)),
            TypeError,
            "positives must be boolean, got int32.",
        ),
        (
            lambda: losses.decoupled(X, TRUE, TRUE[:, :2]),
            ValueError,
            "candidates must broadcast to (2, 3), got shape (2, 2).",
        ),
        (
            lambda: losses.decoupled(X, TRUE, numerator="mean"),
            ValueError,
            "numerator must be one of ('mean_log', 'log_sum'), got 'mean'.",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
