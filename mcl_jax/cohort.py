"""M like networks as one: their variables are stacked, and one `vmap` runs them all.

Every leaf of a cohort's variables has the network axis M in front. Network a is initialised from
``fold_in(key, a)`` alone, so the first network of any cohort is the solo network of the same key.
"""

import os
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax import atomic
from mcl_jax.models import ProjectionHead


class Output(NamedTuple):
    """What networks say of images.

    Attributes:
        features: a tuple with an [m, B, F] for each group of like networks.
        embeddings: [M, B, D], unit vectors.
        logits: [M, B, C], of the classes.
    """

    features: tuple[jax.Array, ...]
    embeddings: jax.Array
    logits: jax.Array


class Network(nn.Module):
    """An encoder with its projection head.

    Attributes:
        encoder: images [B, H, W, c] to (logits [B, C], features [B, F]).
        head: features [B, F] to embeddings [B, D].
    """

    encoder: nn.Module
    head: nn.Module

    def __call__(
        self, images: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns features [B, F], embeddings [B, D] and logits [B, C]."""
        logits, features = self.encoder(images, train=train)
        return features, self.head(features), logits


def network(encoder: nn.Module, embedding_dim: int = 128, **options: Any) -> Network:
    """Puts a projection head (Linear-ReLU-Linear-L2) of its own behind an encoder.

    Args:
        encoder: a module as `mcl_jax.models.create` returns.
        embedding_dim: D.
        **options: further options of `mcl_jax.models.ProjectionHead`.

    Returns:
        A module to be handed to `init` and `apply`.
    """
    return Network(encoder, ProjectionHead(embedding_dim, **options))


def init(network: Network, networks: int, key: jax.Array, images: jax.Array) -> Any:
    """Initialises every network independently.

    Args:
        network: the module that all of them are.
        networks: M, at least 1.
        key: a JAX random key; network a gets ``fold_in(key, a)``.
        images: [B, H, W, c], floating; only the shape matters.

    Returns:
        Flax variables (``params``, ``batch_stats``), each leaf [M, ...].

    Raises:
        ValueError: ``networks`` is below 1.
    """
    if networks < 1:
        raise ValueError(f"networks must be at least 1, got {networks}.")
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(networks))
    return dict(jax.vmap(lambda key: network.init(key, images))(keys))


def apply(
    network: Network, variables: Any, images: jax.Array, *, train: bool
) -> tuple[Output, Any]:
    """Shows the same images to every network.

    Args:
        network: the module that all of them are.
        variables: as `init` returns, each leaf [M, ...].
        images: [B, H, W, c], floating.
        train: normalise by the batch and move the running statistics, or use these.

    Returns:
        Output of [M, B, ...] with one group of features, and the batch statistics [M, ...].
    """

    def one(variables: Any) -> tuple[Any, Any]:
        if not train:
            return network.apply(variables, images, train=False), variables["batch_stats"]
        output, moved = network.apply(variables, images, train=True, mutable=["batch_stats"])
        return output, moved["batch_stats"]

    (features, embeddings, logits), batch_stats = jax.vmap(one)(variables)
    return Output((features,), embeddings, logits), batch_stats


def size(variables: Any) -> int:
    """M, read off the stacked variables."""
    return jax.tree.leaves(variables)[0].shape[0]


def select(variables: Any, index: int) -> Any:
    """One member's variables.

    Args:
        variables: a tree whose leaves are [M, ...].
        index: the member, 0 to M - 1.

    Returns:
        The tree with leaves [...].

    Raises:
        ValueError: there is no such member.

    Example:
        >>> import jax.numpy as jnp
        >>> select({"w": jnp.arange(6).reshape(2, 3)}, 1)["w"].tolist()
        [3, 4, 5]
    """
    if not 0 <= index < size(variables):
        raise ValueError(f"index must be from 0 to {size(variables) - 1}, got {index}.")
    return jax.tree.map(lambda x: x[index], variables)


def ensemble(logits: jax.Array | np.ndarray) -> jax.Array:
    """The cohort's common answer: the mean of the networks' logits, [M, B, C] to [B, C].

    Example:
        >>> import jax.numpy as jnp
        >>> ensemble(jnp.array([[[0.0, 2.0]], [[2.0, 2.0]]])).tolist()
        [[1.0, 2.0]]
    """
    return jnp.mean(logits, axis=0)


def save_member(path: str | os.PathLike[str], variables: Any, index: int) -> None:
    """Writes one member's variables to an npz file, one array a leaf, named by its path.

    Args:
        path: the file, ending in ``.npz``; written whole or not at all.
        variables: a cohort's, leaves [M, ...].
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
    """Reads what `save_member` wrote: variables of one network, for ``network.apply``."""
    with np.load(path, allow_pickle=False) as file:
        leaves = {name: _readable(file[name]) for name in file}
    return flax.traverse_util.unflatten_dict(leaves, sep="/")


def _readable(array: np.ndarray) -> np.ndarray:
    """The array itself; npz knows no bfloat16 and hands its bytes back without a type."""
    return array.view(jnp.bfloat16) if array.dtype == np.dtype("V2") else array
