"""One step of each of PyContrast's presets is that of NumPy with gradients by hand."""

import dataclasses
import functools
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pycontrast_numpy as reference
import pytest
import tiny

from mcl_jax import config as config_lib
from mcl_jax import data
from mcl_jax.axes import Axes
from mcl_jax.data import Dataset, Split
from mcl_jax.methods import Setting, drawn_rows, jigsaw, networks, seeing
from mcl_jax.models import registry
from mcl_jax.models.blocks import Layers
from mcl_jax.training.state import Stream, stream
from mcl_jax.views.draws import row_keys

B, K, N, D, F = 16, 32, 64, 8, 12
NAMES = {"InsDis": "insdis", "CMC": "cmc", "MoCo": "moco", "PIRL": "pirl"} | {
    "MoCov2": "mocov2",
    "CMCv2": "cmcv2",
    "InfoMin": "infomin",
}
CASES = [(name, reference.PRESETS[name]) for name in NAMES] + [
    ("CMC", dataclasses.replace(reference.PRESETS["CMC"], jigsaw=True, head="mlp")),
]


class LinearEncoder(nn.Module):
    """ReLU(W mean(x) + b), and no classes."""

    num_classes: int
    layers: Layers = Layers()
    stages = 1

    @nn.compact
    def __call__(self, images, train=False):
        layer = nn.Dense(F, name="linear", param_dtype=self.layers.param_dtype)
        features = nn.relu(layer(images.mean(axis=(-3, -2))))
        return jnp.zeros((len(images), self.num_classes)), features


@pytest.fixture(autouse=True)
def _linear(monkeypatch):
    monkeypatch.setitem(registry._ENCODERS, "linear", LinearEncoder)


def colours():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 8, 8, 3)).astype(np.uint8)
    images = (images * rng.uniform(0.2, 1, (N, 1, 1, 3))).astype(np.uint8)
    split = Split((np.arange(N) % 4).astype(np.int32), images=images)
    return Dataset("colours", split, split, split, tuple("0123"), "made up")


def configured(name, preset):
    config = config_lib.preset(NAMES[name])
    bank = preset.memory == "bank"
    config.update_from_flattened_dict(
        {
            "method.jigsaw": 0.5 if preset.jigsaw else 0.0,
            "method.head": "linear" if preset.head == "linear" else "mocov2",
            "method.embedding_dim": D,
            "method.negatives" if bank else "method.queue_size": K,
            "model.name": "linear",
            "model.width": 1.0,
            "model.dtype": "float64",
            "data.batch_size": B,
            "data.mean": (0.4, 0.5, 0.6),
            "data.std": (0.2, 0.3, 0.25),
            "views.recipe": "cifar",
            "views.crop_scale": (),
            "views.padding": 1,
            "training.steps": 2,
            "parallel.devices": 1,
        }
    )
    if not bank:
        config.method.momentum = 0.9
    return config


@functools.cache
def draws(modal):
    """(step) to all that steps of any memory draw: as of a queue with a jigsaw branch."""
    preset = reference.Preset(modal, True, "queue", "linear", 0.1)
    config = configured("MoCo" if modal == "RGB" else "CMCv2", preset)
    setting = Setting(4, config.data.mean, config.data.std, Axes(), 1, optax.sgd(0.1), (8, 8, 3))
    cohort = networks.build(config, setting)
    sight = seeing.seeing(config, setting, cohort, 2)
    branch = jigsaw.branch(config, setting, cohort, sight)

    @jax.jit
    def drawn(step, images):
        key = jax.random.key(config.seed)
        rows = data.draw(data.shuffled(N, B), stream(key, Stream.DATA), step)
        of_step = jax.random.fold_in(stream(key, Stream.STEP), step)
        for_views, for_draws = jax.random.split(of_step)
        keys, own = row_keys(for_views, jnp.arange(B)), images[rows]
        views = [sight.view(v, keys, own) for v in (0, 1)]
        numbers = drawn_rows.numbers(for_draws, jnp.arange(B), K)
        negatives = drawn_rows.from_others(numbers, rows, N)
        return rows, (*views, branch.patches(keys, own)), branch.orders(keys), negatives

    return drawn


def shown(preset, step):
    """What a step draws: the reference's batch, and the rows drawn from the bank."""
    images = colours().train.images
    rows, seen, orders, negatives = jax.device_get(draws(preset.modal)(step, images))
    halves = preset.modal == "CMC"
    # Groups see the same, or divide the channels.
    view, key_view, patches = (np.concatenate(x, -1) if halves else x[0] for x in seen)
    patches = patches.reshape(B, 9, *patches.shape[1:])
    return reference.Batch(view, rows, key_view, patches, list(orders)), negatives


def named(tree, network):
    """Our parameters of a network by the reference's names."""
    layers = {"linear": "", "linear1": ".1", "linear2": ".2", "joined": ".out"}
    weights = {"kernel": "w", "bias": "b"}
    return {
        f"{part}{layers[layer]}.{weights[leaf]}": np.asarray(value[0])
        for part, inner in tree[f"network_{network}"].items()
        for layer, leaves in inner.items()
        for leaf, value in leaves.items()
    }


def network_of(state, number, negatives):
    """A network of our state, as the reference has it."""
    extras, momentum, pointer = state.extras, None, 0
    velocity = optax.tree_utils.tree_get(state.optimizer, "trace")
    if "queue" in extras:
        memory, pointer = extras["queue"].keys[number], int(extras["queue"].cursor)
        momentum = named(extras["momentum"]["params"], number)
    else:
        memory = extras["bank"][number, :N]
    return reference.Network(
        named(state.params, number), named(velocity, number), memory, negatives, pointer, momentum
    )


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_two_steps_are_those_of_the_reference(name, preset):
    config = configured(name, preset)
    with jax.enable_x64(True):
        _, states, metrics = tiny.trajectory(config, colours(), 2)
        batches = [shown(preset, step) for step in range(2)]
    numbers = range(config.method.networks)
    hyper = reference.Hyper(alpha=0.9)
    for before, after, said, (batch, negatives) in zip(
        states, states[1:], metrics, batches, strict=False
    ):
        given = [network_of(before, number, negatives) for number in numbers]
        expected = reference.step(preset, given, batch, hyper, ema_first=True)
        np.testing.assert_allclose(said["loss"], expected.loss, rtol=1e-6)
        if preset.jigsaw:
            np.testing.assert_allclose(said["jigsaw"], expected.jigsaw, rtol=1e-6)
        for number, wanted in zip(numbers, expected.networks, strict=True):
            found = network_of(after, number, negatives)
            for part in ("params", "velocity", "memory", "key_params"):
                one, other = getattr(found, part), getattr(wanted, part)
                jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, other)
            assert found.pointer == wanted.pointer
