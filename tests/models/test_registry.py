"""Encoders by name, and what is said of a wrong one."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import primitives

from mcl_jax import models


def test_every_name_is_created():
    for name in models.names():
        net = models.create(name, num_classes=3, convolution="plain", norm_groups=2)
        assert net.num_classes == 3
        assert net.layers.convolution == "plain"
        assert net.layers.norm("bn1").groups == 2


@functools.cache
def trace(name, size=32, **settings):
    """The program that initialises an encoder, and the shapes of what it gives."""
    net = models.create(name, **{"num_classes": 7, **settings})
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    init = jax.make_jaxpr(lambda x: net.init_with_output(jax.random.key(0), x), return_shape=True)
    program, (outputs, variables) = init(images)
    return net, program, outputs, variables


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", models.names())
def test_every_encoder_has_stages_group_norm_and_remat(name):
    net, program, _, variables = trace(name, norm="group", remat=True)
    assert set(variables) == {"params"}
    params = variables["params"]
    assert {net.stage_of(part) for part in params} == set(range(net.stages + 2))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if path[-1].key == "kernel" and leaf.shape[-2] == 3:
            assert net.stage_of(path[0].key) == 0
        if path[-1].key == "kernel" and leaf.shape[-1] == 7:
            assert net.stage_of(path[0].key) == net.stages + 1
    again = [step for step in program.eqns if step.primitive is primitives.remat_p]
    assert len(again) >= net.stages


def test_group_norm_and_remat_change_no_parameter():
    for name in ("resnet20", "wrn_16_2", "hcgnet_A1", "ShuffleNetV2_05x", "resnet50", "vit_tiny"):
        _, _, _, variables = trace(name, norm="group", remat=True)
        _, program, _, usual = trace(name)
        assert usual["params"] == variables["params"]
        assert not any(step.primitive is primitives.remat_p for step in program.eqns)


# Millions of parameters without the classifier, as SimCLR v2 (arXiv 2006.10029, table 1) counts.
@pytest.mark.parametrize(
    ("name", "width", "millions"),
    [("resnet50", 2, 94), ("resnet101", 1, 43), ("resnet101", 2, 170)],
)
def test_parameters_of_wider_networks(name, width, millions):
    _, _, (_, features), variables = trace(name, width=width)
    body = {name: part for name, part in variables["params"].items() if name != "fc"}
    assert round(count(body) / 1e6) == millions
    assert features.shape == (2, 2048 * width)


def test_parameters_of_resnet101_are_those_of_torchvision():
    _, _, _, variables = trace("resnet101", num_classes=1000)
    assert count(variables["params"]) == 44_549_160


def test_half_a_network_keeps_its_stem():
    _, _, (_, features), variables = trace("resnet18", width=0.5)
    assert features.shape == (2, 256)
    assert variables["params"]["conv1"]["kernel"].shape == (7, 7, 3, 64)
    assert variables["params"]["layer1_0"]["conv1"]["kernel"].shape == (3, 3, 64, 32)


def test_small_stem_neither_strides_nor_pools():
    net = models.create("resnet18", num_classes=10, stem="small")
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    _, state = jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x, capture_intermediates=True), images
    )
    assert state["params"]["conv1"]["kernel"].shape == (3, 3, 3, 64)
    seen = state["intermediates"]
    assert seen["layer1_0"]["__call__"][0].shape == (1, 32, 32, 64)
    assert seen["layer4_1"]["__call__"][0].shape == (1, 4, 4, 512)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 2.0}, r"width must be 1\.0 for resnet32, an option of resnet18, .*; got 2\.0"),
        ({"stem": "small"}, "stem must be '' for resnet32, an option of .* alone; got 'small'"),
        ({"norm": "layer"}, "norm must be one of batch, group; got 'layer'"),
        (
            {"norm": "group", "norm_axis_name": "data"},
            "norm_axis_name must be None with norm 'group', which has no batch .*; got 'data'",
        ),
        ({"norm": "group", "norm_groups": 2}, "norm_groups must be 1 with norm 'group'.*; got 2"),
    ],
)
def test_settings_that_an_encoder_has_not(settings, message):
    with pytest.raises(ValueError, match=message):
        models.create("resnet32", num_classes=10, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stem": "large"}, r"stem must be one of \('', 'small'\); got 'large'"),
        ({"width": 0.01}, r"width must be at least 1/64; got 0\.01"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        models.create("resnet50", num_classes=10, **settings)


def test_unknown_name():
    message = r"unknown encoder 'resnet_32'; did you mean 'resnet32'\? Known: resnet20, resnet32,"
    with pytest.raises(ValueError, match=message):
        models.create("resnet_32", num_classes=10)


def test_number_of_classes():
    with pytest.raises(ValueError, match="num_classes must be at least 1; got 0"):
        models.create("resnet32", num_classes=0)


def test_number_of_groups():
    with pytest.raises(ValueError, match="norm_groups must be at least 1; got 0"):
        models.create("resnet32", num_classes=10, norm_groups=0)


def test_unknown_convolution():
    with pytest.raises(ValueError, match="one of per_network, plain; got 'fast'"):
        models.create("resnet32", num_classes=10, convolution="fast")
