import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from reference import TOLERANCE, assert_close, assert_gradient, run

from mcl_jax import losses

M, B, K = 3, 5, 7
RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(M, M, B, K))


def ragged(*shape: int) -> np.ndarray:
    """A random mask in which the last anchor has no key and the others have one to all."""
    mask = RNG.random((*shape, B, K)) < 0.5
    mask[..., 0] = True
    mask[..., -1, :] = False
    return mask


def candidates(*shape: int) -> np.ndarray:
    mask = RNG.random((*shape, B, K)) < 0.6
    mask[..., 1] = True
    return mask


MASKS = {
    "every key": (ragged(), None),
    "2-d": (ragged(), candidates()),
    "4-d": (ragged(M, M), candidates(M, M)),
    "positives no candidates": (p := ragged(), ~p),
    "row": (np.arange(K) == 2, np.arange(K) > 1),
}
NUMERATORS = ["mean_log", "log_sum"]
PAIR_WEIGHTS = RNG.uniform(0.2, 2, size=(M, M))
PAIRS = pytest.mark.parametrize(
    ("ours", "theirs"),
    [(losses.vcl, reference.vcl), (losses.icl, reference.icl)],
    ids=["vcl", "icl"],
)
Loss = Callable[..., Any]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("numerator", NUMERATORS)
@pytest.mark.parametrize("masks", MASKS)
def test_info_nce_against_loops(masks: str, numerator: str, dtype: str) -> None:
    values = run(
        lambda x: losses.info_nce(x, *MASKS[masks], numerator=numerator), LOGITS, dtype=dtype
    )
    assert values.dtype == dtype
    expected = reference.info_nce(LOGITS, *MASKS[masks], numerator)
    assert_close(values, expected, TOLERANCE[dtype])


@PAIRS
@pytest.mark.parametrize("numerator", NUMERATORS)
@pytest.mark.parametrize("masks", MASKS)
def test_terms_against_loops(ours: Loss, theirs: Loss, masks: str, numerator: str) -> None:
    value = run(
        lambda x: ours(x, *MASKS[masks], numerator=numerator, pair_weights=PAIR_WEIGHTS), LOGITS
    )
    assert_close(value, theirs(LOGITS, *MASKS[masks], numerator, PAIR_WEIGHTS), 1e-9)


@PAIRS
@pytest.mark.parametrize("networks", [1, 2])
def test_defaults(ours: Loss, theirs: Loss, networks: int) -> None:
    logits = LOGITS[:networks, :networks]
    value = run(lambda x: ours(x, *MASKS["2-d"]), logits)
    assert_close(value, theirs(logits, *MASKS["2-d"]), 1e-9)


@pytest.mark.parametrize("numerator", NUMERATORS)
@pytest.mark.parametrize("masks", MASKS)
def test_gradients(masks: str, numerator: str) -> None:
    args = MASKS[masks]

    def ours(x: jax.Array) -> jax.Array:
        return losses.vcl(x, *args, numerator=numerator) + 2 * losses.icl(
            x, *args, numerator=numerator
        )

    def theirs(x: np.ndarray) -> float:
        return reference.vcl(x, *args, numerator) + 2 * reference.icl(x, *args, numerator)

    assert_gradient(run(jax.grad(ours), LOGITS), theirs, LOGITS)


def test_a_positive_that_is_no_candidate_can_make_the_loss_negative() -> None:
    logits = jnp.array([[2.0, 1.0, 0.0]])
    positive = jnp.array([[True, False, False]])
    loss = losses.info_nce(logits, positive, ~positive)
    np.testing.assert_allclose(loss, [np.log(np.e + 1) - 2], rtol=1e-6)


@pytest.mark.parametrize("numerator", NUMERATORS)
@pytest.mark.parametrize(
    ("positives", "candidates"),
    [(np.zeros((B, K), bool), None), (np.ones((B, K), bool), np.zeros((B, K), bool))],
    ids=["no positive", "no candidate"],
)
@pytest.mark.parametrize("loss", [losses.vcl, losses.icl])
def test_no_anchor_counts(
    loss: Loss, positives: np.ndarray, candidates: np.ndarray | None, numerator: str
) -> None:
    value, gradient = run(
        jax.value_and_grad(lambda x: loss(x, positives, candidates, numerator=numerator)), LOGITS
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("numerator", NUMERATORS)
def test_an_anchor_without_candidates_is_left_out(numerator: str) -> None:
    positives, every = MASKS["2-d"]
    some = every & (np.arange(B) != 1)[:, None]
    value, gradient = run(
        jax.value_and_grad(lambda x: losses.icl(x, positives, some, numerator=numerator)), LOGITS
    )
    kept = [0, 2, 3, 4]
    expected = reference.icl(LOGITS[:, :, kept], positives[kept], every[kept], numerator)
    assert_close(value, expected, 1e-9)
    np.testing.assert_array_equal(gradient[:, :, 1], 0)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("numerator", NUMERATORS)
def test_empty_rows_pass_under_debug_nans(numerator: str) -> None:
    positives, every = MASKS["2-d"]
    some = every & (np.arange(B) != 1)[:, None]
    with jax.debug_nans(True):
        f = functools.partial(losses.icl, numerator=numerator)
        gradient = jax.grad(f)(jnp.asarray(LOGITS, jnp.float32), positives, some)
    np.testing.assert_array_equal(gradient[:, :, [1, -1]], 0)


@pytest.mark.parametrize("numerator", NUMERATORS)
def test_large_logits(numerator: str) -> None:
    """Logits of temperature 0.01, the largest of them not among the candidates."""
    logits = np.where(np.eye(B, K, dtype=bool), 100.0, LOGITS * 20 - 40)
    positives, _ = MASKS["2-d"]
    other = ~np.eye(B, K, dtype=bool)
    value, gradient = run(
        jax.value_and_grad(lambda x: losses.icl(x, positives, other, numerator=numerator)),
        logits,
        dtype="float32",
    )
    assert_close(value, reference.icl(logits, positives, other, numerator), 1e-5)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("pair", [(0, 1), (2, 0)])
def test_a_pair_weight_moves_that_pair_alone(pair: tuple[int, int]) -> None:
    weights = np.zeros((M, M))
    weights[pair] = 1
    gradient = run(jax.grad(lambda x: losses.icl(x, *MASKS["2-d"], pair_weights=weights)), LOGITS)
    np.testing.assert_array_equal(np.any(gradient, axis=(2, 3)), weights > 0)


L = jnp.zeros((2, 2, 3, 4))
TRUE = jnp.ones((3, 4), bool)
TERMS = (losses.vcl, losses.icl)


@pytest.mark.parametrize(
    ("functions", "args", "options", "error", "message"),
    [
        (
            (losses.info_nce, *TERMS),
            (L, TRUE),
            {"numerator": "mean"},
            ValueError,
            "numerator must be one of ('mean_log', 'log_sum'), got 'mean'.",
        ),
        (
            (losses.info_nce, *TERMS),
            (L.astype(int), TRUE),
            {},
            TypeError,
            "logits must have a floating dtype, got int32.",
        ),
        (
            (losses.info_nce,),
            (L[0, 0, 0], TRUE[0]),
            {},
            ValueError,
            "logits must have axes [..., B, K], got shape (4,).",
        ),
        (
            TERMS,
            (L[0], TRUE),
            {},
            ValueError,
            "logits must have axes [M, M, B, K], got shape (2, 3, 4).",
        ),
        (
            TERMS,
            (L[:1], TRUE),
            {},
            ValueError,
            "logits must have axes [M, M, B, K], got shape (1, 2, 3, 4).",
        ),
        (
            (losses.info_nce, *TERMS),
            (L, None),
            {},
            ValueError,
            "positives must be a boolean mask over the keys, got None.",
        ),
        (
            (losses.info_nce, *TERMS),
            (L, TRUE.astype(int)),
            {},
            TypeError,
            "positives must be boolean, got int32.",
        ),
        (
            (losses.info_nce, *TERMS),
            (L, TRUE, TRUE.astype(float)),
            {},
            TypeError,
            "candidates must be boolean, got float32.",
        ),
        (
            (losses.info_nce, *TERMS),
            (L, TRUE[:2]),
            {},
            ValueError,
            "positives must broadcast to (2, 2, 3, 4), got shape (2, 4).",
        ),
        (
            (losses.info_nce, *TERMS),
            (L, TRUE, TRUE[:, :2]),
            {},
            ValueError,
            "candidates must broadcast to (2, 2, 3, 4), got shape (3, 2).",
        ),
        (
            TERMS,
            (L, TRUE),
            {"pair_weights": jnp.ones(2)},
            ValueError,
            "pair_weights must have shape (2, 2), got (2,).",
        ),
    ],
)
def test_refuses(
    functions: tuple[Loss, ...],
    args: tuple[Any, ...],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    for function in functions:
        with pytest.raises(error, match=re.escape(message)):
            function(*args, **options)
