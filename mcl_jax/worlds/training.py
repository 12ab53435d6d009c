"""How encoders of a world are trained: by contrast, or by being told the labels."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from mcl_jax import losses
from mcl_jax.worlds.encoder import Encoder
from mcl_jax.worlds.moving_digits import FRAMES, Factors, Material, Pairs, draw_pairs

_ENCODER = Encoder()
_NOTHING = Factors(False, False, False)

Params = dict[str, Any]


class Settings(NamedTuple):
    """How encoders are trained.

    Attributes:
        steps: of Adam, its rate falling to 0 as a cosine.
        batch_size: B; a row's negatives are the B - 1 others.
        learning_rate: at the start.
        temperature: of InfoNCE.
    """

    steps: int = 1000
    batch_size: int = 128
    learning_rate: float = 3e-3
    temperature: float = 0.1


def encode(params: Params, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features and embeddings of a view, by its encoder's parameters, as `Encoder` has them."""
    seen: tuple[jax.Array, jax.Array] = _ENCODER.apply(params, frames)  # type: ignore[assignment]
    return seen


def pair_loss(params: Params, pairs: Pairs, temperature: float) -> jax.Array:
    """InfoNCE between the two views' embeddings, the mean of both directions.

    Args:
        params: of the ``first`` and of the ``second`` view's encoder.
        pairs: B of them; a row's negatives are the other rows.
        temperature: above 0.

    Returns:
        A scalar.
    """
    first = encode(params["first"], pairs.first)[1]
    second = encode(params["second"], pairs.second)[1]
    logits = losses.cross_network_logits(first[None], second[None], temperature)[0, 0]
    own = jnp.eye(len(logits), dtype=bool)
    there, back = (jnp.mean(losses.info_nce(x, own)) for x in (logits, logits.T))
    return (there + back) / 2


def contrasted(key: jax.Array, material: Material, shared: Factors, settings: Settings) -> Params:
    """Trains two encoders, one of each view, by InfoNCE on fresh pairs at every step.

    Args:
        key: a JAX random key.
        material: what sequences are made of.
        shared: a boolean for each factor; all subsets run in one compiled program.
        settings: of the training.

    Returns:
        The parameters of the ``first`` and of the ``second`` encoder.
    """
    start, draws = jax.random.split(key)
    params = first_params(start, material)
    state = _optimizer(settings).init(params)
    flags = Factors(*(jnp.asarray(bool(each)) for each in shared))
    for step in range(settings.steps):
        params, state = _contrast(params, state, draws, step, material, flags, settings)
    return params


def supervised(
    key: jax.Array, material: Material, classes: tuple[int, int], settings: Settings
) -> Params:
    """Trains an encoder of the first view on its labels.

    The loss is the sum of two cross-entropies and the squared distance of the position in units of
    a fifth of the image, each read linearly from the features.

    Args:
        key: a JAX random key.
        material: what sequences are made of.
        classes: numbers of classes of digits and of backgrounds.
        settings: of the training.

    Returns:
        The parameters of the ``first`` encoder, and others.
    """
    start, draws = jax.random.split(key)
    params = {"first": first_params(start, material)["first"]}
    head = _head(classes).init(start, jnp.zeros((1, _ENCODER.features)))
    params = {**params, "head": head}
    state = _optimizer(settings).init(params)
    for step in range(settings.steps):
        params, state = _supervise(params, state, draws, step, material, classes, settings)
    return params


def first_params(key: jax.Array, material: Material) -> Params:
    """What the ``first`` and the ``second`` encoder start from.

    Args:
        key: a JAX random key.
        material: what sequences are made of.
    """
    return _first_params(key, material.backgrounds.shape[1])


def draw_batch(key: jax.Array, material: Material, shared: Factors, count: int) -> Pairs:
    """Draws so many pairs from one key."""
    return draw_pairs(jax.random.split(key, count), material, shared)


@functools.partial(jax.jit, static_argnums=1)
def _first_params(key: jax.Array, side: int) -> Params:
    keys = jax.random.split(key)
    views = {"first": 3 * FRAMES, "second": 3}
    return {
        name: _ENCODER.init(each, jnp.zeros((1, side, side, channels)))
        for each, (name, channels) in zip(keys, views.items(), strict=True)
    }


def _optimizer(settings: Settings) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(settings.learning_rate, settings.steps))


def _head(classes: tuple[int, int]) -> nn.Dense:
    """Linear read-outs side by side: digit, background, position."""
    return nn.Dense(sum(classes) + 2, kernel_init=nn.initializers.zeros)


@functools.partial(jax.jit, static_argnums=6, donate_argnums=(0, 1))
def _contrast(
    params: Params,
    state: optax.OptState,
    draws: jax.Array,
    step: jax.Array | int,
    material: Material,
    shared: Factors,
    settings: Settings,
) -> tuple[Params, optax.OptState]:
    key = jax.random.fold_in(draws, step)
    pairs = draw_batch(key, material, shared, settings.batch_size)
    gradients = jax.grad(pair_loss)(params, pairs, settings.temperature)
    moves, state = _optimizer(settings).update(gradients, state)
    return optax.apply_updates(params, moves), state


@functools.partial(jax.jit, static_argnums=(5, 6), donate_argnums=(0, 1))
def _supervise(
    params: Params,
    state: optax.OptState,
    draws: jax.Array,
    step: jax.Array | int,
    material: Material,
    classes: tuple[int, int],
    settings: Settings,
) -> tuple[Params, optax.OptState]:
    key = jax.random.fold_in(draws, step)
    pairs = draw_batch(key, material, _NOTHING, settings.batch_size)
    gradients = jax.grad(_told_loss)(params, pairs, classes)
    moves, state = _optimizer(settings).update(gradients, state)
    return optax.apply_updates(params, moves), state


def _told_loss(params: Params, pairs: Pairs, classes: tuple[int, int]) -> jax.Array:
    """What supervision minimises."""
    features = encode(params["first"], pairs.first)[0]
    said: Any = _head(classes).apply(params["head"], features)
    digit, background, position = jnp.split(said, (classes[0], sum(classes)), axis=1)
    entropy = optax.softmax_cross_entropy_with_integer_labels
    side = pairs.first.shape[1]
    places = (pairs.labels.position - (side - 1) / 2) / (side / 5)
    return (
        jnp.mean(entropy(digit, pairs.labels.digit))
        + jnp.mean(entropy(background, pairs.labels.background))
        + jnp.mean(jnp.sum((position - places) ** 2, axis=1))
    )
