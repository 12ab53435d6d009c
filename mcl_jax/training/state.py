"""Everything that training changes, as one value."""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mcl_jax.data import Batch
from mcl_jax.methods import Method, Update
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


def create(method: Method, key: jax.Array, batch: Batch) -> TrainState:
    """Initialises a run.

    Args:
        method: whose parameters and extras are made.
        key: JAX random key of the run.
        batch: of which only shapes matter.

    Returns:
        The state at step 0.
    """
    params, extras = method.init(stream(key, Stream.INIT), batch)
    optimizer = tuple(transformation(update).init(params) for update in method.updates)
    step, finite = jnp.zeros((), jnp.int32), jnp.ones((), bool)
    return TrainState(step, params, extras, optimizer, key, finite)
