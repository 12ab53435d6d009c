"""Contrast of several predictions and targets of an image: in NumPy, permuted, on devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from mcl_jax import losses
from mcl_jax.methods import prediction_terms
from mcl_jax.methods.prediction_terms import FORMS, Contrast

M, B, C, T, D = 3, 8, 2, 3, 5
POSITION = jnp.arange(B)


def vectors(key, number):
    drawn = jax.random.normal(jax.random.key(key), (M, B, number, D))
    return losses.l2_normalize(drawn)


def contrast(form, q, t, position, options):
    """Compiled as one program, which is sooner done than each of its operations."""
    return jax.jit(lambda *x: prediction_terms.contrast(form, *x, options))(q, t, position)


def by(form, **changes):
    soft = None if form == "cosine" else 2.0
    return Contrast(temperature=0.3, soft_temperature=soft, **changes)


def shares(logits):
    """Of a softmax over candidates; minus infinity leaves one out."""
    found = np.exp(logits - logits.max())
    return found / found.sum()


def divergence(teacher, student):
    """T^2 KL at T = 2, of logits."""
    p, q = shares(teacher / 2), shares(student / 2)
    return 4 * sum(x * np.log(x / y) for x, y in zip(p, q, strict=True) if x > 0)


def rows_of(form, q, t):
    """Of each anchor: whether it is a prediction, its candidates' logits, and its positive.

    Args:
        form: of the contrast.
        q: predictions, [M, B, D].
        t: targets, the same.

    Yields:
        (whether the anchors' network learns, [M, M, K] logits, the positive's column).
    """
    for learns, anchors in ((True, q), (False, t)):
        if form == ("targets" if learns else "predictions"):
            continue
        others = t if learns else q
        candidates = np.concatenate([q, t], axis=1) if form == "nt_xent" else others
        logits = np.einsum("aid,bkd->abik", anchors, candidates) / 0.3
        for i in range(B):
            positive = i
            if form == "nt_xent":
                logits[:, :, i, i if learns else i + B] = -np.inf
                positive = i + B if learns else i
            yield learns, logits[:, :, i], positive


def terms_of(form, q, t, w):
    """(VCL, soft VCL, ICL, soft ICL) of one prediction and one target of each image."""
    found, count = np.zeros(4), 0
    for learns, logits, positive in rows_of(form, q, t):
        count += 1
        for a in range(M):
            for b in range(M):
                # [a, b] is of anchors of a and candidates of b; of anchors that are targets, which
                # move nobody, b learns from a.
                weight = w[a, b] if learns else w[b, a]
                found[0 if a == b else 2] -= weight * np.log(shares(logits[a, b])[positive])
                if a != b:
                    found[1] += w[a, b] * divergence(logits[b, b], logits[a, a])
                    found[3] += weight * divergence(logits[b, a], logits[a, b])
    return found / count


@pytest.mark.parametrize("form", FORMS)
def test_terms_are_means_over_all_choices(form):
    q, t = vectors(0, C), vectors(1, T)
    weights = jnp.array([[1.0, 2.0, 0.0], [0.5, 1.5, 1.0], [3.0, 1.0, 0.25]])
    whole, chunked = (
        contrast(form, q, t, POSITION, by(form, pair_weights=weights, chunk_size=size))
        for size in (None, 3)
    )
    q, t, w = (np.asarray(x, np.float64) for x in (q, t, weights))
    if form == "cosine":
        distances = 2 - 2 * np.einsum("aicd,biud->ab", q, t) / (B * C * T)
        one = np.trace(w * distances)
        expected = [one, 0, np.sum(w * distances) - one, 0]
    else:
        choices = [terms_of(form, q[:, :, c], t[:, :, d], w) for c in range(C) for d in range(T)]
        expected = np.mean(choices, axis=0)
    for found in (whole, chunked):
        terms = (found.vcl, found.soft_vcl, found.icl, found.soft_icl)
        np.testing.assert_allclose(terms, expected, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_teacher_alone_learns_nothing_from_students(form):
    """By the weights of who learns, but for keys that are predictions, which are not stopped."""
    q, t = vectors(0, C), vectors(1, T)
    weights = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    options = by(form, pair_weights=weights)

    def loss(q):
        return sum(contrast(form, q, t, POSITION, options))

    moved = [bool(np.any(x)) for x in jax.grad(loss)(q)]
    assert moved == [True, True, form == "nt_xent"]


def test_one_of_each_is_what_others_have():
    q, t = vectors(0, 1)[:1], vectors(1, 1)[:1]
    x, y = q[0, :, 0], t[0, :, 0]
    found = {form: contrast(form, q, t, POSITION, by(form)) for form in FORMS}
    simclr = losses.nt_xent(x, y, temperature=0.3)
    labels = optax.softmax_cross_entropy_with_integer_labels
    np.testing.assert_allclose(found["nt_xent"].vcl, simclr, rtol=1e-5)
    np.testing.assert_allclose(
        found["predictions"].vcl, labels(x @ y.T / 0.3, POSITION).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        found["targets"].vcl, labels(y @ x.T / 0.3, POSITION).mean(), rtol=1e-5
    )
    np.testing.assert_allclose(
        found["cosine"].vcl, losses.cosine_regression(x, y).mean(), rtol=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_networks_in_another_order_give_the_same_sums(form):
    q, t, order = vectors(0, C), vectors(1, T), jnp.array([2, 0, 1])
    whole, permuted = (
        contrast(form, *x, POSITION, by(form)) for x in ((q, t), (q[order], t[order]))
    )
    np.testing.assert_allclose(whole, permuted, rtol=1e-5)


@pytest.mark.parametrize("form", ["predictions", "nt_xent"])
def test_equal_networks_have_nothing_to_teach_each_other(form):
    q, t = (jnp.broadcast_to(vectors(key, 2)[:1], (M, B, 2, D)) for key in (0, 1))
    terms = contrast(form, q, t, POSITION, by(form))
    np.testing.assert_allclose(terms.soft_vcl, 0, atol=1e-6)
    np.testing.assert_allclose(terms.icl, (M - 1) * terms.vcl, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_repeated_embeddings_change_nothing(form):
    q, t = vectors(0, C), vectors(1, T)
    once = contrast(form, q, t, POSITION, by(form))
    often = contrast(form, jnp.tile(q, (1, 1, 3, 1)), jnp.tile(t, (1, 1, 2, 1)), POSITION, by(form))
    np.testing.assert_allclose(once, often, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_devices_change_nothing(form):
    q, t = vectors(0, C), vectors(1, T)
    mesh = Mesh(jax.devices()[:4], ("data",))
    options = by(form, axis_name="data")

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(None, "data"), P(None, "data"), P("data")),
        out_specs=P(),
    )
    def split(q, t, position):
        return prediction_terms.contrast(form, q, t, position, options)

    np.testing.assert_allclose(
        jax.jit(split)(q, t, POSITION), contrast(form, q, t, POSITION, by(form)), rtol=1e-5
    )


def test_keys_in_chunks_change_nothing():
    q, t = vectors(0, C), vectors(1, T)
    for form in FORMS:
        whole, chunked = (
            contrast(form, q, t, POSITION, by(form, chunk_size=size)) for size in (None, 3)
        )
        np.testing.assert_allclose(whole, chunked, rtol=1e-5, atol=1e-6)


def test_targets_of_a_regression_learn_nothing():
    q, t = vectors(0, C), vectors(1, T)
    found = jax.grad(lambda t: contrast("cosine", q, t, POSITION, by("cosine")).vcl)(t)
    assert not np.any(found)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"^form must be one of .*, got 'kl'\.$"):
        prediction_terms.contrast("kl", vectors(0, 1), vectors(1, 1), POSITION, by("predictions"))
