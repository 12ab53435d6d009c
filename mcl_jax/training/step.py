"""One training step of any method, as a program for each device.

The gradient recipe (`gradients`) is exact on one device, under `shard_map` with and without
``check_vma``, and under `pmap`: the loss is a mean over all devices' anchors (`Method`), each
device differentiates its part of it, and gradients are summed over the data axis. Over the cohort
axis, which wants ``check_vma``, every device computes the whole loss from gathered embeddings; the
average of those equal losses gives each device the gradient of its own networks.

A method's updates are made at the same parameters, or one after the other on the same batch where
it alternates (`Method`).

A step whose losses or gradients are not all finite changes nothing but ``state.finite``, and no
step after it changes anything: the state before it is there when the host next looks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mcl_jax.axes import Axes, everywhere
from mcl_jax.data import Batch
from mcl_jax.methods import Method, Update
from mcl_jax.training.gradients import Differentiator, Metrics
from mcl_jax.training.state import TrainState, transformation

Feed = Callable[[Any, jax.Array, jax.Array], Batch]
Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def make_step(
    method: Method, axes: Axes, feed: Feed, steps: int, unroll: bool, micro_batches: int = 1
) -> Step:
    """Builds the program that a mapper spreads over devices.

    Args:
        method: what is trained.
        axes: names of the mapped axes the program runs under.
        feed: (data, key, step) to this device's Batch.
        steps: training steps in one call.
        unroll: lays steps and micro-batches out one after the other instead of scanning. On a CPU,
            XLA runs a convolution inside a loop some 45 times slower.
        micro_batches: parts of this device's batch that the encoders see in turn.

    Returns:
        A function (state, data) to (state, metrics of the last step).
    """
    gradients = Differentiator(method, axes, micro_batches, unroll)

    def one(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        return train_step(gradients, state, feed(data, state.key, state.step))

    def unrolled(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        for _ in range(steps - 1):
            state, _ = one(state, data)
        return one(state, data)

    def scanned(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        state, metrics = jax.lax.scan(lambda state, _: one(state, data), state, length=steps)
        return state, jax.tree.map(lambda x: x[-1], metrics)

    return unrolled if unroll or steps == 1 else scanned


def train_step(
    gradients_of: Differentiator, state: TrainState, batch: Batch
) -> tuple[TrainState, Metrics]:
    """Moves the state by one batch.

    Args:
        gradients_of: losses and gradients of what is trained.
        state: the run, as it lies on this device.
        batch: this device's part of the batch.

    Returns:
        The next state and the step's metrics, the same on every device.
    """
    done = descend(gradients_of, state, batch)
    fine = jnp.all(jnp.array([all_finite(done.losses), all_finite(done.gradients)]))
    finite = state.finite & everywhere(fine, gradients_of.axes.cohort)
    moved = TrainState(state.step + 1, done.params, done.extras, done.optimizer, state.key, finite)
    kept = state._replace(finite=finite)
    return jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, kept), done.metrics


class Descent(NamedTuple):
    """What a batch does to a state, whether it is finite or not.

    Attributes:
        params: moved.
        optimizer: one state for each of the method's updates.
        extras: new.
        losses: by name.
        gradients: one for each update.
        metrics: of the step.
    """

    params: Any
    optimizer: tuple[optax.OptState, ...]
    extras: Any
    losses: dict[str, jax.Array]
    gradients: tuple[Any, ...]
    metrics: Metrics


def descend(gradients_of: Differentiator, state: TrainState, batch: Batch) -> Descent:
    """Makes the method's updates: all at the same parameters, or one after the other.

    Args:
        gradients_of: losses and gradients of what is trained.
        state: the run, as it lies on this device.
        batch: this device's part of the batch.
    """
    method = gradients_of.method
    begun, batch = method.begin(state.params, state.extras, batch)
    state = state._replace(extras=begun)
    turns = [[u] for u in method.updates] if method.alternating else [list(method.updates)]
    olds, params, extras = iter(state.optimizer), state.params, begun
    losses: dict[str, jax.Array] = {}
    metrics: Metrics = {}
    optimizer: list[optax.OptState] = []
    gradients: list[Any] = []
    for updates in turns:
        now = state._replace(params=params)
        values, found, extras, metrics = gradients_of(now, batch, updates)
        losses |= values
        gradients += found
        for update, gradient in zip(updates, found, strict=True):
            params, new = _move(update, state.step, gradient, next(olds), params)
            optimizer.append(new)
    return Descent(params, tuple(optimizer), extras, losses, tuple(gradients), metrics)


def all_finite(tree: Any) -> jax.Array:
    """Whether every number of every leaf is finite: [], bool."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def _move(
    update: Update, step: jax.Array, gradient: Any, old: optax.OptState, params: Any
) -> tuple[Any, optax.OptState]:
    """Applies one update if its turn has come."""
    deltas, new = transformation(update).update(gradient, old, params)
    moved = optax.apply_updates(params, deltas)
    if update.every == 1:
        return moved, new
    due = step % update.every == 0
    return jax.tree.map(lambda x, y: jnp.where(due, x, y), (moved, new), (params, old))
