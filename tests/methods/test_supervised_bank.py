"""Supervised contrast with banks: twenty steps in NumPy, any mesh, what is drawn and refused."""

import functools
import pathlib
import sys

import equations
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny
from test_equality import relative

from mcl_jax import data, memory, methods
from mcl_jax.axes import Axes
from mcl_jax.cohort import Output
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.methods import Setting
from mcl_jax.methods.supervised_bank import draw
from mcl_jax.models import registry
from mcl_jax.models.blocks import Layers
from mcl_jax.training.state import Stream, stream

B, D, P, K, STEPS = 16, 8, 2, 13, 20
WEIGHTS = {"vcl": 0.1, "soft_vcl": 0.02, "icl": 0.2, "soft_icl": 0.01}
LABELS = tiny.dataset().train.labels


class Flat(nn.Module):
    """An encoder without a convolution: steps compile in no time."""

    num_classes: int
    layers: Layers = Layers()
    stages = 1

    @nn.compact
    def __call__(self, images, train=False):
        x = self.layers.enter(images)
        features = nn.tanh(nn.Dense(6, param_dtype=x.dtype)(x.reshape(len(x), -1)))
        return self.layers.classifier(features, self.num_classes, name="classifier"), features


@pytest.fixture(scope="module", autouse=True)
def _encoders():
    with pytest.MonkeyPatch.context() as patch:
        tiny.know_tiny_network(patch)
        patch.setitem(registry._ENCODERS, "flat", Flat)
        yield


def config(**changes):
    defaults = {"model__name": "flat", "model__norm": "group"}
    numbers = {"method__negatives": K, "method__positives": P, "method__bank_momentum": 0.7}
    return tiny.config("supervised_bank", **defaults | numbers | changes)


def trained(folder=None, **changes):
    weights = {f"method__weights__{name}": weight for name, weight in WEIGHTS.items()}
    made = config(model__dtype="float64", **weights | changes)
    with jax.enable_x64(True):
        return tiny.trajectory(made, tiny.dataset(), STEPS, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bank")


@pytest.fixture(scope="module")
def one(folder):
    return trained(folder)


def worst(found, expected):
    return max(jax.tree.leaves(jax.tree.map(relative, found, expected)))


def method(labels=LABELS, axes=None, devices=1, **changes):
    setting = Setting(4, (0.5,), (0.2,), axes or Axes(), devices, optax.sgd(0.1), (8, 8, 1))
    return methods.create(config(**changes), setting._replace(labels=labels))


def logits_of(z, bank, contrast, across):
    """For each anchor the logits of its keys, positives first, and how many these are."""
    own, positives, negatives = jax.tree.map(np.asarray, contrast)
    others = np.broadcast_to(negatives.rows, negatives.candidates.shape)
    rows = [
        [*own[i : i + across], *positives.rows[i], *others[i][negatives.candidates[i]]]
        for i in range(B)
    ]
    return [bank[x] @ z[i] / 0.07 for i, x in enumerate(rows)], P + across


def equations_of_a_step(z, bank, contrast):
    """The four terms, anchor by anchor."""
    terms, logits = dict.fromkeys(WEIGHTS, 0.0), {}
    for a, b in np.ndindex(2, 2):
        logits[a, b], number = logits_of(z[a], bank[b], contrast, int(a != b))
        terms["icl" if a != b else "vcl"] += np.mean(
            [equations.log_sum_exp(x) - np.mean(x[:number]) for x in logits[a, b]]
        )
    pairs = {"soft_vcl": [((1, 1), (0, 0)), ((0, 0), (1, 1))],
             "soft_icl": [((1, 0), (0, 1)), ((0, 1), (1, 0))]}  # fmt: skip
    for name, both in pairs.items():
        for teacher, student in both:
            rows = zip(logits[teacher], logits[student], strict=True)
            terms[name] += np.mean([equations.divergence(t[None], s[None], 3.0) for t, s in rows])
    return terms


def moved(bank, own, z):
    rows = 0.7 * bank[:, own] + 0.3 * z
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_twenty_steps_are_those_of_the_equations(one):
    """Given the parameters before each of them."""
    run, states, metrics = one
    rows = run.dataset.train
    mean, std = ((float(f(rows.images / 255)),) for f in (np.mean, np.std))
    with jax.enable_x64(True):
        setting = Setting(4, mean, std, Axes(), 1, optax.sgd(0.1), (8, 8, 1), labels=rows.labels)
        plain = methods.create(config(model__dtype="float64"), setting)
        classes, images, labels = jax.tree.map(
            jnp.asarray, (memory.sort_by_class(rows.labels), rows.images, rows.labels)
        )

        @jax.jit
        def begin(step, params, extras):
            index = data.draw(run.sampler, stream(jax.random.key(0), Stream.DATA), step)
            batch = Batch(images[index], labels[index], index, jnp.arange(B))
            key = jax.random.fold_in(stream(jax.random.key(0), Stream.STEP), step)
            embed_key, objective_key = jax.random.split(key)
            outputs, _ = plain.embed(params, extras, batch, embed_key, True)
            drawn = draw(objective_key, batch, classes, positives=P, negatives=K, shared=False)
            return outputs, batch.labels, drawn

        bank = np.array(states[0].extras["bank"])
        for step in range(STEPS):
            before, after, said = states[step], states[step + 1], metrics[step]
            found = begin(step, before.params, before.extras)
            outputs, answers, drawn = jax.device_get(found)
            terms = equations_of_a_step(outputs.embeddings, bank, drawn)
            right = np.take_along_axis(outputs.logits, answers[None, :, None], 2)[..., 0]
            entropy = np.mean(equations.log_sum_exp(outputs.logits) - right, axis=1)
            terms["loss"] = sum(w * terms[name] for name, w in WEIGHTS.items()) + entropy.sum()
            for name, value in terms.items():
                assert relative(said[name], value) < 1e-9, (step, name)
            bank[:, drawn.own] = moved(bank, drawn.own, outputs.embeddings)
            assert relative(after.extras["bank"], bank) < 1e-11


def test_four_devices_do_the_same(one):
    _, states, metrics = one
    run, found, said = trained(parallel__devices=4, parallel__cohort_devices=2)
    assert worst(found[-1], states[-1]) < 1e-9
    assert worst(said, metrics) < 1e-9
    assert "data" in run.layout.extras["bank"]


def test_a_run_that_is_killed_ends_where_an_unbroken_one_does(one, folder):
    run, states, metrics = one
    with jax.enable_x64(True):
        found = tiny.resumed(run, folder, STEPS)
    same = jax.tree.map(np.array_equal, found, (states[-1], metrics[STEPS // 2 :]))
    assert all(jax.tree.leaves(same))


def test_shared_negatives_on_four_devices_are_those_of_the_equations():
    rng, key = np.random.default_rng(0), jax.random.key(5)
    index = rng.permutation(len(LABELS))[:B].astype(np.int32)
    batch = Batch(np.zeros(B), LABELS[index], index, np.arange(B, dtype=np.int32))
    z, bank = rng.normal(size=(2, B, D)), rng.normal(size=(2, len(LABELS), D))
    z, bank = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (z, bank))
    outputs = Output((), z, rng.normal(size=(2, B, 4)))
    made = method(axes=Axes("data"), devices=4, method__shared_negatives=True)
    split = PartitionSpec(None, "data")
    with jax.enable_x64(True):
        step = jax.jit(
            jax.shard_map(
                lambda *args: made.objective(*args, key)[1],
                mesh=Mesh(np.array(jax.devices()[:4]), ("data",)),
                in_specs=(split, {"bank": split}, PartitionSpec("data")),
                out_specs=({"bank": split}, PartitionSpec()),
            )
        )
        after, metrics = step(outputs, {"bank": bank}, batch)
        f = functools.partial(draw, positives=P, negatives=K, shared=True)
        drawn = jax.jit(f)(key, batch, memory.sort_by_class(LABELS))
    for name, value in equations_of_a_step(z, bank, drawn).items():
        assert relative(metrics[name], value) < 1e-9, name
    bank[:, index] = moved(bank, index, z)
    assert relative(after["bank"], bank) < 1e-12


def test_under_pmap_each_device_has_the_whole_bank():
    options = {"axes": Axes("data"), "devices": 4}
    assert method(parallel__mapper="pmap", **options).specs.extras["bank"] == PartitionSpec()
    assert method(**options).specs.extras["bank"] == PartitionSpec(None, "data")


def test_what_is_drawn():
    labels = np.array([0, 1, 1, 2, 2, 2, 0, 1])
    classes, index = memory.sort_by_class(labels), jnp.array([5, 0, 2, 1])
    batch = Batch(None, jnp.asarray(labels)[index], index, jnp.arange(4))

    @jax.jit
    def both(batch):
        options = {"positives": 3, "negatives": 50}
        return [draw(jax.random.key(0), batch, classes, **options, shared=x) for x in (False, True)]

    own, shared = both(batch)
    assert (own.negatives.rows.shape, shared.negatives.rows.shape) == ((4, 50), (50,))
    for found in (own, shared):
        rows = np.broadcast_to(found.negatives.rows, (4, 50))
        for i, row in enumerate(index):
            same = {k for k in range(8) if labels[k] == labels[row]}
            assert set(found.positives.rows[i].tolist()) <= same - {int(row)}
            taken = set(rows[i][found.negatives.candidates[i]].tolist())
            assert taken == set(range(8)) - same
    # A device that has the last two anchors draws the same for them.
    parts = both(jax.tree.map(lambda x: x[2:], batch))
    for x, y in zip(jax.tree.leaves(parts), jax.tree.leaves([own, shared]), strict=True):
        np.testing.assert_array_equal(x, y if x.shape == y.shape else y[2:])


KINDS = [
    {"model__name": "flat,tiny"},
    {"model__name": "tiny", "model__shared_stages": 1, "method__shared_negatives": True},
    {"method__networks": 1, "model__dtype": "bfloat16", "method__topology": "ring"},
]


@pytest.mark.parametrize("changes", KINDS, ids=["unlike", "branches", "one"])
def test_any_cohort_makes_a_step(changes):
    made = method(**changes)
    rows = jnp.arange(B, dtype=jnp.int32)
    batch = Batch(jnp.zeros((B, 8, 8, 1), jnp.uint8), rows % 4, rows, rows)

    def step(key):
        params, extras = made.init(key, batch)
        outputs, begun = made.embed(params, extras, batch, key, True)
        return extras, made.objective(outputs, begun, batch, key)

    extras, (loss, (after, metrics)) = jax.eval_shape(step, jax.random.key(0))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, extras)
    assert after["bank"].dtype == extras["bank"].dtype
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    assert {"accuracy", "mean_cosine", "embedding_std"} <= metrics.keys()


def test_rows_of_one_class_are_refused():
    with pytest.raises(ConfigError) as caught:
        method(np.full(7, 3, np.int32))
    assert str(caught.value) == (
        "method.name supervised_bank draws negatives from other classes, but all 7 training rows "
        "are of class 3."
    )


def test_a_method_that_only_predicts_needs_no_rows():
    assert callable(method(None).predict)
