"""The objective is the sum of its parts, and its baselines are settings of it."""

import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny

from mcl_jax import cohort, losses, methods
from mcl_jax.axes import Axes
from mcl_jax.cohort import Output
from mcl_jax.data import Batch
from mcl_jax.methods import Setting

NO_TERMS = {
    f"method__weights__{name}": 0.0
    for name in ("vcl", "soft_vcl", "icl", "soft_icl", "logit_distillation", "deep_mutual")
}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def method(**changes):
    setting = Setting(4, (0.5,), (0.25,), Axes(), 1, optax.sgd(0.1))
    return methods.create(tiny.config(**changes), setting)


def outputs(networks=2, rows=12, seed=0):
    rng = np.random.default_rng(seed)
    embeddings = losses.l2_normalize(jnp.asarray(rng.normal(size=(networks, rows, 8))))
    logits = jnp.asarray(rng.normal(size=(networks, rows, 4)))
    batch = Batch(None, jnp.asarray(rng.integers(0, 4, rows)), jnp.arange(rows), jnp.arange(rows))
    return Output((), embeddings, logits), batch


def objective(**changes):
    out, batch = outputs()
    return jax.jit(method(**changes).objective)(out, {}, batch, jax.random.key(0))


@functools.partial(jax.jit, static_argnums=2)
def sum_of_parts(out, batch, soft_self, weights):
    """The networks' cross-entropies, and the loss."""
    others = ~jnp.eye(12, dtype=bool)
    terms = losses.mcl_terms(
        out.embeddings,
        out.embeddings,
        losses.same_class(batch.labels) & others,
        others,
        soft_candidates=None if soft_self else others,
        temperature=0.1,
    )
    parts = [*terms, losses.logit_distillation(out.logits), losses.deep_mutual(out.logits)]
    log_probability = jax.nn.log_softmax(out.logits)
    entropy = -jnp.mean(log_probability[:, jnp.arange(12), batch.labels], axis=1)
    return entropy, entropy.sum() + sum(x * part for x, part in zip(weights, parts, strict=True))


@pytest.mark.parametrize("soft_self", [True, False])
def test_the_loss_is_the_weighted_sum_of_its_parts(soft_self):
    weights = {name: 0.1 + i for i, name in enumerate(NO_TERMS)}
    loss, (_, metrics) = objective(method__soft_self=soft_self, **weights)
    out, batch = outputs()
    entropy, expected = sum_of_parts(out, batch, soft_self, list(weights.values()))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["cross_entropy"], entropy, rtol=1e-5)


def test_chunks_change_nothing():
    weights = {name: 0.1 + i for i, name in enumerate(NO_TERMS)}
    whole, chunked = (objective(method__chunk_size=size, **weights)[0] for size in (0, 5))
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)


@pytest.mark.parametrize("name", list(NO_TERMS))
def test_each_term_can_be_turned_on_alone(name):
    short = name.rpartition("__")[2]
    base, _ = objective(**NO_TERMS)
    loss, (_, metrics) = objective(**NO_TERMS | {name: 2.0})
    assert float(metrics[short]) > 0
    np.testing.assert_allclose(loss - base, 2.0 * metrics[short], rtol=1e-4)


def test_the_authors_weights_are_the_default():
    options = tiny.config().method
    weights = options.weights
    assert (weights.vcl, weights.soft_vcl, weights.icl, weights.soft_icl) == (0.1, 1.0, 0.1, 1.0)
    assert (weights.logit_distillation, weights.deep_mutual) == (0.0, 0.0)
    assert (options.temperature, options.soft_temperature) == (0.1, 3.0)


def test_distilling_the_last_network_only():
    alone = NO_TERMS | {"method__weights__logit_distillation": 1.0}
    every, (_, metrics) = objective(**alone)
    last, (_, metrics_last) = objective(**alone, method__distillation_students="last")
    assert metrics_last["logit_distillation"] < metrics["logit_distillation"]
    assert last < every


def test_independent_networks_train_as_the_solo_network_does():
    """So a cohort of weight 0 is the baseline of as many solo networks at once."""
    data = tiny.dataset()
    _, both, _ = tiny.run_steps(tiny.config(**NO_TERMS), data, steps=5)
    solo = tiny.config(**NO_TERMS, method__networks=1)
    _, alone, _ = tiny.run_steps(solo, data, steps=5)
    first = cohort.select({"params": both.params, **both.extras}, 0)
    only = cohort.select({"params": alone.params, **alone.extras}, 0)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(only), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    second = cohort.select({"params": both.params}, 1)
    gap = jax.tree.map(
        lambda a, b: float(jnp.max(jnp.abs(a - b))), {"params": first["params"]}, second
    )
    assert max(jax.tree.leaves(gap)) > 1e-2


def test_terms_move_networks_away_from_the_independent_ones():
    data = tiny.dataset()
    _, coupled, _ = tiny.run_steps(tiny.config(), data, steps=3)
    _, independent, _ = tiny.run_steps(tiny.config(**NO_TERMS), data, steps=3)
    gap = jax.tree.map(
        lambda a, b: float(jnp.max(jnp.abs(a - b))), coupled.params, independent.params
    )
    assert max(jax.tree.leaves(gap)) > 1e-3


def test_one_network_has_contrast_within_itself_alone():
    config = tiny.config(method__networks=1)
    _, _, metrics = tiny.run_steps(config, tiny.dataset(), steps=1)
    values = metrics[0]
    assert float(values["vcl"]) > 0
    assert float(values["icl"]) == float(values["soft_vcl"]) == float(values["soft_icl"]) == 0


def test_float64_is_refused_where_jax_has_none():
    with pytest.raises(ValueError, match=r"model\.dtype float64 wants JAX_ENABLE_X64=1"):
        method(model__dtype="float64")


def test_an_unknown_method_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"method.name must be one of .*; did you mean superv"):
        method(method__name="supervised_mlc")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="method 'supervised_mcl' is registered already"):
        methods.register("supervised_mcl")(lambda config, setting: None)
