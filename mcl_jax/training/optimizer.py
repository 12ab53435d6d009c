"""Stochastic gradient descent as the papers use it, and Adam, on stacked parameters.

Decay masks go by name and clipping by network, since neither rank nor a norm over the whole tree
means what it does for one network: a stacked bias has rank 2, and a common norm couples networks.
"""

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from mcl_jax.cohort import networks_of
from mcl_jax.config import ConfigError


def path_name(path: tuple[Any, ...]) -> str:
    """A key path of a tree as ``"encoder/conv1/kernel"``."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def unmatched(exclude: Sequence[str]) -> Any:
    """Chooses parameters whose path matches none of the patterns: what decays, or is scheduled.

    Args:
        exclude: regular expressions, searched for in ``"encoder/conv1/kernel"`` and the like.

    Returns:
        A function from parameters to a tree of bool.

    Example:
        >>> unmatched(["bias$"])({"dense": {"kernel": 1.0, "bias": 1.0}})
        {'dense': {'bias': False, 'kernel': True}}
    """
    patterns = [re.compile(pattern) for pattern in exclude]

    def mask(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, _: not any(pattern.search(path_name(path)) for pattern in patterns), params
        )

    return mask


def clip_per_network(max_norm: float) -> optax.GradientTransformation:
    """Scales each network's gradient to a norm of at most ``max_norm``.

    Computes ``g[a] min(1, max_norm / ||g[a]||)``, the norm over all parameters of network a; what
    networks share is clipped by a norm of its own, and so is what belongs to no network.

    Args:
        max_norm: above 0.

    Returns:
        A transformation of a cohort's gradients, ``{KEY: tree}`` as `mcl_jax.cohort` has them.

    Example:
        >>> import jax.numpy as jnp
        >>> clip = clip_per_network(1.0)
        >>> gradients = {"networks_0_to_1": {"w": jnp.array([[3.0, 4.0], [0.3, 0.4]])}}
        >>> clip.update(gradients, clip.init({}))[0]["networks_0_to_1"]["w"].round(3).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.30000001192092896, 0.4000000059604645]]
    """

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, Any]:
        del params
        squares: dict[tuple[str, bool], jax.Array] = {}
        for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
            owner, own_axes = _owner(path, leaf)
            squares[owner] = squares.get(owner, 0.0) + jnp.sum(jnp.square(leaf), own_axes)

        def clipped(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
            owner, own_axes = _owner(path, leaf)
            norm = jnp.expand_dims(jnp.sqrt(squares[owner]), own_axes)
            return jnp.where(norm > max_norm, leaf / norm * max_norm, leaf)

        return jax.tree_util.tree_map_with_path(clipped, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _owner(path: tuple[Any, ...], leaf: jax.Array) -> tuple[tuple[str, bool], tuple[int, ...]]:
    """Whose a parameter is, and its axes beside that of networks, which not all have."""
    key, *rest = path_name(path).split("/")
    stacked = networks_of(key) is not None and rest[:1] != ["shared"]
    owner = key if networks_of(key) is not None else ""
    return (owner, stacked), tuple(range(int(stacked), leaf.ndim))


def learning_rate(config: ConfigDict, steps: int, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate at each step.

    Warm-up rises linearly from ``warmup_from`` to ``learning_rate`` over ``warmup_epochs``; then

    * ``"constant"`` stays,
    * ``"cosine"`` is ``learning_rate (1 + cos(pi t / T)) / 2`` over the steps that are left,
    * ``"step"`` is multiplied by ``gamma`` at each of ``milestones`` (epochs, from the start),
    * ``"pycontrast"`` is in epoch e = 1 ... E, with a floor of ``low = gamma^3 learning_rate``,
      ``low + (learning_rate - low) (1 + cos(pi e / E)) / 2``, and warm-up rises to its value in
      the last epoch of warm-up (InfoMin's authors, arXiv 2005.10243; their gamma is 0.1).

    With ``per_epoch`` it moves, after warm-up, at the first step of an epoch alone (the authors').

    Args:
        config: ``config.optimizer`` of a run.
        steps: of the whole run.
        steps_per_epoch: steps in one pass over the training rows.

    Returns:
        A function of the step.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    peak = config.learning_rate
    after: optax.Schedule
    if config.schedule == "pycontrast":
        return _pycontrast(config, warmup, steps, steps_per_epoch)
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    elif config.schedule == "step":
        drops: dict[int, float] = {}
        for epoch in config.milestones:
            step = round(epoch * steps_per_epoch) - warmup
            drops[step] = drops.get(step, 1.0) * config.gamma
        after = optax.piecewise_constant_schedule(peak, drops)
    else:
        after = optax.constant_schedule(peak)
    rise = optax.linear_schedule(config.warmup_from, peak, max(warmup, 1))
    schedule = optax.join_schedules([rise, after], [warmup])
    if not config.per_epoch:
        return schedule
    return lambda step: schedule(
        jnp.where(step < warmup, step, step // steps_per_epoch * steps_per_epoch)
    )


def _pycontrast(
    config: ConfigDict, warmup: int, steps: int, steps_per_epoch: int
) -> optax.Schedule:
    """A cosine of whole epochs, counted from 1, with a floor; warm-up meets it."""
    epochs, peak = math.ceil(steps / steps_per_epoch), config.learning_rate
    low = peak * config.gamma**3

    def after(epoch: Any) -> Any:
        return low + (peak - low) * (1 + jnp.cos(jnp.pi * epoch / epochs)) / 2

    rise = optax.linear_schedule(
        config.warmup_from, after(warmup / steps_per_epoch), max(warmup, 1)
    )
    return lambda step: jnp.where(step < warmup, rise(step), after(step // steps_per_epoch + 1))


def create(config: ConfigDict, steps: int, steps_per_epoch: int) -> optax.GradientTransformation:
    """SGD with momentum, or Adam; decay joins the gradient before either, as in PyTorch.

    Args:
        config: ``config.optimizer`` of a run.
        steps: of the whole run.
        steps_per_epoch: steps in one pass over the training rows.

    Returns:
        A transformation of gradients whose leaves are [M, ...].
    """
    parts = []
    if config.clip_norm:
        parts.append(clip_per_network(config.clip_norm))
    if config.weight_decay:
        mask = unmatched(config.decay_exclude)
        parts.append(optax.add_decayed_weights(config.weight_decay, mask))
    rate = learning_rate(config, steps, steps_per_epoch)
    if not config.constant:
        return optax.chain(*parts, _rule(config, rate))
    rules = {True: _rule(config, rate), False: _rule(config, config.learning_rate)}
    return optax.chain(*parts, optax.partition(rules, functools.partial(_scheduled, config)))


def _scheduled(config: ConfigDict, params: Any) -> Any:
    """Which parameters' rates follow the schedule; a pattern that finds none is a mistake."""
    for pattern in config.constant:
        if all(jax.tree.leaves(unmatched([pattern])(params))):
            raise ConfigError(
                f"optimizer.constant must hold patterns of parameters that there are, got "
                f"{pattern!r}, which matches none."
            )
    return unmatched(config.constant)(params)


def _rule(config: ConfigDict, rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """SGD or Adam at a learning rate."""
    if config.name == "adam":
        return optax.adam(rate, b1=config.beta1, b2=config.beta2)
    return optax.sgd(rate, momentum=config.momentum or None, nesterov=config.nesterov)
