"""Readings of a batch: against NumPy, on several devices, and without a gradient."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from mcl_jax import losses, mutual_information
from mcl_jax.methods.diagnostics import BOUND_ROWS, ROWS, agreement, diagnostics, effective_rank

M, B, D, C = 3, 24, 8, 4


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)

    def unit(x):
        return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)

    queries = unit(rng.normal(size=(M, B, D)))
    keys = unit(queries + 0.5 * rng.normal(size=(M, B, D)))
    labels = (np.arange(B) % C).astype(np.int32)
    logits = rng.normal(size=(M, B, C)).astype(np.float32)
    return queries, keys, labels, logits


read = jax.jit(diagnostics, static_argnames=("temperature", "axis_name"))


def on_devices(count, function, *arrays):
    """The function under shard_map, the second axis (the first of labels) split."""
    mesh = Mesh(np.array(jax.devices()[:count]), ("data",))
    specs = tuple(
        PartitionSpec(None, "data") if x.ndim > 1 else PartitionSpec("data") for x in arrays
    )
    mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    return jax.jit(mapped)(*arrays)


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.allclose(found[name], value, atol=2e-5), name


def test_readings_are_those_of_numpy(batch):
    queries, keys, labels, logits = batch
    x, y = queries.astype(np.float64), keys.astype(np.float64)
    off = ~np.eye(B, dtype=bool)
    same = labels[:, None] == labels

    def rank(z):
        p = np.linalg.svd(z, compute_uv=False)
        p = p / p.sum()
        return np.exp(-np.sum(p * np.log(p)))

    def bound(a, b):
        scores = x[a] @ y[b].T / 0.2
        return np.log(B) - np.mean(np.log(np.exp(scores).sum(axis=1)) - np.diag(scores))

    spread = {
        "mean_cosine": [(z @ z.T)[off].mean() for z in x],
        "effective_rank": [rank(z) for z in x],
        "embedding_std": [z.std(axis=0).mean() for z in x],
    }
    cosines = np.einsum("mid,mkd->mik", x, y)
    close(
        read(queries, keys, temperature=0.2),
        {
            **spread,
            "positive_similarity": [np.diag(z).mean() for z in cosines],
            "hardest_negative": [np.where(off, z, -9).max(axis=1).mean() for z in cosines],
            "mutual_information": [[bound(a, b) for b in range(M)] for a in range(M)],
        },
    )
    cosines = np.einsum("mid,mkd->mik", x, x)
    answers = logits.argmax(axis=-1)
    close(
        read(queries, labels=labels, logits=logits),
        {
            **spread,
            "positive_similarity": [z[same & off].mean() for z in cosines],
            "hardest_negative": [np.where(same, -9, z).max(axis=1).mean() for z in cosines],
            "agreement": [[(a == b).mean() for b in answers] for a in answers],
        },
    )


@pytest.mark.parametrize("devices", [1, 4])
def test_several_devices_read_what_one_does(batch, devices):
    queries, keys, labels, logits = batch
    both = on_devices(
        devices,
        lambda q, k, y, z: (
            diagnostics(q, k, temperature=0.2, axis_name="data"),
            diagnostics(q, labels=y, logits=z, axis_name="data"),
        ),
        *batch,
    )
    close(both[0], read(queries, keys, temperature=0.2))
    close(both[1], read(queries, labels=labels, logits=logits))


def test_only_the_first_rows_of_a_large_batch_are_read(batch):
    queries, keys, *_ = batch
    large = [jnp.tile(x, (1, ROWS // B + 2, 1)) for x in (queries, keys)]
    found = jax.eval_shape(lambda q, k: diagnostics(q, k, temperature=0.2), *large)
    assert found["mutual_information"].shape == (M, M)
    changed = [x.at[:, ROWS:].set(0.0) for x in large]
    here, there = (read(*x, temperature=0.2) for x in (large, changed))
    assert jax.tree.all(jax.tree.map(np.array_equal, here, there))
    assert np.all(here["mutual_information"] < np.log(BOUND_ROWS))
    first = [x[:, :BOUND_ROWS] for x in large]
    bounds = jax.jit(lambda q, k: mutual_information.pairwise_bounds(q, k, temperature=0.2))
    assert np.allclose(here["mutual_information"], bounds(*first), atol=1e-5)


def test_nothing_is_differentiated(batch):
    queries, keys, labels, logits = batch

    def total(q, z):
        found = diagnostics(q, labels=labels, logits=z) | diagnostics(q, keys, temperature=0.2)
        return sum(jnp.sum(x) for x in found.values())

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(queries, logits)
    assert not any(np.any(x) for x in gradients)


def test_anchors_without_positives_or_negatives_are_left_out(batch):
    queries = batch[0]
    labels = np.arange(B, dtype=np.int32)
    assert np.all(read(queries, labels=labels)["positive_similarity"] == 0)
    labels[:2] = 5  # two rows of one class, and row 5
    found = read(queries, labels=labels)["positive_similarity"]
    x = queries[0].astype(np.float64)
    three = [x[0] @ x[1], x[0] @ x[5], x[1] @ x[5]]
    assert np.isclose(found[0], np.mean(three), atol=1e-6)
    assert np.all(read(queries, labels=np.zeros(B, np.int32))["hardest_negative"] == 0)


@pytest.mark.parametrize("shape", [(2, 12, 5), (2, 5, 12)])
def test_the_rank_is_that_of_the_objectives(shape):
    x = jax.random.normal(jax.random.key(0), shape) * jnp.logspace(0, -1.5, shape[-1])
    ranks = jax.jit(lambda x: (effective_rank(x), losses.effective_rank(x)))(x)
    assert np.allclose(*ranks, rtol=1e-3)


def test_embeddings_that_collapsed_have_one_direction_and_no_spread():
    x = jnp.broadcast_to(losses.l2_normalize(jnp.arange(1.0, 9.0)), (1, 32, 8))
    found = read(x, x)
    assert np.allclose(found["effective_rank"], 1, atol=1e-4)
    assert np.allclose(found["embedding_std"], 0, atol=1e-6)
    assert np.allclose(found["mean_cosine"], 1, atol=1e-5)
    assert jax.jit(effective_rank)(jnp.zeros((3, 4))) == 0


def test_half_precision_is_read_in_float32(batch):
    found = jax.eval_shape(
        lambda z: diagnostics(z, z, temperature=0.1, logits=z), batch[0].astype(jnp.bfloat16)
    )
    assert {x.dtype for x in found.values()} == {jnp.dtype(jnp.float32)}


def test_agreement_is_symmetric_and_one_with_itself(batch):
    found = np.asarray(agreement(batch[3]))
    assert np.array_equal(found, found.T)
    assert np.all(np.diag(found) == 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either keys or labels must tell the positives, got neither."),
        ({"keys": (M, B, D), "labels": (B,)}, "either keys or labels must tell the positives, got "
         "both."),
        ({"labels": (B,), "temperature": 0.1}, "temperature asks for a bound on mutual "
         "information, which wants keys: draws that labels part are none from the marginal."),
        ({"keys": (M, B, D + 1)}, "queries and keys must both be [M, b, D], got ((3, 24, 8), "
         "(3, 24, 9))."),
        ({"labels": (B + 1,)}, "labels must be [24], got (25,)."),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(arguments, message):
    given = {
        name: np.ones(x, np.int32 if name == "labels" else np.float32)
        if name != "temperature"
        else x
        for name, x in arguments.items()
    }
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        diagnostics(jnp.ones((M, B, D)), **given)
