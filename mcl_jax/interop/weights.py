"""One network's weights as PyTorch's state dictionary, and from one."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from mcl_jax.interop import fitting, naming

HEAD = "projection."  # in front of the names of a projection head


def load_torch(
    name: str,
    state_dict: Mapping[str, Any],
    *,
    prefix: str | None = None,
    classifier: bool = True,
    head: bool = False,
    into: Any = None,
    **options: Any,
) -> Any:
    """Flax variables from PyTorch's weights of one network.

    Names are those of the MCL authors' code, which for ResNet-18 to -101 are torchvision's and
    timm's. Kernels are transposed to Flax's layout; nothing else is computed, and
    ``num_batches_tracked`` is left out.

    Args:
        name: the architecture, one of `mcl_jax.models.names`.
        state_dict: arrays or PyTorch tensors by name, floating.
        prefix: takes the names that begin so, without it. None takes all, without the ``module.``
            of `torch.nn.DataParallel` and the ``module_list.0.`` of the authors' cohorts where
            every name begins so.
        classifier: whether the classifier is read; otherwise names of one are passed over.
        head: whether a projection head is read, from names under ``projection.`` as `to_torch`
            writes them; otherwise these are passed over.
        into: variables of a network, of an encoder or of encoder and head (a cohort's member), that
            keep what is not read; dtypes stay theirs.
        **options: without ``into``, what the network has of `mcl_jax.models.create`'s options that
            change its weights (``width``, ``stem``, ``norm``).

    Returns:
        NumPy arrays in the structure of ``into``. Without it the variables of an encoder, where
        ``classifier=False`` leaves no classifier, or with ``head=True`` those of a member:
        ``{"params": {"encoder", "head"}, "batch_stats": {"encoder", ...}}``.

    Raises:
        ValueError: the architecture is unknown, or weights are missing, unknown or of another
            shape.
        TypeError: a value is no floating array, or another option is given.

    Example:
        >>> import jax, numpy as np
        >>> from mcl_jax import models
        >>> net = models.create("small_resnet", num_classes=10)
        >>> shapes = jax.eval_shape(net.init, jax.random.key(0), np.ones((1, 28, 28, 1), "f"))
        >>> weights = to_torch("small_resnet", jax.tree.map(lambda x: np.ones(x.shape), shapes))
        >>> params = load_torch("small_resnet", weights)["params"]
        >>> weights["conv1.weight"].shape, params["conv1"]["kernel"].shape
        ((16, 1, 3, 3), (3, 3, 1, 16))
    """
    given = {k: v for k, v in state_dict.items() if k.split(".")[-1] != naming.COUNTER}
    bare = {new: _array(old, given[old]) for old, new in _without_prefix(given, prefix).items()}
    heads = {k.removeprefix(HEAD): v for k, v in bare.items() if k.startswith(HEAD)}
    found = {k: v for k, v in bare.items() if not k.startswith(HEAD)}
    if not classifier:
        found = fitting.without_classifier(found)
    shapes = {k: v.shape for k, v in found.items()}
    if into is None:
        wanted = fitting.expected(name, shapes, options)
    elif options:
        raise ValueError(f"into already has its shapes; leave out {', '.join(options)}.")
    else:
        wanted = fitting.places(name, _part(into, "encoder"))
    if not classifier:
        wanted = fitting.without_classifier(wanted)
    fitting.check(name, "state_dict", wanted, shapes, given)
    leaves = {wanted[k].path: naming.flax_array(wanted[k].path, v) for k, v in found.items()}
    if head or is_member(into):
        leaves = _under("encoder", leaves)
    if head:
        leaves |= _under("head", _head(heads, into))
    if into is not None:
        kept = naming.flatten(into)
        leaves = kept | {path: leaf.astype(kept[path].dtype) for path, leaf in leaves.items()}
    return naming.unflatten(leaves)


def to_torch(
    name: str,
    variables: Any,
    *,
    prefix: str = "",
    classifier: bool = True,
    head: bool = False,
    **options: Any,
) -> dict[str, np.ndarray]:
    """PyTorch's weights of one network from Flax variables, the inverse of `load_torch`.

    Args:
        name: the architecture, one of `mcl_jax.models.names`.
        variables: of an encoder, or of encoder and head as a cohort's member has them.
        prefix: put in front of every name.
        classifier: whether the classifier is written.
        head: whether the projection head is written, its names under ``projection.``.
        **options: what the network has of `mcl_jax.models.create`'s options that change its weights
            (``width``, ``stem``, ``norm``).

    Returns:
        Copies by PyTorch name, in PyTorch's layout and of the dtypes given; zeros, int64, as
        ``num_batches_tracked``. `torch.from_numpy` takes them, bfloat16 apart.

    Raises:
        ValueError: the architecture is unknown, or the variables are not its.

    Example:
        >>> import jax, numpy as np
        >>> from mcl_jax import models
        >>> net = models.create("small_resnet", num_classes=10)
        >>> shapes = jax.eval_shape(net.init, jax.random.key(0), np.ones((1, 28, 28, 1), "f"))
        >>> variables = jax.tree.map(lambda x: np.ones(x.shape), shapes)
        >>> weights = to_torch("small_resnet", variables, classifier=False)
        >>> weights["layer3.0.conv1.weight"].shape, "classifier.weight" in weights
        ((64, 32, 3, 3), False)
    """
    found = {
        naming.torch_name(name, path): naming.torch_array(path, leaf)
        for path, leaf in naming.flatten(_part(variables, "encoder")).items()
    }
    if not classifier:
        found = fitting.without_classifier(found)
    shapes = {k: v.shape for k, v in found.items()}
    wanted = fitting.expected(name, shapes, options)
    if not classifier:
        wanted = fitting.without_classifier(wanted)
    fitting.check(name, "variables", wanted, shapes, given=())
    if head:
        if not is_member(variables):
            raise ValueError("head=True wants the variables of encoder and head; got an encoder's.")
        for path, leaf in naming.flatten(_part(variables, "head")).items():
            found[HEAD + naming.torch_name("", path)] = naming.torch_array(path, leaf)
    written = {}
    for key, array in found.items():
        written[prefix + key] = array
        if key.endswith(".running_var"):
            counter = key.removesuffix("running_var") + naming.COUNTER
            written[prefix + counter] = np.zeros((), np.int64)
    return written


def _array(key: str, value: Any) -> np.ndarray:
    """The value as a floating NumPy array."""
    if isinstance(value, Mapping):
        raise TypeError(
            f"state_dict[{key!r}] is a dictionary; the weights are what lies in it, or beside it."
        )
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which NumPy knows by an extension only
            value = value.float().numpy().astype(jnp.bfloat16)
    array = np.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"state_dict[{key!r}] must be floating; got {array.dtype}.")
    return array


def _without_prefix(names: Mapping[str, Any], prefix: str | None) -> dict[str, str]:
    """The names to read, each with what it is called without its prefix."""
    if prefix is not None:
        taken = {k: k.removeprefix(prefix) for k in names if k.startswith(prefix)}
        if not taken:
            raise ValueError(
                f"no name of state_dict begins with prefix {prefix!r}; the first is "
                f"{next(iter(names), None)!r}."
            )
        return taken
    module = "module." if all(k.startswith("module.") for k in names) else ""
    matches = [re.match(r"module_list\.\d+\.", k.removeprefix(module)) for k in names]
    networks = {match.group() for match in matches if match}
    if networks and all(matches):
        if len(networks) > 1:
            some = ", ".join(repr(module + network) for network in sorted(networks))
            raise ValueError(
                f"state_dict holds {len(networks)} networks; choose prefix from {some}."
            )
        module += networks.pop()
    return {k: k.removeprefix(module) for k in names}


def is_member(variables: Any) -> bool:
    """Whether these are the variables of encoder and head."""
    return variables is not None and "encoder" in variables.get("params", {})


def _part(variables: Any, part: str) -> Any:
    """The variables of encoder or head; those of an encoder alone are themselves."""
    if not is_member(variables):
        return variables
    return {kind: tree[part] for kind, tree in variables.items() if part in tree}


def _under(part: str, leaves: dict[naming.Path, Any]) -> dict[naming.Path, Any]:
    """The leaves of a part by their paths in the whole."""
    return {(path[0], part, *path[1:]): leaf for path, leaf in leaves.items()}


def _head(found: dict[str, np.ndarray], into: Any) -> dict[naming.Path, np.ndarray]:
    """The leaves of a projection head."""
    if not found:
        raise ValueError(f"state_dict has no projection head, no name under {HEAD!r}.")
    if into is None:
        paths = {key: naming.flax_path(key, array.ndim) for key, array in found.items()}
    elif not is_member(into):
        raise ValueError("head=True wants into to have encoder and head; got an encoder's.")
    else:
        wanted = fitting.places("", _part(into, "head"))
        shapes = {key: array.shape for key, array in found.items()}
        fitting.check("head", "state_dict", wanted, shapes)
        paths = {key: place.path for key, place in wanted.items()}
    return {path: naming.flax_array(path, found[key]) for key, path in paths.items()}
