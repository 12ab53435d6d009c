"""Weights that a run starts from."""

import pathlib
import sys

import jax
import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny

from mcl_jax import cohort, interop
from mcl_jax.config import ConfigError
from mcl_jax.training.run import initial_state

NAME = "small_resnet"


def start(data=None, **changes):
    """A run that was made ready, and its state at step 0."""
    config = tiny.config(model__name=NAME, **changes)
    run, state, _ = tiny.run_steps(config, data or tiny.dataset(), steps=0)
    return config, run, state


@pytest.fixture(scope="module")
def other():
    """One network of another seed."""
    _, _, state = start(seed=1, method__networks=1)
    return cohort.select({"params": state.params, **state.extras}, 0)


def member(state, index):
    return cohort.select({"params": state.params, **state.extras}, index)


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def test_a_network_starts_from_its_file_and_the_others_as_drawn(other, tmp_path):
    whole, alone = tmp_path / "whole.safetensors", tmp_path / "encoder.safetensors"
    interop.save_safetensors(whole, NAME, other)
    interop.save_safetensors(alone, NAME, other, head=False, classifier=False)
    config, run, state = start(model__weights=("", str(whole), str(alone)), method__networks=3)
    drawn = initial_state(config, run, drawn=True)
    assert equal(member(state, 0), member(drawn, 0))
    assert equal(member(state, 1), other)
    assert not equal(member(drawn, 1), other)
    encoder, fresh = member(state, 2)["params"], member(drawn, 2)["params"]
    assert equal(encoder["encoder"]["conv1"], other["params"]["encoder"]["conv1"])
    assert equal(encoder["encoder"]["classifier"], fresh["encoder"]["classifier"])
    assert equal(encoder["head"], fresh["head"])


def test_a_classifier_of_other_classes_is_left_out(other, tmp_path):
    file = tmp_path / "whole.safetensors"
    interop.save_safetensors(file, NAME, other)
    options = {"model__weights": (str(file),), "method__networks": 1}
    _, _, state = start(tiny.dataset(rows=60, classes=6), **options)
    params = member(state, 0)["params"]
    assert params["encoder"]["classifier"]["bias"].shape == (6,)
    assert equal(params["encoder"]["layer3_0"], other["params"]["encoder"]["layer3_0"])


def test_files_that_do_not_serve(other, tmp_path):
    interop.save_safetensors(tmp_path / "other.safetensors", NAME, other, head=False)
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    (tmp_path / "weights.pth").write_bytes(b"no")
    np.savez(tmp_path / "less.npz", **{"params/encoder/conv1/kernel": np.zeros((1, 1, 1, 1))})
    frozen = {"method__frozen": (0,)}
    for name, changes, message in (
        ("missing.npz", {}, "model.weights of network 0: .*No such file"),
        ("broken.safetensors", {}, "model.weights of network 0: .*no safetensors file"),
        ("weights.pth", {}, r"a file must end in \.safetensors or \.npz, got .*weights\.pth"),
        ("less.npz", {}, "of network 0: member must have .*conv1/kernel of shape"),
        ("other.safetensors", frozen, "have no head, which would stay as it was drawn"),
        (
            "other.safetensors",
            frozen | {"method__frozen_heads": False, "method__weights__deep_mutual": 1.0},
            "",
        ),
    ):
        options = {"model__weights": (str(tmp_path / name), ""), **changes}
        if message:
            with pytest.raises(ConfigError, match=message):
                start(**options)
        else:
            start(**options)


def test_a_frozen_network_has_a_file(other, tmp_path):
    with pytest.raises(
        ConfigError, match=r"method\.frozen holds 1, for which model\.weights names no"
    ):
        start(method__frozen=(1,))


def test_of_a_file_of_a_cohort_each_network_takes_its_own(other, tmp_path):
    file = tmp_path / "cohort.safetensors"
    blank = jax.tree.map(lambda x: x * 0, other)
    interop.save_cohort(file, [NAME, NAME], [blank, other])
    _, _, state = start(model__weights=("", str(file)))
    assert equal(member(state, 1), other)
    with pytest.raises(ConfigError, match="of network 2: network must be from 0 to 1"):
        start(model__weights=("", "", str(file)), method__networks=3)


def test_a_frozen_network_without_a_classifier_is_no_one_to_distil_from(other, tmp_path):
    file = tmp_path / "encoder.safetensors"
    interop.save_safetensors(file, NAME, other, classifier=False)
    with pytest.raises(ConfigError, match=r"no classifier .* method\.weights\.deep_mutual would"):
        start(model__weights=(str(file), ""), method__frozen=(0,), method__weights__deep_mutual=1.0)
