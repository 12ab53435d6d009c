"""Exported encoders in PyTorch's own networks, where PyTorch is installed."""

import jax
import numpy as np
import pytest

from mcl_jax import interop, models

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")


def images_of(side):
    return np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)


def drawn(module):
    """A module's weights, drawn such that activations keep their size, statistics too."""
    rng = np.random.default_rng(1)
    state = {}
    for key, value in module.state_dict().items():
        shape, fan_in = tuple(value.shape), max(1, int(np.prod(value.shape[1:])))
        if not value.is_floating_point():
            state[key] = value
        elif value.ndim > 1:
            state[key] = torch.from_numpy(rng.normal(0, fan_in**-0.5, shape)).float()
        else:
            state[key] = torch.from_numpy(rng.uniform(0.5, 1.5, shape)).float()
    return state


def test_an_exported_encoder_says_the_same_in_torchvision():
    net = models.create("resnet18", num_classes=5)
    images = images_of(64)
    template = jax.eval_shape(net.init, jax.random.key(0), images)
    theirs = torchvision.models.resnet18(num_classes=5).eval()
    variables = interop.load_torch("resnet18", drawn(theirs), into=template)
    outputs, features = jax.jit(net.apply)(variables, images)
    exported = interop.to_torch("resnet18", variables)
    theirs.load_state_dict({key: torch.from_numpy(array) for key, array in exported.items()})
    seen = []
    theirs.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    for ours, reference in ((outputs, expected), (features, seen[0].numpy())):
        np.testing.assert_allclose(ours, reference, rtol=0, atol=1e-4 * np.abs(reference).max())


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_names_and_shapes_are_torchvisions(name):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, weights=None).state_dict()
    zeros = {key: np.zeros(tuple(value.shape), np.float32) for key, value in theirs.items()}
    exported = interop.to_torch(name, interop.load_torch(name, zeros))
    assert {key: array.shape for key, array in exported.items()} == {
        key: tuple(value.shape) for key, value in theirs.items()
    }


def test_bfloat16_tensors_are_taken_as_they_are():
    module = torchvision.models.resnet18(num_classes=3).bfloat16()
    variables = interop.load_torch("resnet18", module.state_dict())
    kernel = np.asarray(variables["params"]["conv1"]["kernel"], np.float32)
    expected = module.conv1.weight.detach().float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)
    assert variables["params"]["conv1"]["kernel"].dtype == "bfloat16"


def test_a_transformer_says_the_same_in_timm():
    timm = pytest.importorskip("timm")
    sizes = {"img_size": 32, "patch_size": 4, "embed_dim": 192, "num_heads": 3}
    theirs = timm.models.VisionTransformer(**sizes, num_classes=5).eval()
    variables = interop.load_torch("vit_tiny", drawn(theirs))
    exported = interop.to_torch("vit_tiny", variables)
    theirs.load_state_dict({key: torch.from_numpy(array) for key, array in exported.items()})
    images = images_of(32)
    ours, _ = jax.jit(models.create("vit_tiny", num_classes=5).apply)(variables, images)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
