"""What each group of a cohort's networks gets of a view: all of it, some channels or frequencies.

Contrastive multiview coding, arXiv 1906.05849, shows half of its networks the first channel of a
colour space and half the other two. What Makes for Good Views, arXiv 2005.10243, divides
frequencies too: half see the image blurred, half what the blur took away.
"""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import views
from mcl_jax.cohort import Cohort, networks_of
from mcl_jax.config import ConfigError
from mcl_jax.methods import learned_division


class Division(Protocol):
    """Views to what groups of networks see of them."""

    def numbers(self) -> dict[str, jax.Array]:
        """What a compiled program takes as inputs, so that it stays the same when they change."""

    def __call__(
        self, images: jax.Array, numbers: Mapping[str, jax.Array] | None = None
    ) -> tuple[jax.Array, ...]:
        """Divides views.

        Args:
            images: [B, H, W, c], in the recipe's colour space, normalised.
            numbers: as `numbers` gives them; None takes those.

        Returns:
            For each of G groups [B, H, W, its channels].
        """


@dataclasses.dataclass(frozen=True)
class Whole:
    """All groups see the same.

    Attributes:
        groups: G.
    """

    groups: int

    def numbers(self) -> dict[str, jax.Array]:
        """None."""
        return {}

    def __call__(
        self, images: jax.Array, numbers: Mapping[str, jax.Array] | None = None
    ) -> tuple[jax.Array, ...]:
        """The views, for each group."""
        del numbers
        return (images,) * self.groups


@dataclasses.dataclass(frozen=True)
class Halves:
    """The first groups see one part, the others another.

    Attributes:
        groups: G.
        first_groups: so many see the first part.
    """

    groups: int
    first_groups: int

    def numbers(self) -> dict[str, jax.Array]:
        """None, unless a subclass has some."""
        return {}

    def dealt(self, first: jax.Array, second: jax.Array) -> tuple[jax.Array, ...]:
        """The parts, for each group its own."""
        return (first,) * self.first_groups + (second,) * (self.groups - self.first_groups)


@dataclasses.dataclass(frozen=True)
class Channels(Halves):
    """The first channel, and the other two.

    Example:
        >>> first, rest = jax.eval_shape(Channels(2, 1), jnp.zeros((4, 8, 8, 3)))
        >>> first.shape[-1], rest.shape[-1]
        (1, 2)
    """

    def __call__(
        self, images: jax.Array, numbers: Mapping[str, jax.Array] | None = None
    ) -> tuple[jax.Array, ...]:
        """The views' channels."""
        del numbers
        return self.dealt(*views.channel_split(images))


@dataclasses.dataclass(frozen=True)
class Frequencies(Halves):
    """The view blurred, and what the blur took away.

    As blurring is linear, views may be normalised before: what the blur took away is then about 0,
    in units of the images' spread. All pixels of a view count in the blur, whatever its sigma.

    Attributes:
        sigma: of the blur, pixels of the view, above 0.

    Example:
        >>> low, high = jax.eval_shape(Frequencies(2, 1, 0.7), jnp.zeros((4, 8, 8, 3)))
        >>> low.shape == high.shape
        True
    """

    sigma: float

    def numbers(self) -> dict[str, jax.Array]:
        """``{"sigma": []}``."""
        return {"sigma": jnp.asarray(float(self.sigma))}

    def __call__(
        self, images: jax.Array, numbers: Mapping[str, jax.Array] | None = None
    ) -> tuple[jax.Array, ...]:
        """The views' frequencies."""
        sigma = (self.numbers() if numbers is None else numbers)["sigma"]
        return self.dealt(*views.frequency_split(images, sigma))


def divides(config: ConfigDict) -> bool:
    """Whether the halves of the networks see different things, so that each is groups of its own.

    Example:
        >>> from mcl_jax import config
        >>> divides(config.default("moco"))
        False
    """
    return bool(config.views.get("channels") or config.views.get("frequency"))


def parts(config: ConfigDict) -> list[int]:
    """[M]: which part of a view each network sees; networks of different parts are no group.

    Raises:
        ConfigError: learned views cannot be read.

    Example:
        >>> from mcl_jax import config
        >>> changed = config.default("moco")
        >>> changed.update_from_flattened_dict({"method.networks": 4, "views.channels": "lab"})
        >>> parts(changed)
        [0, 0, 1, 1]
    """
    count, learned = config.method.networks, learned_division.read(config)
    if learned is not None:
        return [learned_division.part_of(learned, number, count) for number in range(count)]
    return [int(divides(config) and 2 * number >= count) for number in range(count)]


def division(config: ConfigDict, networks: Cohort, recipe: views.Recipe) -> Division:
    """What ``config.views`` shows to each group.

    Args:
        config: of the run.
        networks: as `networks.build` makes them.
        recipe: of the views, in the colour space and normalisation that they have.

    Raises:
        ConfigError: something is to be divided among a number of networks that is odd, or learned
            views cannot be read.
    """
    groups = len(networks.groups)
    learned = learned_division.read(config)
    if learned is not None:
        if not learned.channels:
            _first_half(networks, "channels", "the first channel")
        firsts = [networks_of(key) or range(1) for key, _ in networks.items()]
        seen = parts(config)
        own = tuple(seen[numbers[0]] for numbers in firsts)
        return learned_division.Learned(learned, own, tuple(recipe.mean), tuple(recipe.std))
    if not divides(config):
        return Whole(groups)
    if config.views.get("frequency"):
        first_groups = _first_half(networks, "frequency", "the blurred image")
        return Frequencies(groups, first_groups, config.views.frequency)
    return Channels(groups, _first_half(networks, "channels", "the first channel"))


def _first_half(networks: Cohort, field: str, first: str) -> int:
    """How many groups hold the first half of the networks."""
    count = networks.size
    if count % 2:
        raise ConfigError(
            f"views.{field} wants an even number of method.networks, half of which see {first}, "
            f"got {count}."
        )
    firsts, before = 0, 0
    for group in networks.groups:
        firsts, before = firsts + (2 * before < count), before + group.size
    return firsts
