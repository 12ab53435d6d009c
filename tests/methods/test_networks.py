"""Cohorts from configurations: unlike networks, branches, frozen ones, who learns from whom."""

import pathlib
import sys

import jax
import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny

from mcl_jax import cohort, models
from mcl_jax.config import ConfigError
from mcl_jax.data import Dataset, Split
from mcl_jax.methods import Setting, networks
from mcl_jax.training import parallel
from mcl_jax.training.optimizer import create


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def build(**changes):
    config = tiny.config(**changes)
    mapper = parallel.create("shard_map", 1)
    setting = Setting(4, (0.5,), (0.2,), mapper.axes, 1, create(config.optimizer, 10, 10))
    return networks.build(config, setting)


def test_consecutive_like_networks_are_a_group():
    names = "tiny,tiny,small_resnet,tiny"
    found = build(model__name=names, method__networks=4)
    assert [key for key, _ in found.items()] == ["networks_0_to_1", "network_2", "network_3"]
    assert [group.network.encoder.widths for group in found.groups] == [(4,), (16, 32, 64), (4,)]


def test_one_name_is_that_of_all_networks():
    found = build(method__networks=5, model__shared_stages=1)
    (group,) = found.groups
    assert (group.size, group.shared_stages, group.network.frozen) == (5, 1, ())


def test_frozen_networks_are_groups_of_their_own():
    found = build(method__networks=3, method__frozen=(1,))
    assert [group.network.frozen for group in found.groups] == [(), ("encoder", "head"), ()]
    assert not networks.learns(found, "network_1/head/linear1/kernel")
    assert networks.learns(found, "network_2/head/linear1/kernel")
    found = build(method__networks=3, method__frozen=(0, 1), method__frozen_heads=False)
    assert found.groups[0].network.frozen == ("encoder",)
    assert networks.learns(found, "networks_0_to_1/head/linear1/kernel")
    assert not networks.learns(found, "networks_0_to_1/encoder/conv1/kernel")


def test_options_reach_the_encoder_and_the_head():
    found = build(model__norm="group", method__head="linear", model__remat=True)
    layers = found.groups[0].network.encoder.layers
    assert (layers.normalization, layers.remat) == ("group", True)
    assert type(found.groups[0].network.head) is type(models.create_head("linear", 8))
    batch = build(model__norm="grouped", model__norm_groups=8, training__micro_batches=4)
    assert batch.groups[0].network.encoder.layers.norm_groups == 2


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({}, None),
        ({"method__topology": "ring"}, [[1, 1, 0], [0, 1, 1], [1, 0, 1]]),
        ({"method__topology": "teacher", "method__teacher": 1}, [[1, 1, 0], [0, 1, 0], [0, 1, 1]]),
        ({"method__pair_weights": tuple(range(9))}, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
    ],
)
def test_weights_of_pairs(changes, weights):
    found = networks.pair_weights(tiny.config(method__networks=3, **changes))
    assert (found if found is None else found.tolist()) == weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__name": "tin"}, "model.name must be one of .*, got 'tin'; did you mean tiny?"),
        ({"model__shared_stages": 2}, "model.shared_stages must be at most 1, the stages of tiny"),
        ({"model__width": 2.0}, "model: .*width"),
        ({"model__stem": "small"}, "model: .*stem"),
    ],
)
def test_networks_that_cannot_be_built(changes, message):
    with pytest.raises(ConfigError, match=message):
        build(**changes)


def test_images_that_the_encoder_cannot_take():
    whole = tiny.dataset()
    split = Split(whole.train.labels, images=whole.train.images[:, :6, :6])
    data = Dataset("cropped", split, split, split, whole.class_names, "")
    config = tiny.config(model__name="vit_tiny", evaluation__knn_neighbours=1)
    with pytest.raises(ConfigError, match=r"^model\.name vit_tiny: patches of 4x4"):
        tiny.run_steps(config, data, steps=0)


def test_widths_and_stems_are_for_those_that_take_them():
    found = build(model__name="tiny,resnet18", model__stem="small", model__width=0.5)
    assert found.groups[1].network.encoder.width == 0.5
    assert found.groups[0].network.encoder.widths == (4,)


def test_a_teacher_that_is_frozen_teaches_and_stays(tmp_path):
    """Unlike networks, weights from a file, one frozen, one teacher: five steps of them."""
    _, teacher, _ = tiny.run_steps(tiny.config(method__networks=1), tiny.dataset(), steps=1)
    file = tmp_path / "teacher.npz"
    cohort.save_member(file, {"params": teacher.params, **teacher.extras}, 0)
    config = tiny.config(
        model__name="small_resnet,tiny",
        model__weights=("", str(file)),
        method__frozen=(1,),
        method__topology="teacher",
        method__teacher=1,
        parallel__devices=2,
    )
    run, state, metrics = tiny.run_steps(config, tiny.dataset(), steps=3)
    before = cohort.select({"params": teacher.params, **teacher.extras}, 0)
    after = cohort.select({"params": state.params, **state.extras}, 1)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)
    assert metrics[-1]["loss"] != metrics[0]["loss"]
    # The optimiser has nothing of what stays.
    momenta = [x.shape for x in jax.tree.leaves(state.optimizer) if x.ndim]
    assert momenta == [x.shape for x in jax.tree.leaves(state.params["network_0"])]
    said = run.predict(state, run.dataset.test.images[:4])
    assert [x.shape for x in said.features] == [(1, 4, 64), (1, 4, 4)]
