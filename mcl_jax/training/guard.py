"""What went wrong in a step whose loss or gradient is not finite, and embeddings that collapse."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax import atomic
from mcl_jax.axes import Axes
from mcl_jax.data import Batch
from mcl_jax.methods import Method
from mcl_jax.training.optimizer import path_name
from mcl_jax.training.state import TrainState
from mcl_jax.training.step import Feed, Step, differentiate

# Two different images are this alike to a network that tells nothing apart.
COLLAPSED = 0.999
_NAMED = 3


class NotFiniteError(FloatingPointError):
    """A loss or a gradient is not finite: one sentence that names step, term and network."""


def make_inspection(method: Method, axes: Axes, feed: Feed) -> Step:
    """Builds the program that repeats a step and says which of its numbers are finite.

    Args:
        method: what is trained.
        axes: names of the mapped axes the program runs under.
        feed: (data, key, step) to this device's Batch.

    Returns:
        A function (state, data) to (state, tree of bool): ``metrics``, each as finite or not,
        and ``gradients``, whose leaves are [M] where a parameter is [M, ...].
    """

    def of_networks(leaf: jax.Array) -> jax.Array:
        return jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))

    def inspect(state: TrainState, data: Any) -> tuple[TrainState, dict[str, Any]]:
        batch = feed(data, state.key, state.step)
        values, gradients, _, metrics = differentiate(method, axes, state, batch)
        return state, {
            "metrics": jax.tree.map(jnp.isfinite, {**values, **metrics}),
            "gradients": jax.tree.map(of_networks, gradients),
        }

    return inspect


def describe(finite: dict[str, Any]) -> str:
    """Names the terms and the networks that are not finite.

    Args:
        finite: as the program of `make_inspection` returns it, on the host.

    Returns:
        A phrase such as ``"cross_entropy of network 1, loss and the gradient of network 1
        (encoder/conv1/kernel)"``.

    Example:
        >>> import numpy as np
        >>> metrics = {"loss": np.array(False), "cross_entropy": np.array([True, False])}
        >>> describe({"metrics": metrics, "gradients": ({"w": np.array([True, False])},)})
        'cross_entropy of network 1, loss and the gradient of network 1 (w)'
    """
    terms = [
        name + _networks(np.flatnonzero(~np.atleast_1d(good)), np.ndim(good) > 0)
        for name, good in sorted(finite["metrics"].items())
        if not np.all(good)
    ]
    broken = {
        path_name(path[1:]): np.flatnonzero(~np.atleast_1d(good))
        for path, good in jax.tree_util.tree_leaves_with_path(finite["gradients"])
        if not np.all(good)
    }
    if broken:
        some = ", ".join(list(broken)[:_NAMED]) + (", ..." if len(broken) > _NAMED else "")
        networks = np.unique(np.concatenate(list(broken.values())))
        terms.append(f"the gradient{_networks(networks, True)} ({some})")
    return " and ".join([", ".join(terms[:-1]), terms[-1]]) if terms[1:] else "".join(terms)


def _networks(indices: np.ndarray, known: bool) -> str:
    """`` of networks 0 and 1``, or nothing where a number belongs to all networks."""
    if not known:
        return ""
    return f" of network{'s' * (len(indices) > 1)} {' and '.join(map(str, indices))}"


def write_batch(folder: pathlib.Path, step: int, batch: Batch) -> pathlib.Path:
    """Writes the batch of a step that failed to ``not_finite_step_STEP.npz``.

    Args:
        folder: the workdir.
        step: the step that the batch was for, counted from 1.
        batch: arrays [B, ...].

    Returns:
        The file, with the arrays ``images``, ``labels``, ``index`` and ``step``.
    """
    path = folder / f"not_finite_step_{step}.npz"
    arrays: dict[str, Any] = {**batch._asdict(), "step": np.asarray(step)}
    with atomic.open_to_replace(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def collapsed(metrics: dict[str, Any]) -> list[int]:
    """Networks whose embeddings are all alike, by ``metrics["mean_cosine"]`` [M] if it is there."""
    return [a for a, cosine in enumerate(metrics.get("mean_cosine", ())) if cosine > COLLAPSED]
