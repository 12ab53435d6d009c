"""SimCLR cohorts: a step in NumPy, any mesh, a run that is killed."""

import pathlib
import sys

import equations
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny
from test_equality import relative

from mcl_jax import losses, methods
from mcl_jax.axes import Axes
from mcl_jax.data import Batch
from mcl_jax.methods import Setting

B, D, STEPS = 16, 8, 4


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patch:
        tiny.know_tiny_network(patch)
        yield


def trained(folder=None, **changes):
    """With a ring that follows the loss."""
    made = tiny.config(
        "simclr",
        model__dtype="float64",
        model__norm="grouped",
        model__norm_groups=2,
        method__head="linear",
        method__region="ring",
        method__annealing="adaptive",
        **changes,
    )
    with jax.enable_x64(True):
        return tiny.trajectory(made, tiny.dataset(), STEPS, folder)


def test_a_mesh_does_what_a_device_does_and_a_killed_run_what_an_unbroken_one_does(tmp_path):
    run, states, metrics = trained(tmp_path)
    with jax.enable_x64(True):
        found = tiny.resumed(run, tmp_path, STEPS)
    same = jax.tree.map(np.array_equal, found, (states[-1], metrics[STEPS // 2 :]))
    assert all(jax.tree.leaves(same))
    _, others, said = trained(parallel__devices=4, parallel__cohort_devices=2)
    worst = jax.tree.map(relative, (others[-1], said), (states[-1], metrics))
    assert max(jax.tree.leaves(worst)) < 1e-9
    fractions = [float(x["outer"]) for x in metrics]
    assert fractions[:2] == [1, 1]  # the first loss is compared with none
    assert fractions[2] == pytest.approx(0.99)


def judged(networks, order=None, **changes):
    """Embeddings [M, B, 2, D] drawn at random, and what the objective says of them."""
    drawn = jax.random.normal(jax.random.key(0), (3, B, 2, D))
    z = losses.l2_normalize(drawn)[:networks]
    z = z if order is None else z[order]
    made = tiny.config("simclr", method__networks=networks, method__head="linear", **changes)
    setting = Setting(4, (0.5,), (0.2,), Axes(), 1, optax.sgd(0.1), (8, 8, 1))
    rows = jnp.arange(B, dtype=jnp.int32)
    batch = Batch(jnp.zeros((B, 8, 8, 1), jnp.uint8), rows, rows, rows)
    objective = methods.create(made, setting).objective
    return z, jax.jit(objective)(z, {"annealing": ()}, batch, None)


def expected_terms(z, T, outer, inner):
    """In NumPy: anchors are all views, the other view is positive, the own column is not there."""
    views = np.asarray(z, np.float64).reshape(len(z), 2 * B, D)
    other = np.arange(2 * B) ^ 1
    terms = dict.fromkeys(("vcl", "soft_vcl", "icl", "soft_icl"), 0.0)
    logits = {}
    for a in range(len(z)):
        for b in range(len(z)):
            full = views[a] @ views[b].T / 0.07
            rows = range(2 * B)
            negatives = np.stack([np.delete(full[i], [i, i ^ 1]) for i in rows])
            kept = [equations.ring(row, outer, inner) for row in negatives]
            own = full[rows, other]
            terms["vcl" if a == b else "icl"] += equations.contrast(own, negatives, kept)
            logits[a, b] = np.stack([np.delete(full[i], i) for i in rows])
    for a in range(len(z)):
        for b in range(len(z)):
            if a != b:
                terms["soft_vcl"] += equations.divergence(logits[b, b], logits[a, a], T)
                terms["soft_icl"] += equations.divergence(logits[b, a], logits[a, b], T)
    return terms


@pytest.mark.parametrize("region", ["all", "ring"])
def test_a_loss_is_that_of_the_equations(region):
    outer, inner = (0.5, 0.25) if region == "ring" else (1.0, 0.0)
    weights = {"vcl": 1.0, "soft_vcl": 0.5, "icl": 2.0, "soft_icl": 0.25}
    z, (loss, (_, metrics)) = judged(
        3,
        method__region=region,
        method__outer=0.5,
        method__inner=0.25,
        **{f"method__weights__{name}": weight for name, weight in weights.items()},
    )
    expected = expected_terms(z, 3.0, outer, inner)
    for name, value in expected.items():
        assert relative(metrics[name], value) < 1e-5, name
    total = sum(weights[name] * value for name, value in expected.items())
    assert relative(loss, total) < 1e-5


def test_one_network_is_simclr():
    z, (loss, _) = judged(1)
    expected = losses.nt_xent(z[0, :, 0], z[0, :, 1], temperature=0.07)
    assert relative(loss, expected) < 1e-6


def test_networks_in_another_order_give_results_in_that_order():
    order = jnp.array([2, 0, 1])
    _, (loss, (_, metrics)) = judged(3)
    _, (turned, (_, others)) = judged(3, order)
    assert relative(turned, loss) < 1e-6
    for name, value in metrics.items():
        for axis in range(np.ndim(value)):
            value = jnp.take(value, order, axis=axis)
        assert relative(others[name], value) < 2e-5, name
