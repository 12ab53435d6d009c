"""Losses of a step and what each update is to descend, of a batch at once or in micro-batches.

In micro-batches the contrast is still over the whole batch: the encoders run without a gradient and
their outputs are kept, the objective is differentiated with respect to these outputs, and then the
encoders run again, part by part, each with its part of that derivative (gradient caching, Gao et
al., arXiv 2101.06983). Values and gradients are those of the whole batch with batch statistics
taken over as many groups.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mcl_jax.axes import Axes, own, pmean, psum, size
from mcl_jax.data import Batch
from mcl_jax.methods import Method, Update
from mcl_jax.training.optimizer import path_name
from mcl_jax.training.state import Stream, TrainState, stream

Metrics = dict[str, jax.Array]
Losses = dict[str, jax.Array]


class Differentiator(NamedTuple):
    """Differentiates a method's losses.

    Under ``check_vma`` a gradient of what is the same on all devices is summed over them wherever
    it arises, layer by layer. Here parameters are each device's own while they are differentiated,
    and gradients are summed once, at the end; the same works under `pmap` and without
    ``check_vma``.

    Attributes:
        method: what is trained.
        axes: names of the mapped axes this runs under.
        micro_batches: parts of this device's batch that the encoders see in turn.
        unroll: lays the parts out one after the other instead of scanning.
    """

    method: Method
    axes: Axes
    micro_batches: int = 1
    unroll: bool = True

    def __call__(
        self, state: TrainState, batch: Batch, updates: Sequence[Update]
    ) -> tuple[Losses, tuple[Any, ...], Any, Metrics]:
        """The losses of a step and what some updates are to descend.

        Args:
            state: the run, as it lies on this device, after ``method.begin``.
            batch: this device's part of the batch, after the same.
            updates: of the method; for one that alternates, those that are now made at once. What
                they do not move is then not differentiated by, and other losses are left out.

        Returns:
            Losses by name, a gradient for each of the updates, new extras, and metrics; losses and
            metrics are the same on every device.
        """
        key = jax.random.fold_in(stream(state.key, Stream.STEP), state.step)
        embed_key, objective_key = jax.random.split(key)
        before, alternating = state.extras, self.method.alternating

        def embed(params: Any, part: Batch) -> tuple[Any, Any]:
            params = _held(params, updates) if alternating else params
            outputs, extras = self.method.embed(params, before, part, embed_key, True)
            return outputs, _changes(extras, before)

        def losses(outputs: Any, extras: Any) -> tuple[Losses, tuple[Losses, Any, Metrics]]:
            extras = _changed(before, extras)
            loss, (extras, metrics) = self.method.objective(outputs, extras, batch, objective_key)
            named = loss if isinstance(loss, dict) else {"loss": loss}
            if alternating:
                named = {update.loss: named[update.loss] for update in updates}
            named, metrics = pmean((named, metrics), self.axes.cohort)
            return own(named, data), (named, extras, metrics)

        data = self.axes.data
        differentiate = self._at_once if self.micro_batches == 1 else self._in_parts
        pullback, (values, extras, metrics) = differentiate(
            embed, losses, own(state.params, data), batch
        )
        gradients = []
        for update in updates:
            # The loss is one for all devices: each passes its part of the derivative on.
            cotangents = {
                name: own(jnp.full_like(value, (name == update.loss) / size(data)), data)
                for name, value in values.items()
            }
            gradients.append(psum(pullback(cotangents), data))
        return values, tuple(gradients), extras, metrics

    def _at_once(
        self, embed: Callable[..., Any], losses: Callable[..., Any], params: Any, batch: Batch
    ) -> tuple[Callable[[Losses], Any], tuple[Losses, Any, Metrics]]:
        """(cotangents of losses) to gradients of parameters, and losses, extras and metrics."""
        _, pullback, found = jax.vjp(
            lambda params: losses(*embed(params, batch)), params, has_aux=True
        )
        return lambda cotangents: pullback(cotangents)[0], found

    def _in_parts(
        self, embed: Callable[..., Any], losses: Callable[..., Any], params: Any, batch: Batch
    ) -> tuple[Callable[[Losses], Any], tuple[Losses, Any, Metrics]]:
        """As `_at_once`, with the activations of one micro-batch in memory at a time."""
        count = self.micro_batches
        parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
        outputs, extras = self._each(lambda part: embed(params, part), parts)
        outputs = jax.tree.map(functools.partial(_joined, rows=len(parts.index[0])), outputs)
        extras = jax.tree.map(_mean, extras)
        _, to_outputs, found = jax.vjp(
            lambda outputs: losses(outputs, extras), outputs, has_aux=True
        )

        def pullback(cotangents: Losses) -> Any:
            of_outputs = jax.tree.map(lambda x: _divided(x, count), to_outputs(cotangents)[0])

            def gradient(part: tuple[Batch, Any]) -> Any:
                rows, cotangent = part
                _, to_params = jax.vjp(lambda params: embed(params, rows)[0], params)
                return to_params(cotangent)[0]

            return self._sum(gradient, (parts, of_outputs))

        return pullback, found

    def _each(self, function: Callable[[Any], Any], parts: Any) -> Any:
        """The function of every part, stacked."""
        if not self.unroll:
            return jax.lax.map(function, parts)
        results: list[Any] = []
        for index in range(self.micro_batches):
            results.append(function(_after(_part(parts, index), results[-1:])))
        return jax.tree.map(lambda *x: jnp.stack(x), *results)

    def _sum(self, function: Callable[[Any], Any], parts: Any) -> Any:
        """The sum of the function of every part."""
        total = function(_part(parts, 0))
        if self.unroll:
            for index in range(1, self.micro_batches):
                more = function(_after(_part(parts, index), total))
                total = jax.tree.map(jnp.add, total, more)
            return total
        rest = jax.tree.map(lambda x: x[1:], parts)
        return jax.lax.scan(
            lambda total, part: (jax.tree.map(jnp.add, total, function(part)), None), total, rest
        )[0]


def _held(params: Any, updates: Sequence[Update]) -> Any:
    """The parameters, differentiable by those alone that an update moves."""

    def held(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        moves = any(update.moves(path_name(path)) for update in updates)
        return leaf if moves else jax.lax.stop_gradient(leaf)

    return jax.tree_util.tree_map_with_path(held, params)


def _changes(tree: Any, before: Any) -> Any:
    """The leaves that are not what they were; the others would be copied for each micro-batch."""
    return jax.tree.map(lambda new, old: None if new is old else new, tree, before)


def _changed(before: Any, changes: Any) -> Any:
    """Inverse of `_changes`."""
    return jax.tree.map(
        lambda new, old: old if new is None else new, changes, before, is_leaf=lambda x: x is None
    )


def _part(parts: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], parts)


def _after(part: Any, before: Any) -> Any:
    """The part, not to be worked on before ``before`` is there: memory is that of one part."""
    return jax.lax.optimization_barrier((part, before))[0]


def _joined(x: jax.Array, rows: int) -> jax.Array:
    """[k, M, b, ...] -> [M, k * b, ...]."""
    if x.shape[2:3] != (rows,):
        raise ValueError(
            f"outputs of embed must be [M, {rows}, ...] for a micro-batch of {rows}, got "
            f"{x.shape[1:]}."
        )
    return jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])


def _divided(x: jax.Array, count: int) -> jax.Array:
    """[M, k * b, ...] -> [k, M, b, ...], the inverse of `_joined`."""
    return jnp.moveaxis(x.reshape(x.shape[0], count, -1, *x.shape[2:]), 1, 0)


def _mean(x: jax.Array) -> jax.Array:
    """The mean over micro-batches; what is the same in each, or not floating, stays as it is."""
    return x[0] + jnp.mean(x - x[0], axis=0) if jnp.issubdtype(x.dtype, jnp.floating) else x[-1]
