"""A cohort is its members: every stacked result equals that of a loop over networks."""

import types
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import cohort, models
from mcl_jax.models.blocks import Layers

CLASSES, DIM, CHANNELS = 3, 8, 4

init = jax.jit(cohort.init, static_argnums=(0, 1))


def network(**options: Any) -> cohort.Network:
    encoder = models.SmallResNet(CLASSES, widths=(CHANNELS,), layers=Layers(**options))
    return cohort.network(encoder, DIM, **options)


@pytest.fixture(scope="module")
def setting() -> types.SimpleNamespace:
    """Three networks, whose running statistics are not those of their initialisation."""
    module = network()
    images = jax.random.normal(jax.random.key(1), (5, 6, 6, 1))
    variables = init(module, 3, jax.random.key(0), images)
    noise = jax.random.uniform(jax.random.key(2), (), minval=0.5)
    statistics = jax.tree.map(lambda x: x + noise, variables["batch_stats"])
    return types.SimpleNamespace(
        network=module,
        images=images,
        initial=variables,
        variables={**variables, "batch_stats": statistics},
    )


def assert_trees_close(tree: Any, expected: Any, tolerance: float) -> None:
    def close(x: Any, y: Any) -> None:
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)

    jax.tree.map(close, tree, expected)


def test_the_first_network_is_the_solo_network_of_the_key(setting):
    solo = init(setting.network, 1, jax.random.key(0), setting.images)
    assert cohort.size(solo) == 1
    assert_trees_close(cohort.select(setting.initial, 0), cohort.select(solo, 0), 0)


def test_networks_are_initialised_from_folded_keys(setting):
    alone_init = jax.jit(setting.network.init)
    for index in range(3):
        alone = alone_init(jax.random.fold_in(jax.random.key(0), index), setting.images)
        assert_trees_close(cohort.select(setting.initial, index), alone, 1e-6)


def test_networks_differ(setting):
    for leaf in jax.tree.leaves(setting.initial["params"]):
        constant = np.all(leaf == leaf.ravel()[0])  # scales are 1 and shifts are 0 at first
        assert constant or len(np.unique(np.asarray(leaf), axis=0)) == 3
    kernel = setting.initial["params"]["encoder"]["conv1"]["kernel"]
    assert len(np.unique(np.asarray(kernel), axis=0)) == 3


@pytest.mark.parametrize("train", [False, True])
def test_apply_is_a_loop_over_members(setting, train):
    output, statistics = cohort.apply(
        setting.network, setting.variables, setting.images, train=train
    )
    assert output.embeddings.shape == (3, 5, DIM)
    assert output.logits.shape == (3, 5, CLASSES)
    assert [group.shape for group in output.features] == [(3, 5, CHANNELS)]
    for index in range(3):
        member = cohort.select(setting.variables, index)
        (features, embeddings, logits), moved = setting.network.apply(
            member, setting.images, train=train, mutable=["batch_stats"]
        )
        expected = cohort.Output((features,), embeddings, logits)
        assert_trees_close(jax.tree.map(lambda x, i=index: x[i], output), expected, 1e-5)
        assert_trees_close(cohort.select(statistics, index), moved["batch_stats"], 1e-5)


def test_statistics_move_in_training_alone(setting):
    old = setting.variables["batch_stats"]
    _, kept = cohort.apply(setting.network, setting.variables, setting.images, train=False)
    assert_trees_close(kept, old, 0)
    _, moved = cohort.apply(setting.network, setting.variables, setting.images, train=True)
    for x, y in zip(jax.tree.leaves(moved), jax.tree.leaves(old), strict=True):
        assert np.all(np.any(np.asarray(x != y), axis=1))


def test_embeddings_are_unit_vectors(setting):
    output, _ = cohort.apply(setting.network, setting.variables, setting.images, train=False)
    np.testing.assert_allclose(np.linalg.norm(output.embeddings, axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("networks", [1, 2, 5])
def test_size_is_the_number_of_networks(networks):
    assert cohort.size({"a": jnp.zeros((networks, 7)), "b": jnp.zeros((networks,))}) == networks


def test_the_ensemble_is_the_mean_of_the_logits():
    logits = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_allclose(cohort.ensemble(logits), logits.sum(axis=0) / 3, rtol=1e-5)


@pytest.mark.parametrize("index", [0, 2])
def test_a_saved_member_comes_back_bit_for_bit_and_runs(setting, tmp_path, index):
    cohort.save_member(tmp_path / "member.npz", setting.variables, index)
    member, loaded = (
        cohort.select(setting.variables, index),
        cohort.load_member(str(tmp_path / "member.npz")),
    )
    assert jax.tree.structure(loaded) == jax.tree.structure(member)
    for x, y in zip(jax.tree.leaves(loaded), jax.tree.leaves(member), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == np.asarray(y).tobytes()
    assert_trees_close(
        setting.network.apply(loaded, setting.images),
        setting.network.apply(member, setting.images),
        0,
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32, jnp.bool_])
def test_every_dtype_comes_back(tmp_path, dtype):
    variables = {"params": {"a": {"b": jnp.asarray([[1.5, 0, -2], [0, 3, 1]], dtype)}}}
    cohort.save_member(tmp_path / "member.npz", variables, 1)
    loaded = cohort.load_member(tmp_path / "member.npz")["params"]["a"]["b"]
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, variables["params"]["a"]["b"][1])


def test_a_saved_member_is_plain_arrays_named_by_their_paths(setting, tmp_path):
    cohort.save_member(tmp_path / "member.npz", setting.variables, 0)
    with np.load(tmp_path / "member.npz", allow_pickle=False) as file:
        kernel = file["params/encoder/conv1/kernel"]
        assert all(file[name].dtype == np.float32 for name in file)
    np.testing.assert_array_equal(
        kernel, setting.variables["params"]["encoder"]["conv1"]["kernel"][0]
    )
    names = zipfile.ZipFile(tmp_path / "member.npz").namelist()
    assert len(names) == len(jax.tree.leaves(setting.variables))


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "member.npz", allow_pickle=True, a=np.array([{}], object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        cohort.load_member(tmp_path / "member.npz")


@pytest.mark.parametrize("index", [-1, 3])
def test_a_member_that_is_not_there(setting, tmp_path, index):
    message = rf"index must be from 0 to 2, got {index}\."
    with pytest.raises(ValueError, match=message):
        cohort.select(setting.variables, index)
    with pytest.raises(ValueError, match=message):
        cohort.save_member(tmp_path / "member.npz", setting.variables, index)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("networks", [0, -2])
def test_a_cohort_has_networks(setting, networks):
    with pytest.raises(ValueError, match=rf"networks must be at least 1, got {networks}\."):
        cohort.init(setting.network, networks, jax.random.key(0), setting.images)


@pytest.mark.parametrize("name", ["member", "member.pt"])
def test_members_are_npz_files(setting, tmp_path, name):
    with pytest.raises(ValueError, match=rf"path must end in \.npz, got .*{name}\."):
        cohort.save_member(tmp_path / name, setting.variables, 0)
    assert list(tmp_path.iterdir()) == []
