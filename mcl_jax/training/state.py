"""Everything that training changes, as one value."""

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

from mcl_jax.data import Batch
from mcl_jax.methods import Method, Specs, Update
from mcl_jax.training.optimizer import path_name


class Stream(enum.IntEnum):
    """What randomness is for: each use has a key of its own."""

    INIT = 0
    DATA = 1
    STEP = 2


def stream(key: jax.Array, use: Stream) -> jax.Array:
    """The run's key for one use."""
    return jax.random.fold_in(key, int(use))


class TrainState(NamedTuple):
    """A checkpoint is this tree and nothing more.

    Attributes:
        step: [], int32, steps done.
        params: the method's parameters.
        extras: the method's other state: batch statistics, queues, momentum networks.
        optimizer: one state for each of the method's updates.
        key: JAX random key of the run, never changed; `stream` and the step make others of it.
        finite: [], bool. Once a loss or a gradient is not, the state stays where it was.
    """

    step: jax.Array
    params: Any
    extras: Any
    optimizer: tuple[optax.OptState, ...]
    key: jax.Array
    finite: jax.Array


def transformation(update: Update) -> optax.GradientTransformation:
    """The update's optimiser on the parameters it moves; the others stay."""

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: "moves" if update.moves(path_name(path)) else "stays", params
        )

    return optax.partition({"moves": update.optimizer, "stays": optax.set_to_zero()}, labels)


def create(
    method: Method,
    key: jax.Array,
    batch: Batch,
    weights: Any = None,
    given: Mapping[str, Any] | None = None,
) -> TrainState:
    """Initialises a run.

    Args:
        method: whose parameters and extras are made.
        key: JAX random key of the run.
        batch: of which only shapes matter.
        weights: what ``method.read`` has read, if anything.
        given: what ``method.given`` gives; None leaves what ``method.init`` makes, the same.

    Returns:
        The state at step 0.
    """
    params, extras = method.init(stream(key, Stream.INIT), batch)
    extras = {**extras, **(given or {})}
    if weights is not None:
        params, extras = method.load(params, extras, weights)
    optimizer = tuple(transformation(update).init(params) for update in method.updates)
    step, finite = jnp.zeros((), jnp.int32), jnp.ones((), bool)
    return TrainState(step, params, extras, optimizer, key, finite)


def layout(like: TrainState, specs: Specs) -> TrainState:
    """How every leaf of a state lies over the mesh; the optimiser's as the parameters they are of.

    Args:
        like: structure and shapes of the state.
        specs: of the method.

    Returns:
        A state of PartitionSpecs.
    """
    whole = PartitionSpec()
    params, extras = (
        jax.tree.map(
            lambda spec, tree: jax.tree.map(lambda _, spec=spec: spec, tree),
            prefix,
            tree,
            is_leaf=lambda x: isinstance(x, PartitionSpec),
        )
        for prefix, tree in ((specs.params, like.params), (specs.extras, like.extras))
    )
    by_path = {
        path: (leaf.shape, spec)
        for (path, leaf), spec in zip(
            jax.tree_util.tree_leaves_with_path(like.params), jax.tree.leaves(params), strict=True
        )
    }

    def of_optimizer(path: tuple[Any, ...], leaf: Any) -> PartitionSpec:
        # Transformations keep trees like the parameters somewhere inside their states.
        ends = (path[start:] for start in range(len(path)))
        shape, spec = next((by_path[end] for end in ends if end in by_path), (None, whole))
        if shape != leaf.shape and spec != whole:
            raise ValueError(
                f"an optimiser whose state is shaped as its parameters is wanted where these are "
                f"split over devices, got {leaf.shape} for {shape} at {path_name(path)}."
            )
        return spec

    optimizer = jax.tree_util.tree_map_with_path(of_optimizer, like.optimizer)
    everything = jax.tree.map(lambda _: whole, like._replace(params=None, extras=None))
    return everything._replace(params=params, extras=extras, optimizer=optimizer)
