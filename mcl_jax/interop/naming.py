"""How PyTorch names and lays out what stands somewhere in Flax variables.

A path is that of a leaf, collection first: ``("params", "layer1_0", "conv1", "kernel")``.
"""

import re
from typing import Any

import flax.traverse_util
import numpy as np

Path = tuple[str, ...]

COUNTER = "num_batches_tracked"  # PyTorch's batch normalisations count batches; nothing here does
CLASSIFIERS = ("classifier", "fc", "head", "linear")  # what the families call their last layer

_LEAVES = {"scale": "weight", "kernel": "weight", "mean": "running_mean", "var": "running_var"}
_STATISTICS = {"running_mean": "mean", "running_var": "var"}
_TO_TORCH = {2: (1, 0), 4: (3, 2, 0, 1)}  # [in, out] -> [out, in], HWIO -> OIHW
_TO_FLAX = {2: (1, 0), 4: (2, 3, 1, 0)}


def torch_name(architecture: str, path: Path) -> str:
    """PyTorch's name of the leaf at a path of an encoder.

    A number at the end of a Flax name is a level of its own in PyTorch's. Two families differ: wide
    ResNets keep the blocks of a stage under ``layer``, HCGNets all but the classifier under
    ``features``.

    Example:
        >>> torch_name("resnet32", ("params", "layer1_0", "conv1", "kernel"))
        'layer1.0.conv1.weight'
        >>> torch_name("wrn_16_2", ("params", "block1_layer_0", "bn1", "scale"))
        'block1.layer.0.bn1.weight'
    """
    *levels, leaf = path[1:]
    levels = [re.sub(r"_(\d+)$", r".\1", level) for level in levels]
    if architecture.startswith("wrn"):
        levels = [level.replace("_layer.", ".layer.") for level in levels]
    if architecture.startswith("hcgnet") and levels[0] not in CLASSIFIERS:
        levels.insert(0, "features")
    return ".".join([*levels, _LEAVES.get(leaf, leaf)])


def flax_path(name: str, ndim: int) -> Path:
    """The path of the leaf with a PyTorch name, where names follow the general rule (as heads do).

    Args:
        name: PyTorch's.
        ndim: of the array; a weight of one axis is the scale of a normalisation.

    Example:
        >>> flax_path("layer1.0.bn.running_mean", 1)
        ('batch_stats', 'layer1_0', 'bn', 'mean')
    """
    *levels, leaf = re.sub(r"\.(\d+)(?=\.)", r"_\1", name).split(".")
    if leaf in _STATISTICS:
        return ("batch_stats", *levels, _STATISTICS[leaf])
    if leaf == "weight":
        leaf = "kernel" if ndim > 1 else "scale"
    return ("params", *levels, leaf)


def torch_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in PyTorch's layout of the leaf at a path."""
    axes = _TO_TORCH.get(len(shape)) if path[-1] == "kernel" else None
    return tuple(shape) if axes is None else tuple(shape[axis] for axis in axes)


def torch_array(path: Path, array: Any) -> np.ndarray:
    """A copy in PyTorch's layout of the leaf at a path."""
    array = np.asarray(array)
    axes = _TO_TORCH.get(array.ndim) if path[-1] == "kernel" else None
    return np.array(array if axes is None else array.transpose(axes), order="C")


def flax_array(path: Path, array: np.ndarray) -> np.ndarray:
    """A copy in Flax's layout of what belongs at a path."""
    axes = _TO_FLAX.get(array.ndim) if path[-1] == "kernel" else None
    return np.array(array if axes is None else array.transpose(axes), order="C")


def flatten(tree: Any) -> dict[Path, Any]:
    """Leaves by path."""
    return flax.traverse_util.flatten_dict(tree)


def unflatten(leaves: dict[Path, Any]) -> Any:
    """The tree whose leaves these are; there is no collection without a leaf."""
    return flax.traverse_util.unflatten_dict(leaves)
