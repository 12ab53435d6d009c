"""Every encoder against the authors' shapes and numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import ARCHITECTURES, GOLDEN, load, to_flax_shape, torch_name

from mcl_jax import models
from mcl_jax.models.blocks import Layers

CLASSES = {"resnet18": 1000, "resnet34": 1000, "resnet50": 1000}


def shapes(name, size=32, **settings):
    """Shapes of (logits, features) and of the variables; nothing is computed."""
    net = models.create(name, num_classes=CLASSES.get(name, 100), **settings)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    key = jax.random.key(0)
    return jax.eval_shape(lambda images: net.init_with_output(key, images), images)


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_and_widths_are_the_authors(name):
    (logits, features), variables = shapes(name)
    assert count(variables["params"]) == ARCHITECTURES[name]["params_per_net"]
    assert features.shape == (2, ARCHITECTURES[name]["embed"])
    assert logits.shape == (2, CLASSES.get(name, 100))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_names_map_onto_pytorch(name):
    _, variables = shapes(name)
    ours = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        ours[torch_name([part.key for part in path[1:]])] = leaf.shape
    expected = {n: to_flax_shape(shape) for n, shape in ARCHITECTURES[name]["state"].items()}
    assert ours == expected


@pytest.mark.parametrize(
    ("name", "parameters", "width"),
    [("resnet50", 25_557_032, 2048), ("resnet20", 278_324, 64), ("small_resnet", 83_892, 64)],
)
def test_parameters_beyond_the_authors(name, parameters, width):
    (_, features), variables = shapes(name)
    assert count(variables["params"]) == parameters
    assert features.shape == (2, width)


def test_widths_of_the_small_resnet():
    net = models.SmallResNet(num_classes=100, widths=(32, 64, 128))
    images = jax.ShapeDtypeStruct((2, 28, 28, 3), jnp.float32)
    key = jax.random.key(0)
    outputs, variables = jax.eval_shape(lambda x: net.init_with_output(key, x), images)
    assert outputs[1].shape == (2, 128)
    assert count(variables["params"]) == 320_260


@pytest.mark.parametrize("name", ["resnet32", "wrn_16_2"])
@pytest.mark.parametrize("network", [0, 1])
def test_outputs_are_the_authors(name, network):
    expected = np.load(GOLDEN / "torch_models_expected.npz")
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    _, template = shapes(name)
    prefix = f"module_list.{network}."
    variables = load(template, prefix, ARCHITECTURES[name]["state"])
    net = models.create(name, num_classes=100)
    outputs = jax.jit(net.apply)(variables, images.transpose(0, 2, 3, 1))
    for output, kind in zip(outputs, ("logits", "embedding"), strict=True):
        reference = expected[f"{name}/{kind}"][network]
        np.testing.assert_allclose(
            output, reference, rtol=1e-4, atol=1e-4 * np.abs(reference).max()
        )


@pytest.mark.parametrize("name", models.names())
def test_bfloat16_ends_in_float32(name):
    (logits, features), variables = shapes(name, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    assert logits.dtype == features.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.bfloat16.dtype}


def test_float64_stays_float64():
    with jax.enable_x64(True):
        (logits, features), _ = shapes("resnet20", dtype=jnp.float64, param_dtype=jnp.float64)
    assert logits.dtype == features.dtype == jnp.float64


def test_spatial_sizes_of_the_imagenet_stem():
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    net = models.create("resnet18", num_classes=10)
    key = jax.random.key(0)
    _, state = jax.eval_shape(
        lambda images: net.init_with_output(key, images, capture_intermediates=True), images
    )
    seen = state["intermediates"]
    assert seen["conv1"]["__call__"][0].shape == (1, 112, 112, 64)
    assert seen["layer1_0"]["__call__"][0].shape == (1, 56, 56, 64)
    assert seen["layer4_1"]["__call__"][0].shape == (1, 7, 7, 512)


def test_initialisation_is_the_authors():
    images = jnp.zeros((1, 32, 32, 3))
    params = models.create("wrn_16_2", num_classes=100).init(jax.random.key(0), images)["params"]
    kernel = params["block3_layer_1"]["conv1"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.01)
    bound = 128**-0.5
    weights = np.abs(params["fc"]["kernel"])
    assert 0.99 * bound < weights.max() <= bound
    np.testing.assert_allclose(weights.mean(), bound / 2, rtol=0.03)
    assert not params["fc"]["bias"].any()
    net = models.SmallResNet(num_classes=100, widths=(16, 128))
    params = net.init(jax.random.key(0), images)["params"]
    bias = np.abs(params["classifier"]["bias"])
    assert 0.9 * bound < bias.max() <= bound
    assert (params["bn1"]["scale"] == 1).all()


def test_networks_vmapped_are_networks_looped():
    net = models.SmallResNet(num_classes=7, widths=(8, 16), layers=Layers(norm_groups=2))
    images = np.random.default_rng(0).normal(size=(40, 12, 12, 1)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    stacked = jax.vmap(lambda key: net.init(key, images[:1]))(keys)

    def loss(params, stats):
        variables = {"params": params, "batch_stats": stats}
        (logits, features), updates = net.apply(variables, images, True, mutable=["batch_stats"])
        return (jnp.sin(logits).sum() + jnp.sin(features).sum()), updates

    step = jax.value_and_grad(loss, has_aux=True)
    together = jax.jit(jax.vmap(step))(stacked["params"], stacked["batch_stats"])
    for i in range(2):
        one = jax.tree.map(lambda a, i=i: a[i], stacked)
        alone = jax.jit(step)(one["params"], one["batch_stats"])
        mine = jax.tree.map(lambda a, i=i: a[i], together)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())


def test_depth_of_a_wide_resnet():
    net = models.WideResNet(num_classes=2, depth=17, widen=1)
    with pytest.raises(ValueError, match=r"6 n \+ 4, n >= 1; got 17"):
        net.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))


def test_images_without_a_batch():
    with pytest.raises(ValueError, match=r"shape \[B, H, W, c\]; got \(8, 8, 3\)"):
        models.SmallResNet(num_classes=2).init(jax.random.key(0), jnp.ones((8, 8, 3)))


def test_images_of_bytes():
    with pytest.raises(TypeError, match="floating; got uint8"):
        models.SmallResNet(num_classes=2).init(jax.random.key(0), jnp.ones((1, 8, 8, 3), jnp.uint8))
