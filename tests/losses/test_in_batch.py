import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import TOLERANCE, assert_close, assert_gradient, log_sum_exp, run, unit

from mcl_jax import losses

B, D = 6, 4
LABELS = np.array([0, 0, 0, 1, 1, 2])  # of one view, the last row has no positive
FORMS = pytest.mark.parametrize("form", ["out", "in"])


def supcon(embeddings: np.ndarray, labels: np.ndarray, temperature: float, form: str) -> float:
    """Equations 2 and 3 of SupCon, as the mean over the anchors that have a positive."""
    z = embeddings.reshape(-1, embeddings.shape[-1])
    classes = np.concatenate([labels] * len(embeddings))
    everyone, values = range(len(z)), []
    for i in everyone:
        others = [a for a in everyone if a != i]
        positives = [p for p in others if classes[p] == classes[i]]
        if not positives:
            continue
        normaliser = log_sum_exp(z[i] @ z[a] / temperature for a in others)
        logs = np.array([z[i] @ z[p] / temperature - normaliser for p in positives])
        mean = np.mean(logs) if form == "out" else np.log(np.mean(np.exp(logs)))
        values.append(-mean)
    return float(np.mean(values))


def nt_xent(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    """SimCLR's sum over both directions, divided by the number of anchors."""
    total = 0.0
    for own, other in ((first, second), (second, first)):
        for i in range(len(own)):
            rest = [own[i] @ own[k] / temperature for k in range(len(own)) if k != i]
            pair = [own[i] @ other[k] / temperature for k in range(len(other))]
            total += log_sum_exp(rest + pair) - pair[i]
    return total / (2 * len(first))


@FORMS
@pytest.mark.parametrize(("views", "dtype"), [(1, "float64"), (2, "float32"), (3, "float64")])
def test_supcon_against_loops(views: int, dtype: str, form: str) -> None:
    z = unit(1, views, B, D)
    value = run(lambda z: losses.supcon(z, LABELS, temperature=0.2, form=form), z, dtype=dtype)
    assert value.dtype == dtype
    assert_close(value, supcon(z, LABELS, 0.2, form), TOLERANCE[dtype])


@FORMS
def test_supcon_gradient(form: str) -> None:
    z = unit(2, 2, B, D)
    gradient = run(jax.grad(lambda z: losses.supcon(z, LABELS, temperature=0.3, form=form)), z)
    assert_gradient(gradient, lambda z: supcon(z, LABELS, 0.3, form), z)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_nt_xent_against_loops(dtype: str) -> None:
    first, second = unit(3, 2, B, D)
    value = run(lambda x, y: losses.nt_xent(x, y, temperature=0.2), first, second, dtype=dtype)
    assert value.dtype == dtype
    assert_close(value, nt_xent(first, second, 0.2), TOLERANCE[dtype])


def test_nt_xent_gradient() -> None:
    z = unit(4, 2, B, D)
    gradient = run(jax.grad(lambda z: losses.nt_xent(z[0], z[1], temperature=0.3)), z)
    assert_gradient(gradient, lambda z: nt_xent(z[0], z[1], 0.3), z)


@FORMS
def test_nt_xent_is_supcon_of_two_views_with_every_row_a_class(form: str) -> None:
    z = unit(5, 2, B, D)
    labels = np.array([7, 3, 9, 1, 0, 4])
    value = run(lambda z: losses.supcon(z, labels, temperature=0.1, form=form), z)
    assert_close(value, run(lambda z: losses.nt_xent(z[1], z[0], temperature=0.1), z), 1e-12)


def test_one_view_of_supcon_is_vcl_of_one_network() -> None:
    z = unit(6, 1, B, D)

    def vcl(z: jax.Array) -> jax.Array:
        other = losses.not_self(jnp.arange(B))
        positives = losses.same_class(jnp.asarray(LABELS)) & other
        return losses.vcl(losses.cross_network_logits(z, z, 0.1), positives, other)

    value = run(lambda z: losses.supcon(z, LABELS, temperature=0.1), z)
    assert_close(value, run(vcl, z), 1e-12)


def test_the_logarithm_of_a_mean_is_at_least_the_mean_of_logarithms() -> None:
    z = unit(7, 2, B, D)
    inside, outside = run(
        lambda z: [losses.supcon(z, LABELS, temperature=0.1, form=f) for f in ("in", "out")], z
    )
    assert inside < outside - 0.1


@FORMS
def test_order_does_not_matter(form: str) -> None:
    z, rows = unit(8, 3, B, D), np.array([3, 0, 5, 2, 4, 1])

    def f(z: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.supcon(z, labels, temperature=0.1, form=form)

    value = run(f, z, LABELS)
    assert_close(run(f, z[[2, 0, 1]][:, rows], LABELS[rows]), value, 1e-12)


def test_vmap_is_a_loop_over_networks_and_jit_is_eager() -> None:
    z = jnp.asarray(unit(9, 3, 2, B, D), jnp.float32)

    def f(z: jax.Array) -> jax.Array:
        return losses.supcon(z, jnp.asarray(LABELS), temperature=0.1, form="in")

    loop = jnp.stack([f(network) for network in z])
    assert_close(jax.jit(jax.vmap(f))(z), loop, 1e-6)


@FORMS
@pytest.mark.parametrize("shape", [(1, B), (1, 1)])
def test_without_a_positive_the_loss_is_zero(shape: tuple[int, int], form: str) -> None:
    z, labels = unit(10, *shape, D), np.arange(shape[1])
    f = jax.value_and_grad(lambda z: losses.supcon(z, labels, temperature=0.1, form=form))
    with jax.debug_nans(True):
        value, gradient = run(f, z, dtype="float32")
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 10.0])
def test_equal_embeddings_give_the_logarithm_of_the_number_of_candidates(
    temperature: float,
) -> None:
    z = np.broadcast_to(unit(11, D), (2, B, D))
    values = run(
        lambda z: [
            losses.supcon(z, LABELS, temperature=temperature),
            losses.supcon(z, LABELS, temperature=temperature, form="in"),
            losses.nt_xent(*z, temperature=temperature),
        ],
        z,
    )
    assert_close(values, [np.log(2 * B - 1)] * 3, 1e-12)


@pytest.mark.parametrize("temperature", [0.01, 10.0])
@pytest.mark.parametrize("kind", ["apart", "opposite", "zero"])
def test_values_and_gradients_are_finite(kind: str, temperature: float) -> None:
    x = unit(12, 2, B, D)
    if kind == "opposite":
        x[1] = -x[0]
    elif kind == "zero":
        x[:, :3] = 0

    def f(x: jax.Array) -> jax.Array:
        z = losses.l2_normalize(x)
        forms = [losses.supcon(z, LABELS, temperature=temperature, form=f) for f in ("out", "in")]
        return sum(forms) + losses.nt_xent(*z, temperature=temperature)

    value, gradient = run(jax.value_and_grad(f), x, dtype="float32")
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_bfloat16_is_summed_in_float32() -> None:
    z = jnp.asarray(unit(13, 2, B, D), jnp.bfloat16)
    values = losses.nt_xent(*z, temperature=0.1), losses.supcon(z, LABELS, temperature=0.1)
    exact = z.astype(jnp.float32)
    expected = (
        losses.nt_xent(*exact, temperature=0.1),
        losses.supcon(exact, LABELS, temperature=0.1),
    )
    assert {x.dtype for x in values} == {jnp.dtype("float32")}
    assert_close(values, expected, 1e-5)


Z = jnp.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: losses.supcon(Z, jnp.arange(3), temperature=0.1, form="both"),
            ValueError,
            "form must be one of ('out', 'in'), got 'both'.",
        ),
        (
            lambda: losses.supcon(Z[0], jnp.arange(3), temperature=0.1),
            ValueError,
            "embeddings must have axes [V, B, D], got shape (3, 4).",
        ),
        (
            lambda: losses.supcon(Z, jnp.arange(2), temperature=0.1),
            ValueError,
            "labels must have shape (3,), got (2,).",
        ),
        (
            lambda: losses.supcon(Z, jnp.ones(3), temperature=0.1),
            TypeError,
            "labels must be integer, got float32.",
        ),
        (
            lambda: losses.supcon(Z, jnp.arange(3), temperature=0.0),
            ValueError,
            "temperature must be above 0, got 0.0.",
        ),
        (
            lambda: losses.nt_xent(Z, Z, temperature=0.1),
            ValueError,
            "first must have axes [B, D], got shape (2, 3, 4).",
        ),
        (
            lambda: losses.nt_xent(Z[0], Z[0, :2], temperature=0.1),
            ValueError,
            "second must have the shape of first, (3, 4), got (2, 4).",
        ),
        (
            lambda: losses.nt_xent(Z[0], Z[0].astype(int), temperature=0.1),
            TypeError,
            "second must have a floating dtype, got int32.",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()
