"""A cohort's members apart: one taken out, one put in, files."""

import math
import os
import pathlib
import zipfile
import zlib
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax import atomic
from mcl_jax.cohort.groups import SHARING, merged, networks_of


def size(variables: Any) -> int:
    """M, read off the keys of a cohort's variables."""
    return 1 + max(max(networks_of(key) or (-1,)) for key in variables["params"])


def parameter_counts(params: Any) -> list[int]:
    """How many parameters each network has, what it shares included.

    Args:
        params: of a cohort, ``{KEY: tree}`` of arrays or of their shapes.

    Returns:
        M numbers.

    Example:
        >>> import numpy as np
        >>> two, one = {"w": np.ones((2, 3))}, {"w": np.ones((1, 5))}
        >>> parameter_counts({"networks_0_to_1": two, "network_2": one})
        [3, 3, 5]
    """
    counts: dict[int, int] = {}
    for key, tree in params.items():
        for number in networks_of(key) or ():
            flat = flax.traverse_util.flatten_dict(tree)
            sizes = (
                math.prod(leaf.shape[0 if path[0] == "shared" else 1 :])
                for path, leaf in flat.items()
            )
            counts[number] = sum(sizes)
    return [counts[number] for number in sorted(counts)]


def select(variables: Any, index: int) -> dict[str, Any]:
    """One member's variables, as the network alone has them.

    Args:
        variables: a cohort's, ``{"params": {KEY: tree}, ...}``.
        index: the member, 0 to M - 1.

    Returns:
        ``{"params": tree, "batch_stats": tree}`` with leaves [...], for ``network.apply``;
        collections in which the member has nothing are left out.

    Raises:
        ValueError: there is no such member.

    Example:
        >>> import jax.numpy as jnp
        >>> stacked = {"params": {"networks_0_to_1": {"w": jnp.arange(6).reshape(2, 3)}}}
        >>> select(stacked, 1)["params"]["w"].tolist()
        [3, 4, 5]
    """
    _check(variables, index)
    found = {}
    for collection, groups in variables.items():
        key, position = _place(groups, index)
        group = groups[key]
        shared = {"shared": group["shared"]} if group.keys() == SHARING else {}
        stacked = {name: tree for name, tree in group.items() if name not in shared}
        member = merged(shared | jax.tree.map(lambda x, i=position: x[i], stacked))
        if member:
            found[collection] = member
    return found


def replace(variables: Any, index: int, member: Any) -> dict[str, Any]:
    """A cohort's variables with one member's in the place of what was there.

    Args:
        variables: a cohort's, ``{"params": {KEY: tree}, ...}``.
        index: the member, 0 to M - 1.
        member: as `select` returns it. Stages that the member shares become all its group's.

    Returns:
        Variables like those given.

    Raises:
        ValueError: there is no such member, or ``member`` has other leaves or shapes.

    Example:
        >>> import jax.numpy as jnp
        >>> stacked = {"params": {"networks_0_to_1": {"w": jnp.arange(6).reshape(2, 3)}}}
        >>> new = replace(stacked, 0, {"params": {"w": jnp.zeros(3, jnp.int32)}})
        >>> new["params"]["networks_0_to_1"]["w"].tolist()
        [[0, 0, 0], [3, 4, 5]]
    """
    _check_like(select(variables, index), member)
    result = {}
    for collection, groups in variables.items():
        key, position = _place(groups, index)
        new = flax.traverse_util.flatten_dict(member.get(collection, {}))
        flat = flax.traverse_util.flatten_dict(groups[key])
        for path, leaf in flat.items():
            if path[0] == "shared":
                flat[path] = jnp.asarray(new[path[1:]], leaf.dtype)
            else:
                name = path[1:] if groups[key].keys() == SHARING else path
                flat[path] = jnp.asarray(leaf).at[position].set(new[name])
        result[collection] = {**groups, key: flax.traverse_util.unflatten_dict(flat)}
    return result


def save_member(path: str | os.PathLike[str], variables: Any, index: int) -> None:
    """Writes one member's variables to an npz file, one array a leaf, named by its path.

    Args:
        path: the file, ending in ``.npz``; written whole or not at all.
        variables: a cohort's, ``{"params": {KEY: tree}, ...}``.
        index: the member, 0 to M - 1.

    Raises:
        ValueError: there is no such member, or the path does not end in ``.npz``.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"path must end in .npz, got {path}.")
    leaves = flax.traverse_util.flatten_dict(select(variables, index), sep="/")
    arrays: dict[str, Any] = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    with atomic.open_to_replace(path, "wb") as file:
        np.savez(file, **arrays)


def load_member(path: str | os.PathLike[str]) -> Any:
    """Reads what `save_member` wrote: variables of one network, for ``network.apply``.

    Args:
        path: the file; nothing in it is unpickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file of a member, or a damaged one.
    """
    try:
        with open(path, "rb") as whole, np.load(whole, allow_pickle=False) as file:
            leaves = {name: _readable(file[name]) for name in file}
    except FileNotFoundError:
        raise
    # What damage does to a zip archive and to the arrays in it, or another kind of file.
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is no file of a member, or a damaged one.") from error
    if not any(name.startswith("params/") for name in leaves):
        raise ValueError(f"{path} is no file of a member: it has no params/.")
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


def _readable(array: np.ndarray) -> np.ndarray:
    """The array itself; npz knows no bfloat16 and hands its bytes back without a type."""
    return array.view(jnp.bfloat16) if array.dtype == np.dtype("V2") else array


def _check(variables: Any, index: int) -> None:
    if not 0 <= index < size(variables):
        raise ValueError(f"index must be from 0 to {size(variables) - 1}, got {index}.")


def _place(groups: Any, index: int) -> tuple[str, int]:
    """The key of the group that a member is in, and its place there."""
    for key in groups:
        networks = networks_of(key)
        if networks and index in networks:
            return key, networks.index(index)
    raise ValueError(f"there is no network {index} among {', '.join(groups)}.")


def _check_like(old: Any, new: Any) -> None:
    """Raises ValueError unless two members have the same leaves and shapes."""
    shapes = [
        {name: np.shape(leaf) for name, leaf in flax.traverse_util.flatten_dict(x, sep="/").items()}
        for x in (old, new)
    ]
    for words, names in (
        ("it lacks", shapes[0].keys() - shapes[1].keys()),
        ("it has besides", shapes[1].keys() - shapes[0].keys()),
    ):
        if names:
            raise ValueError(
                f"member must have the leaves of the network it stands for; {words} "
                f"{', '.join(sorted(names)[:3])}."
            )
    for name, shape in shapes[0].items():
        if shapes[1][name] != shape:
            raise ValueError(f"member must have {name} of shape {shape}, got {shapes[1][name]}.")
