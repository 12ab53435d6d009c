"""Weights by PyTorch name, as the reference numbers were made with, put into a Flax tree."""

import json
import pathlib
import re
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
ARCHITECTURES = json.loads((GOLDEN / "torch_models.json").read_text())

_LEAVES = {
    "scale": ("weight", "params"),
    "kernel": ("weight", "params"),
    "bias": ("bias", "params"),
    "mean": ("running_mean", "batch_stats"),
    "var": ("running_var", "batch_stats"),
}
_NUMBERED = re.compile(r"_(?=\d+$|layer_\d+$)")
_HCGNET_FEATURES = re.compile(r"(conv0|HybridBlock\d|Transition\d|norm5)$")


def torch_name(path):
    """('layer1_0', 'conv1', 'kernel') -> 'layer1.0.conv1.weight'."""
    *modules, leaf = path
    levels = [_NUMBERED.sub(".", module) for module in modules]
    prefix = ["features"] if _HCGNET_FEATURES.match(modules[0]) else []
    return ".".join([*prefix, *levels, _LEAVES[leaf][0]])


def to_flax_shape(shape):
    """The shape of a PyTorch weight with channels last."""
    order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(len(shape))
    return tuple(shape) if order is None else tuple(shape[axis] for axis in order)


def random_weight(full_name, shape):
    """The weight of that name that the reference numbers were computed with, PyTorch's layout."""
    rng = np.random.default_rng(zlib.crc32(full_name.encode()))
    if full_name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 4:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    if len(shape) == 2:
        return rng.normal(0, shape[1] ** -0.5, shape)
    if full_name.endswith("weight"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.1, shape)


def load(tree, prefix, shapes, path=()):
    """The tree of Flax variables with every leaf drawn by its PyTorch name."""
    if isinstance(tree, dict):
        return {k: load(v, prefix, shapes, (*path, k)) for k, v in tree.items()}
    name = torch_name(path[1:])
    weight = random_weight(prefix + name, shapes[name]).astype(np.float32)
    return weight.transpose({4: (2, 3, 1, 0), 2: (1, 0)}.get(weight.ndim))
