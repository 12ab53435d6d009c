"""What a pair of encoders learns from pairs that share some factors: one run, and its errors."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax import data, mutual_information
from mcl_jax.worlds import training
from mcl_jax.worlds.moving_digits import FACTORS, Factors, Labels, Material
from mcl_jax.worlds.read_outs import read_classes, read_positions
from mcl_jax.worlds.training import Params, Settings

CANDIDATES = 256  # of a held-out reading, the positive counted
SIDE = 24  # of an image
FITTED, HELD_OUT = 4096, 2048  # sequences that read-outs are fitted to, and judged on

SUBSETS = tuple(
    "+".join(chosen) for count in (1, 2, 3) for chosen in itertools.combinations(FACTORS, count)
)
BESIDE = ("blind", "untrained", "supervised")


class World(NamedTuple):
    """Material to train with, material held out, and the classes' names."""

    train: Material
    held_out: Material
    digits: tuple[str, ...]
    backgrounds: tuple[str, ...]


class Errors(NamedTuple):
    """What linear read-outs of the first view's features get wrong on held-out sequences.

    Attributes:
        digit: share of the digits, in 0 ... 1.
        background: share of the backgrounds.
        position: mean distance from the digit's centre in the last frame, in pixels.
        information: InfoNCE reading of held-out pairs in nats, at most log 256; None where no pair
            of encoders was trained.
    """

    digit: float
    background: float
    position: float
    information: float | None


def load_world() -> World:
    """The world of the embedded digits and photographs.

    Held-out sequences have other images of digits, and crops of other parts of the photographs.

    Raises:
        DataError: scikit-learn or scikit-image is not installed.
    """
    digits, photographs = (data.load(x, validation_size=0) for x in ("digits", "photographs"))
    train, held_out = (
        Material(*map(jnp.asarray, (d.images, d.labels, _middle(p.images), p.labels)))
        for d, p in ((digits.train, photographs.train), (digits.test, photographs.test))
    )
    return World(train, held_out, digits.class_names, photographs.class_names)


def _middle(images: np.ndarray | None) -> np.ndarray:
    """[N, 32, 32, 3] to [N, 24, 24, 3]."""
    assert images is not None  # these data sets are held in memory
    edge = (images.shape[1] - SIDE) // 2
    return images[:, edge : edge + SIDE, edge : edge + SIDE]


def shared_factors(subset: str) -> Factors:
    """Which factors a subset such as ``digit+position`` shares; other names share nothing.

    Example:
        >>> shared_factors("digit+position")
        Factors(digit=True, background=False, position=True)
    """
    return Factors(*(name in subset.split("+") for name in FACTORS))


def carry_out(world: World, encoder: str, seed: int, settings: Settings) -> Errors:
    """Trains an encoder of the first view and reads it out.

    Args:
        world: what sequences are made of.
        encoder: a subset of ``SUBSETS``, whose encoder is trained by InfoNCE on pairs that share
            it; ``blind``, which says the same of every sequence; ``untrained``; or ``supervised``.
        seed: of the first parameters and of all that is drawn, the same for all encoders.
        settings: of the training.

    Returns:
        The errors on held-out sequences.

    Raises:
        ValueError: there is no such encoder, or there are no steps.
    """
    if encoder not in SUBSETS + BESIDE:
        raise ValueError(f"encoder must be one of {SUBSETS + BESIDE}, got {encoder!r}.")
    if settings.steps < 1:
        raise ValueError(f"steps must be at least 1, got {settings.steps}.")
    key, draws = jax.random.split(jax.random.key(seed))
    shared = shared_factors(encoder)
    if encoder in SUBSETS:
        params = training.contrasted(key, world.train, shared, settings)
    elif encoder == "supervised":
        classes = len(world.digits), len(world.backgrounds)
        params = training.supervised(key, world.train, classes, settings)
    else:
        params = training.first_params(jax.random.split(key)[0], world.train)
    errors = _judged(world, params["first"], draws, blind=encoder == "blind")
    if encoder not in SUBSETS:
        return Errors(*errors, None)
    return Errors(*errors, _reading(world.held_out, params, draws, shared, settings))


def _judged(
    world: World, params: Params, draws: jax.Array, *, blind: bool
) -> tuple[float, float, float]:
    """Errors of digit, background and position."""
    seen = []
    for part, (material, count) in enumerate(((world.train, FITTED), (world.held_out, HELD_OUT))):
        keys = jax.random.split(jax.random.fold_in(draws, part), count // CANDIDATES)
        batches = [_seen(params, key, material) for key in keys]
        seen.append(jax.tree.map(lambda *each: jnp.concatenate(each), *batches))
    (fitted, labels), (held_out, truth) = seen
    if blind:
        fitted, held_out = jnp.zeros_like(fitted), jnp.zeros_like(held_out)
    classes = len(world.digits), len(world.backgrounds)
    digit, background, position = _errors(fitted, labels, held_out, truth, classes)
    return float(digit), float(background), float(position)


@jax.jit
def _seen(params: Params, key: jax.Array, material: Material) -> tuple[jax.Array, Labels]:
    """Features of a batch of sequences, and what they show."""
    pairs = training.draw_batch(key, material, Factors(False, False, False), CANDIDATES)
    return training.encode(params, pairs.first)[0], pairs.labels


@functools.partial(jax.jit, static_argnums=4)
def _errors(
    fitted: jax.Array,
    labels: Labels,
    held_out: jax.Array,
    truth: Labels,
    classes: tuple[int, int],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    digit = read_classes(fitted, labels.digit, held_out, classes=classes[0])
    background = read_classes(fitted, labels.background, held_out, classes=classes[1])
    position = read_positions(fitted, labels.position, held_out)
    return (
        jnp.mean(digit != truth.digit),
        jnp.mean(background != truth.background),
        jnp.mean(jnp.linalg.norm(position - truth.position, axis=1)),
    )


def _reading(
    material: Material, params: Params, draws: jax.Array, shared: Factors, settings: Settings
) -> float:
    """Mean over batches of the InfoNCE reading of held-out pairs."""
    keys = jax.random.split(jax.random.fold_in(draws, 2), HELD_OUT // CANDIDATES)
    flags = Factors(*map(jnp.asarray, shared))
    losses = [_pair_loss(params, key, material, flags, settings.temperature) for key in keys]
    return float(mutual_information.lower_bound(jnp.mean(jnp.stack(losses)), CANDIDATES))


@jax.jit
def _pair_loss(
    params: Params, key: jax.Array, material: Material, shared: Factors, temperature: float
) -> jax.Array:
    pairs = training.draw_batch(key, material, shared, CANDIDATES)
    return training.pair_loss(params, pairs, temperature)
