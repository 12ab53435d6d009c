"""Every encoder against the authors' shapes and numbers."""

import dataclasses
import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import ARCHITECTURES, GOLDEN, load, to_flax_shape, torch_name

from mcl_jax import models
from mcl_jax.models.blocks import Layers
from mcl_jax.models.hcgnet import SMG
from mcl_jax.models.shufflenet import ShuffleUnit

CLASSES = {f"resnet{depth}": 1000 for depth in (18, 34, 50, 101)}
EXPECTED = {
    **np.load(GOLDEN / "torch_models_expected.npz"),
    **np.load(GOLDEN / "torch_outputs.npz"),
}
# Compiling costs more than running here.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
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
    state = ARCHITECTURES[name]["state"].items()
    expected = {n: to_flax_shape(s) for n, s in state if not n.endswith("num_batches_tracked")}
    assert ours == expected


@pytest.mark.parametrize(
    ("name", "parameters", "width"),
    [
        ("resnet50", 25_557_032, 2048),
        ("resnet101", 44_549_160, 2048),
        ("resnet20", 278_324, 64),
        ("small_resnet", 83_892, 64),
        ("tiny_resnet", 6_836, 16),
    ],
)
def test_parameters_beyond_the_authors(name, parameters, width):
    (_, features), variables = shapes(name)
    assert count(variables["params"]) == parameters
    assert features.shape == (2, width)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "tiny_resnet"])
def test_residual_blocks_may_start_as_their_shortcuts(name):
    net = models.create(name, num_classes=3, zero_residual=True)
    variables = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    plain = jax.eval_shape(
        models.create(name, num_classes=3).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    assert jax.tree.structure(variables) == jax.tree.structure(plain)
    block = models.create("tiny_resnet", num_classes=3, zero_residual=True)
    drawn = block.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    scales = {
        path: leaf.any()
        for path, leaf in flax.traverse_util.flatten_dict(drawn).items()
        if path[-1] == "scale"
    }
    assert [path for path, some in scales.items() if not some] == [("layer1_0", "bn2", "scale")]


def test_wide_networks_have_no_last_scale_to_start_at_zero():
    with pytest.raises(ValueError, match=r"^zero_residual is for resnet18, .*; got wrn_16_2"):
        models.create("wrn_16_2", num_classes=3, zero_residual=True)


def test_widths_of_the_small_resnet():
    net = models.SmallResNet(num_classes=100, widths=(32, 64, 128))
    images = jax.ShapeDtypeStruct((2, 28, 28, 3), jnp.float32)
    key = jax.random.key(0)
    outputs, variables = jax.eval_shape(lambda x: net.init_with_output(key, x), images)
    assert outputs[1].shape == (2, 128)
    assert count(variables["params"]) == 320_260


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_outputs_are_the_authors(name):
    images = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    _, template = shapes(name)
    apply = quick_jit(models.create(name, num_classes=CLASSES.get(name, 100)).apply)
    for network in range(2):
        variables = load(template, f"module_list.{network}.", ARCHITECTURES[name]["state"])
        outputs = apply(variables, images.transpose(0, 2, 3, 1))
        for output, kind in zip(outputs, ("logits", "embedding"), strict=True):
            reference = EXPECTED[f"{name}/{kind}"][network]
            np.testing.assert_allclose(
                output[:, : reference.shape[-1]],
                reference,
                rtol=1e-4,
                atol=1e-4 * np.abs(reference).max(),
            )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "hcgnet_A1",
            {
                "conv0": 0,
                "HybridBlock1": 1,
                "Transition1": 1,
                "HybridBlock2": 2,
                "Transition2": 2,
                "HybridBlock3": 3,
                "norm5": 4,
                "classifier": 4,
            },
        ),
        (
            "ShuffleNetV2_1x",
            {"conv1": 0, "bn1": 0, "conv2": 4, "bn2": 4, "linear": 4}
            | {f"layer{s}_{u}": s for s, units in ((1, 4), (2, 8), (3, 4)) for u in range(units)},
        ),
    ],
)
def test_stages_are_those_that_the_authors_share(name, expected):
    net = models.create(name, num_classes=100)
    _, variables = shapes(name)
    assert {module: net.stage_of(module) for module in variables["params"]} == expected
    assert net.stages == 3


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


@pytest.mark.parametrize(
    ("module", "channels", "fans"),
    [
        (ShuffleUnit(128), 128, {"conv1": 64, "conv2": 9}),
        (SMG(64), 4, {"fc1": 64, "fcall": 128, "global_context3x3": 64}),
    ],
)
def test_initialisation_is_the_default_of_pytorch(module, channels, fans):
    init = quick_jit(lambda key: module.init(key, jnp.zeros((1, 2, 2, channels)), False))
    params = init(jax.random.key(0))["params"]
    for name, fan_in in fans.items():
        kernel = np.abs(params[name]["kernel"])
        assert 0.9 * fan_in**-0.5 < kernel.max() <= fan_in**-0.5
        bias = np.abs(params[name].get("bias", kernel))
        assert 0 < bias.max() <= fan_in**-0.5


TINY = {
    "residual": functools.partial(models.SmallResNet, num_classes=7, widths=(8, 16)),
    "gated": functools.partial(models.HCGNet, num_classes=7, growth=(8,), depth=1),
    "shuffled": functools.partial(
        models.ShuffleNetV2, num_classes=7, widths=(8,), depths=(2,), embed=16
    ),
}


def drawn(net, images, networks):
    """Variables of a module, the network axis first; drawing them in JAX takes long to compile."""
    rng = np.random.default_rng(0)
    spec = jax.ShapeDtypeStruct(images.shape, images.dtype)
    tree = jax.eval_shape(lambda images: net.init(jax.random.key(0), images, True), spec)
    return jax.tree.map(lambda a: rng.uniform(-1, 1, (networks, *a.shape)).astype(a.dtype), tree)


def trained(net, images):
    """The function (params, batch_stats) -> ((loss, updates), gradients) of a network."""

    def loss(params, stats):
        variables = {"params": params, "batch_stats": stats}
        (logits, features), updates = net.apply(variables, images, True, mutable=["batch_stats"])
        return jnp.sin(logits).sum() + jnp.sin(features).sum(), updates

    return jax.value_and_grad(loss, has_aux=True)


@pytest.mark.parametrize("family", TINY)
def test_networks_vmapped_are_networks_looped_and_rematerialised(family):
    images = np.random.default_rng(0).normal(size=(8, 12, 8, 1))
    with jax.enable_x64(True):
        layers = Layers(norm_groups=2, dtype=jnp.float64, param_dtype=jnp.float64)
        net = TINY[family](layers=layers)
        frugal = TINY[family](layers=dataclasses.replace(layers, remat=True))
        stacked = drawn(net, images, 2)
        together = quick_jit(jax.vmap(trained(net, images)))(
            stacked["params"], stacked["batch_stats"]
        )
        step = quick_jit(trained(frugal, images))
        for i in range(2):
            one, mine = (jax.tree.map(lambda a, i=i: a[i], t) for t in (stacked, together))
            alone = step(one["params"], one["batch_stats"])
            for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(alone), strict=True):
                assert np.isfinite(b).all()
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def test_gates_are_open_with_group_normalisation():
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 4))
    with jax.enable_x64(True):
        layers = Layers(normalization="group", dtype=jnp.float64, param_dtype=jnp.float64)
        module = SMG(8, layers)
        params = jax.tree.map(lambda a: a[0], drawn(module, images, 1)["params"])

        def loss(params):
            return jnp.square(module.apply({"params": params}, images, True)).sum()

        gradient = quick_jit(jax.grad(loss))(params)
    for name in ("fc1", "fcall", "global_forget_context", "global_context5x5"):
        assert np.abs(gradient[name]["kernel"]).max() > 1e-6


def test_depth_of_a_wide_resnet():
    net = models.WideResNet(num_classes=2, depth=17, widen=1)
    with pytest.raises(ValueError, match=r"6 n \+ 4, n >= 1; got 17"):
        net.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))


def test_widths_of_shufflenet():
    net = models.ShuffleNetV2(num_classes=2, widths=(8, 9, 12))
    with pytest.raises(ValueError, match=r"must be even; got \(8, 9, 12\)"):
        net.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))


def test_growth_of_hcgnet():
    net = models.HCGNet(num_classes=2, growth=(8, 6))
    with pytest.raises(ValueError, match=r"multiples of 4; got \(8, 6\)"):
        net.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))


def test_images_without_a_batch():
    with pytest.raises(ValueError, match=r"shape \[B, H, W, c\]; got \(8, 8, 3\)"):
        models.SmallResNet(num_classes=2).init(jax.random.key(0), jnp.ones((8, 8, 3)))


def test_images_of_bytes():
    with pytest.raises(TypeError, match="floating; got uint8"):
        models.SmallResNet(num_classes=2).init(jax.random.key(0), jnp.ones((1, 8, 8, 3), jnp.uint8))
