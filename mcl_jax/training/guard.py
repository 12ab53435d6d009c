"""What went wrong in a step whose loss or gradient is not finite, and embeddings that collapse."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax import atomic, cohort
from mcl_jax.data import Batch
from mcl_jax.training.gradients import Differentiator
from mcl_jax.training.optimizer import path_name
from mcl_jax.training.state import TrainState
from mcl_jax.training.step import Feed, Step, descend

# Two different images are this alike to a network that tells nothing apart.
COLLAPSED = 0.999
# Embeddings on one line; those of two classes may well lie on one.
_LINE = 1.5
_NAMED = 3


class NotFiniteError(FloatingPointError):
    """A loss or a gradient is not finite: one sentence that names step, term and network."""


def make_inspection(gradients_of: Differentiator, feed: Feed) -> Step:
    """Builds the program that repeats a step and says which of its numbers are finite.

    Args:
        gradients_of: losses and gradients of what is trained.
        feed: (data, key, step) to this device's Batch.

    Returns:
        A function (state, data) to (state, tree of bool): ``metrics``, each as finite or not, and
        ``gradients``, as the parameters are, each number as finite or not.
    """

    def inspect(state: TrainState, data: Any) -> tuple[TrainState, dict[str, Any]]:
        batch = feed(data, state.key, state.step)
        done = descend(gradients_of, state, batch)
        return state, {
            "metrics": jax.tree.map(jnp.isfinite, {**done.losses, **done.metrics}),
            "gradients": jax.tree.map(jnp.isfinite, done.gradients),
        }

    return inspect


def describe(finite: dict[str, Any]) -> str:
    """Names the terms and the networks that are not finite.

    Args:
        finite: as the program of `make_inspection` returns it, on the host.

    Returns:
        A phrase such as ``"cross_entropy of network 1, loss and the gradient of network 1
        (networks_0_to_1/encoder/conv1/kernel)"``.

    Example:
        >>> import numpy as np
        >>> metrics = {"loss": np.array(False), "cross_entropy": np.array([True, False])}
        >>> gradients = {"networks_0_to_1": {"w": np.array([[True, True], [True, False]])}}
        >>> describe({"metrics": metrics, "gradients": (gradients,)})
        'cross_entropy of network 1, loss and the gradient of network 1 (networks_0_to_1/w)'
    """
    terms = [
        name + _networks(_bad_rows(good), np.ndim(good) > 0)
        for name, good in sorted(finite["metrics"].items())
        if not np.all(good)
    ]
    broken = {
        path_name(path[1:]): good
        for path, good in jax.tree_util.tree_leaves_with_path(finite["gradients"])
        if not np.all(good)
    }
    if broken:
        some = ", ".join(list(broken)[:_NAMED]) + (", ..." if len(broken) > _NAMED else "")
        networks = sorted({a for name, good in broken.items() for a in _owners(name, good)})
        terms.append(f"the gradient{_networks(networks, bool(networks))} ({some})")
    return " and ".join([", ".join(terms[:-1]), terms[-1]]) if terms[1:] else "".join(terms)


def _bad_rows(good: np.ndarray) -> np.ndarray:
    """The networks of which something is not finite, of [M] or of [M, M]."""
    rows = np.reshape(good, (len(good) if np.ndim(good) else 1, -1))
    return np.flatnonzero(~rows.all(axis=1))


def _owners(name: str, good: np.ndarray) -> list[int]:
    """The networks whose numbers are not finite; none for a parameter of several networks."""
    key, *rest = name.split("/")
    networks = cohort.networks_of(key)
    if networks is None or "shared" in rest[:1]:
        return []
    return [a for a, one in zip(networks, good, strict=True) if not np.all(one)]


def _networks(indices: Sequence[int] | np.ndarray, known: bool) -> str:
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


def collapsed(metrics: dict[str, Any], dim: int, classes: int) -> dict[int, str]:
    """Networks whose embeddings are all alike, or all on a line.

    Args:
        metrics: of a step, of which ``mean_cosine``, ``embedding_std`` and ``effective_rank``, all
            [M], count where they are there.
        dim: D of the embeddings.
        classes: of the data set.

    Returns:
        For each such network the reading that tells, as a phrase.

    Example:
        >>> collapsed({"mean_cosine": [0.2, 0.9995], "effective_rank": [1.2, 1.3]}, 8, 10)[1]
        'two different images have a mean cosine of 0.9995'
    """
    found: dict[int, str] = {}
    if classes > 2:
        for network, rank in enumerate(metrics.get("effective_rank", ())):
            if rank < _LINE:
                found[network] = f"they lie in {rank:.2f} directions (effective rank)"
    spread = dim**-0.5
    for network, std in enumerate(metrics.get("embedding_std", ())):
        if std < math.sqrt(1 - COLLAPSED) * spread:
            found[network] = (
                f"their coordinates have a standard deviation of {std:.5f}, where spread ones have "
                f"{spread:.3f}"
            )
    for network, cosine in enumerate(metrics.get("mean_cosine", ())):
        if cosine > COLLAPSED:
            found[network] = f"two different images have a mean cosine of {cosine:.4f}"
    return found
