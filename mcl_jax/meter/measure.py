"""Fits a critic to pairs of views, and reads bounds on rows that it has not seen."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mcl_jax import mutual_information
from mcl_jax.meter.critic import Critic, parameter_count
from mcl_jax.meter.drawing import Pair, Scale, drawer, sample, scale
from mcl_jax.meter.reading import Both, Reading


class Settings(NamedTuple):
    """What a reading depends on besides the views; to be the same wherever readings are compared.

    Attributes:
        steps: that the critic is fitted for.
        batch_size: rows of a step, one the positive and the others negatives of an anchor.
        candidates: K of the InfoNCE reading, the positive counted.
        draws: of views of each held-out row.
        width: of the critic.
        dim: numbers in what its encoders make.
        learning_rate: of Adam at its peak; it falls to 0 as a cosine.
    """

    steps: int = 400
    batch_size: int = 256
    candidates: int = 256
    draws: int = 2
    width: int = 16
    dim: int = 64
    learning_rate: float = 2e-3


def measure(
    pair: Pair,
    train: jax.Array | np.ndarray,
    held_out: jax.Array | np.ndarray,
    *,
    key: jax.Array,
    settings: Settings = Settings(),  # noqa: B008  it cannot change
) -> Reading:
    """How much two views of a row share: bounds on ``I(first; second)``, in nats.

    A critic ``f(x, y)`` is fitted to views of training rows by InfoNCE, the mean of both directions
    (Adam); views are drawn anew in each step. On held-out rows it gives

        InfoNCE             log K - mean_i [ -f(x_i, y_i) + log sum_k exp f(x_i, y_k) ]
        Donsker-Varadhan    mean_i t(x_i, y_i) - log mean_{i != k} exp t(x_i, y_k)
        NWJ                 mean_i t'(x_i, y_i) - mean_{i != k} exp(t'(x_i, y_k) - 1),  t' = t + 1

    with ``t(x, y) = f(x, y) - log mean_j exp f(x, y'_j)``, y' views of training rows: InfoNCE
    leaves a function of x free that the others need to be right. All are of a critic that has not
    seen the rows, and so lower bounds in expectation (Donsker-Varadhan's as rows go to infinity):
    they tell how much the views share at least, and compare views only where rows, ``settings`` and
    the views' shape are the same.

    Args:
        pair: makes two views; of any shape [B, H, W, c] or [B, F], floating.
        train: [N, ...], rows that the critic is fitted on, as ``pair`` takes them.
        held_out: [n, ...], other rows; of them the first multiple of K is read on.
        key: JAX random key: the critic's parameters, rows and views.
        settings: the critic and how it is fitted.

    Returns:
        The reading, with both directions.

    Raises:
        ValueError: there are fewer rows than a batch or than K, or a number is out of its range.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (600, 1))
        >>> same, small = lambda keys, x: (x, x), Settings(20, 32, 32)
        >>> reading = measure(same, x[:500], x[500:], key=jax.random.key(1), settings=small)
        >>> 0.5 < reading.bound < reading.most
        True

    InfoNCE: van den Oord et al., arXiv 1807.03748. What Makes for Good Views, arXiv 2005.10243,
    reads it off the loss of the contrastive training itself, of two half-width ResNet-50; here the
    critic is small, the same for all views, and read on rows held out.
    """
    train, held_out = jnp.asarray(train), jnp.asarray(held_out)
    _check(train, held_out, settings)
    fit_key, read_key, scale_key, init_key = jax.random.split(key, 4)
    views = drawer(pair)
    some = sample(views, scale_key, train, settings.batch_size)
    scales = scale(some[0]), scale(some[1])
    critic = Critic(settings.width, settings.dim)
    first, second = (own(view[:1]) for own, view in zip(scales, some, strict=True))
    params = critic.init(init_key, first, second)
    state = (params, _optimizer(settings).init(params))
    for step in range(settings.steps):
        seen = views(jax.random.fold_in(fit_key, step), train, 1, settings.batch_size)
        state = _fit(critic, settings, scales, state, *seen)
    blocks = len(held_out) // settings.candidates
    readings = [
        _read(
            critic,
            settings.candidates,
            scales,
            state[0],
            some,
            views(own, held_out, blocks, settings.candidates),
        )
        for own in jax.random.split(read_key, settings.draws)
    ]
    info_nce, varadhan, nwj = np.mean(np.asarray(jax.device_get(readings)), axis=0)
    return Reading(
        _both(info_nce),
        _both(varadhan),
        _both(nwj),
        settings.candidates,
        critic.words(first),
        parameter_count(params),
        settings.steps,
        settings.batch_size,
        blocks * settings.candidates,
        settings.draws,
    )


def _check(train: jax.Array, held_out: jax.Array, settings: Settings) -> None:
    """Raises ValueError unless a critic can be fitted and read."""
    for name in ("steps", "draws", "width", "dim"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(settings, name)}.")
    for rows, name, needed in (
        (train, "train", "batch_size"),
        (held_out, "held_out", "candidates"),
    ):
        least = getattr(settings, needed)
        if least < 2:
            raise ValueError(f"{needed} must be at least 2, got {least}.")
        if len(rows) < least:
            raise ValueError(f"{name} must have the {least} rows of {needed}, got {len(rows)}.")


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.steps))


@functools.partial(jax.jit, static_argnames=("critic", "settings"), donate_argnames="state")
def _fit(
    critic: Critic,
    settings: Settings,
    scales: tuple[Scale, Scale],
    state: tuple[Any, optax.OptState],
    first: jax.Array,
    second: jax.Array,
) -> tuple[Any, optax.OptState]:
    """One step up InfoNCE's bound."""
    params, optimizer = state

    def loss(params: Any) -> jax.Array:
        scores = _scores(critic, scales, params, first, second)
        return -(_info_nce(scores) + _info_nce(scores.T)) / 2

    updates, optimizer = _optimizer(settings).update(jax.grad(loss)(params), optimizer)
    return optax.apply_updates(params, updates), optimizer


@functools.partial(jax.jit, static_argnames=("critic", "candidates"))
def _read(
    critic: Critic,
    candidates: int,
    scales: tuple[Scale, Scale],
    params: Any,
    trained_on: tuple[jax.Array, jax.Array],
    held_out: tuple[jax.Array, jax.Array],
) -> jax.Array:
    """The three bounds in both directions: [3, 2]."""
    scored = functools.partial(_scores, critic, scales, params)
    scores = scored(*held_out)
    free = scored(held_out[0], trained_on[1]), scored(trained_on[0], held_out[1]).T
    return jnp.stack(
        [_bounds(s, t, candidates) for s, t in zip((scores, scores.T), free, strict=True)], axis=1
    )


def _scores(
    critic: Critic,
    scales: tuple[Scale, Scale],
    params: Any,
    first: jax.Array,
    second: jax.Array,
) -> jax.Array:
    """Scores [A, B] of views as they come."""
    scores: Any = critic.apply(params, scales[0](first), scales[1](second))
    return scores


def _bounds(scores: jax.Array, others: jax.Array, candidates: int) -> jax.Array:
    """The three bounds [3] of scores [n, n], and [n, k] with views of training rows."""
    blocks = len(scores) // candidates
    corners = jnp.arange(blocks) * candidates
    square = jax.vmap(
        lambda corner: jax.lax.dynamic_slice(scores, (corner, corner), (candidates, candidates))
    )(corners)
    info_nce = jnp.mean(jax.vmap(_info_nce)(square))
    mean = jax.nn.logsumexp(others, axis=1, keepdims=True) - jnp.log(float(others.shape[1]))
    joint, marginal = mutual_information.joint_and_marginal(scores - mean)
    varadhan = mutual_information.donsker_varadhan(joint, marginal)
    return jnp.stack([info_nce, varadhan, mutual_information.nwj(joint + 1, marginal + 1)])


def _info_nce(scores: jax.Array) -> jax.Array:
    """The reading of scores [B, B] with B candidates."""
    return mutual_information.info_nce(*mutual_information.joint_and_marginal(scores))


def _both(values: np.ndarray) -> Both:
    first, second = values.tolist()
    return first, second
