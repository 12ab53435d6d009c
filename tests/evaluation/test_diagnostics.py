"""How alike networks are, against slow loops in float64 and by what must not change it."""

import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import losses
from mcl_jax.evaluation import (
    agreement,
    confusion_matrix,
    cross_network_similarity,
    linear_cka,
)

M, N, D = 3, 12, 5


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def hsic(x: np.ndarray, y: np.ndarray) -> float:
    """tr(K H L H) with the centring matrix H, as Kornblith et al. write it."""
    rows = len(x)
    centring = np.eye(rows) - 1 / rows
    return float(np.trace(x @ x.T @ centring @ y @ y.T @ centring))


def test_similarity_is_that_of_slow_loops(rng):
    z = rng.normal(size=(M, N, D))
    found = cross_network_similarity(z)
    for a in range(M):
        for b in range(M):
            same = [cosine(z[a, i], z[b, i]) for i in range(N)]
            different = [cosine(z[a, i], z[b, j]) for i in range(N) for j in range(N) if i != j]
            assert found.same[a, b] == pytest.approx(np.mean(same))
            assert found.different[a, b] == pytest.approx(np.mean(different))


def test_lengths_and_a_common_rotation_do_not_change_similarity(rng):
    z = rng.normal(size=(M, N, D))
    rotation = np.linalg.qr(rng.normal(size=(D, D)))[0]
    moved = z * rng.gamma(2, size=(M, N, 1)) @ rotation
    for before, after in zip(
        cross_network_similarity(z), cross_network_similarity(moved), strict=True
    ):
        np.testing.assert_allclose(after, before, atol=1e-12)


def test_embeddings_on_one_point_are_alike_for_different_images():
    z = np.broadcast_to(np.arange(1.0, D + 1), (M, N, D))
    np.testing.assert_allclose(cross_network_similarity(z).different, 1)


def test_float32_is_summed_in_float64():
    z = np.random.default_rng(1).normal(size=(2, 2000, 64)).astype(np.float32)
    exact = cross_network_similarity(z.astype(np.float64))
    np.testing.assert_allclose(cross_network_similarity(z).different, exact.different, atol=1e-12)


def test_agreement_is_that_of_slow_loops(rng):
    logits = rng.normal(size=(M, 40, 3))
    found = agreement(logits)
    for a in range(M):
        for b in range(M):
            alike = [np.argmax(logits[a, i]) == np.argmax(logits[b, i]) for i in range(40)]
            assert found[a, b] == np.mean(alike)


@pytest.mark.parametrize("widths", [(4,), (4, 7), (3, 30), (40, 25)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_alignment_is_that_of_its_definition(rng, widths, dtype):
    # More features than rows take another way to the same number.
    groups = [rng.normal(loc=3, size=(2, N, width)).astype(dtype) for width in widths]
    found = linear_cka(groups)
    networks = [x.astype(np.float64) for group in groups for x in group]
    for a, x in enumerate(networks):
        for b, y in enumerate(networks):
            expected = hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))
            assert found[a, b] == pytest.approx(expected, abs=1e-5)


def test_alignment_is_that_of_the_function_of_jax_arrays(rng):
    features = rng.normal(loc=3, size=(M, N, D)).astype(np.float32)
    x = jnp.asarray(features)
    np.testing.assert_allclose(losses.linear_cka(x[:, None], x), linear_cka([features]), atol=1e-6)


def test_alignment_does_not_see_rotation_scale_and_place(rng):
    x = rng.normal(size=(N, D))
    rotation = np.linalg.qr(rng.normal(size=(D, D)))[0]
    moved = 7 * x @ rotation + rng.normal(size=D)
    wider = np.pad(moved, ((0, 0), (0, 3)))
    np.testing.assert_allclose(linear_cka([np.stack([x, moved]), wider[None]]), 1)


def test_alignment_sees_a_stretch(rng):
    x = rng.normal(size=(200, 2))
    assert linear_cka([np.stack([x, x * [1, 20]])])[0, 1] < 0.9


def test_constant_features_have_no_alignment(rng):
    found = linear_cka([np.stack([rng.normal(size=(N, D)), np.ones((N, D))])])
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[0, 1])
    assert np.isnan(found[1, 1])


@pytest.mark.parametrize(
    "measure",
    [
        lambda x: cross_network_similarity(x).same,
        lambda x: cross_network_similarity(x).different,
        agreement,
        lambda x: linear_cka([x]),
    ],
    ids=["same", "different", "agreement", "cka"],
)
def test_the_order_of_networks_orders_rows_and_columns(rng, measure):
    x, order = rng.normal(size=(4, N, D)), np.array([2, 0, 3, 1])
    before, after = measure(x), measure(x[order])
    np.testing.assert_allclose(after, before[np.ix_(order, order)], atol=1e-12)
    np.testing.assert_allclose(before, before.T, atol=1e-12)


def test_confusion_is_that_of_slow_loops(rng):
    answers, labels = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    expected = np.zeros((5, 5), int)
    for answer, label in zip(answers, labels, strict=True):
        expected[label, answer] += 1
    np.testing.assert_array_equal(confusion_matrix(answers, labels, 5), expected)


def test_small_integers_do_not_overflow():
    labels = np.full(3, 255, np.uint8)
    assert confusion_matrix(labels, labels, 256)[255, 255] == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cross_network_similarity(np.ones((2, 1, 3))), "N at least 2"),
        (lambda: cross_network_similarity(np.ones((4, 3))), r"\[M, N, D\]"),
        (lambda: agreement(np.ones((4, 3))), r"\[M, N, C\]"),
        (lambda: linear_cka([np.ones((1, 4, 3)), np.ones((1, 5, 3))]), "one N"),
        (lambda: linear_cka([]), "one N"),
        (lambda: confusion_matrix(np.ones(3), np.ones(4), 2), "shapes"),
        (lambda: confusion_matrix(np.array([2]), np.array([0]), 2), "answers must be from 0 to 1"),
        (lambda: confusion_matrix(np.array([0]), np.array([-1]), 2), "labels must be from 0 to 1"),
    ],
)
def test_what_is_no_such_array_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
