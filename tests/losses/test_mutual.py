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

M, B, K = 3, 4, 5
RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(M, M, B, K))
CLASS_LOGITS = 3 * RNG.normal(size=(M, B, K))
PAIR_WEIGHTS = RNG.uniform(0.2, 2, size=(M, M))


def candidates(*shape: int) -> np.ndarray:
    """A random mask in which the last anchor has no key."""
    mask = RNG.random((*shape, B, K)) < 0.6
    mask[..., 1] = True
    mask[..., -1, :] = False
    return mask


MASKS = {"every key": None, "2-d": candidates(), "4-d": candidates(M, M)}
Loss = Callable[..., Any]
SOFT = pytest.mark.parametrize(
    ("ours", "theirs"),
    [(losses.soft_vcl, reference.soft_vcl), (losses.soft_icl, reference.soft_icl)],
    ids=["soft_vcl", "soft_icl"],
)
OPTIONS: dict[str, tuple[Loss, Loss, dict[str, Any]]] = {
    "all": (losses.logit_distillation, reference.logit_distillation, {}),
    "last": (losses.logit_distillation, reference.logit_distillation, {"students": "last"}),
    "T": (losses.logit_distillation, reference.logit_distillation, {"soft_temperature": 1.5}),
    "deep_mutual": (losses.deep_mutual, reference.deep_mutual, {}),
    "deep_mutual T": (losses.deep_mutual, reference.deep_mutual, {"soft_temperature": 2.5}),
}
CLASSES = pytest.mark.parametrize(("ours", "theirs", "options"), OPTIONS.values(), ids=OPTIONS)


@SOFT
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("masks", MASKS)
def test_soft_terms_against_loops(ours: Loss, theirs: Loss, masks: str, dtype: str) -> None:
    options = {"soft_temperature": 2.0, "pair_weights": PAIR_WEIGHTS}
    value = run(lambda x: ours(x, MASKS[masks], **options), LOGITS, dtype=dtype)
    assert value.dtype == dtype
    assert_close(value, theirs(LOGITS, MASKS[masks], **options), TOLERANCE[dtype])


@SOFT
@pytest.mark.parametrize("networks", [1, 2])
def test_defaults(ours: Loss, theirs: Loss, networks: int) -> None:
    logits = LOGITS[:networks, :networks]
    assert_close(run(ours, logits), theirs(logits), 1e-9)


@SOFT
@pytest.mark.parametrize("masks", MASKS)
def test_only_students_learn(ours: Loss, theirs: Loss, masks: str) -> None:
    """The gradient is that of the terms with their teachers held fixed."""
    weights = PAIR_WEIGHTS
    gradient = run(jax.grad(lambda x: ours(x, MASKS[masks], pair_weights=weights)), LOGITS)

    def students(x: np.ndarray) -> float:
        return theirs(x, MASKS[masks], pair_weights=weights, stopped=LOGITS)

    assert_gradient(gradient, students, LOGITS)


@CLASSES
@pytest.mark.parametrize(("networks", "dtype"), [(1, "float64"), (2, "float32"), (3, "float64")])
def test_class_terms_against_loops(
    ours: Loss, theirs: Loss, options: dict[str, Any], networks: int, dtype: str
) -> None:
    logits = CLASS_LOGITS[:networks]
    value = run(lambda x: ours(x, **options), logits, dtype=dtype)
    assert value.dtype == dtype
    assert_close(value, theirs(logits, **options), TOLERANCE[dtype])


@CLASSES
def test_only_class_students_learn(ours: Loss, theirs: Loss, options: dict[str, Any]) -> None:
    gradient = run(jax.grad(lambda x: ours(x, **options)), CLASS_LOGITS)
    students = functools.partial(theirs, **options, stopped=CLASS_LOGITS)
    assert_gradient(gradient, students, CLASS_LOGITS)


def test_a_pair_weight_moves_that_student_alone() -> None:
    """Weight [0, 1]: soft VCL moves logits [0, 0], soft ICL moves logits [0, 1]."""
    weights = np.zeros((M, M))
    weights[0, 1] = 1
    for loss, student in ((losses.soft_vcl, (0, 0)), (losses.soft_icl, (0, 1))):
        gradient = run(jax.grad(functools.partial(loss, pair_weights=weights)), LOGITS)
        moved = np.zeros((M, M), bool)
        moved[student] = True
        np.testing.assert_array_equal(np.any(gradient, axis=(2, 3)), moved)


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (losses.soft_vcl, (M, M, B, K)),
        (losses.soft_icl, (M, M, B, K)),
        (losses.logit_distillation, (M, B, K)),
        (losses.deep_mutual, (M, B, K)),
    ],
)
def test_equal_networks_have_nothing_to_learn(loss: Loss, shape: tuple[int, ...]) -> None:
    logits = np.broadcast_to(LOGITS[0, 0], shape)
    value, gradient = run(jax.value_and_grad(loss), logits)
    assert abs(value) < 1e-12
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@SOFT
def test_no_candidates_anywhere(ours: Loss, theirs: Loss) -> None:
    none = np.zeros((B, K), bool)
    value, gradient = run(jax.value_and_grad(lambda x: ours(x, none)), LOGITS)
    assert value == theirs(LOGITS, none) == 0
    np.testing.assert_array_equal(gradient, 0)


@SOFT
def test_empty_rows_pass_under_debug_nans(ours: Loss, theirs: Loss) -> None:
    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(ours)(jnp.asarray(LOGITS, jnp.float32), MASKS["2-d"])
    assert_close(value, theirs(LOGITS, MASKS["2-d"]), 1e-5)
    np.testing.assert_array_equal(gradient[:, :, -1], 0)


@SOFT
def test_large_logits(ours: Loss, theirs: Loss) -> None:
    """Logits of temperature 0.01, the largest of them not among the candidates."""
    logits = np.where(np.eye(B, K, dtype=bool), 100.0, LOGITS * 10 - 40)
    other = ~np.eye(B, K, dtype=bool)
    value, gradient = run(
        jax.value_and_grad(lambda x: ours(x, other, soft_temperature=1.0)), logits, dtype="float32"
    )
    assert_close(value, theirs(logits, other, 1.0), 1e-5)
    assert np.all(np.isfinite(gradient))


L = jnp.zeros((2, 2, 3, 4))
C = jnp.zeros((2, 3, 4))
PAIRS = (losses.soft_vcl, losses.soft_icl)
OF_CLASSES = (losses.logit_distillation, losses.deep_mutual)


@pytest.mark.parametrize(
    ("functions", "args", "options", "error", "message"),
    [
        (PAIRS, (C,), {}, ValueError, "logits must have axes [M, M, B, K], got shape (2, 3, 4)."),
        (
            OF_CLASSES,
            (L,),
            {},
            ValueError,
            "logits must have axes [M, B, C], got shape (2, 2, 3, 4).",
        ),
        (PAIRS, (L.astype(int),), {}, TypeError, "logits must have a floating dtype, got int32."),
        (
            OF_CLASSES,
            (C.astype(int),),
            {},
            TypeError,
            "logits must have a floating dtype, got int32.",
        ),
        (PAIRS, (L, jnp.ones(4)), {}, TypeError, "candidates must be boolean, got float32."),
        (
            PAIRS,
            (L, jnp.ones(3, bool)),
            {},
            ValueError,
            "candidates must broadcast to (2, 2, 3, 4), got shape (3,).",
        ),
        (
            PAIRS,
            (L,),
            {"pair_weights": jnp.ones((3, 3))},
            ValueError,
            "pair_weights must have shape (2, 2), got (3, 3).",
        ),
        (
            PAIRS,
            (L,),
            {"soft_temperature": 0},
            ValueError,
            "soft_temperature must be above 0, got 0.",
        ),
        (
            OF_CLASSES,
            (C,),
            {"soft_temperature": -1.0},
            ValueError,
            "soft_temperature must be above 0, got -1.0.",
        ),
        (
            (losses.logit_distillation,),
            (C,),
            {"students": "first"},
            ValueError,
            "students must be one of ('all', 'last'), got 'first'.",
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
