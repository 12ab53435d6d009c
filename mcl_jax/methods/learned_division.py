"""What groups of networks see of views through generators that an earlier run has learned."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax.config import ConfigError
from mcl_jax.views import learned
from mcl_jax.views.learned import LearnedViews

FILE = "learned_views.npz"
"""What a run of method learned_views leaves in its workdir."""


@dataclasses.dataclass(frozen=True, eq=False)
class Learned:
    """Frozen generators, and the part of what they make that each group sees.

    Attributes:
        views: as an earlier run has learned them.
        parts: for each of G groups the part that it sees.
        mean: [3], of the channels that views are normalised by.
        std: [3].

    Example:
        >>> from mcl_jax.views.learned import Generator
        >>> generator = Generator("rgb")
        >>> params = (generator.init(jax.random.key(0)),)
        >>> views = LearnedViews(generator, params, (0.5,) * 3, (0.2,) * 3, networks=2)
        >>> division = Learned(views, (0, 1), (0.5,) * 3, (0.2,) * 3)
        >>> [x.shape[-1] for x in jax.eval_shape(division, jnp.zeros((4, 8, 8, 3)))]
        [1, 2]
    """

    views: LearnedViews
    parts: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def numbers(self) -> dict[str, Any]:
        """``{"generators": ...}``, so that the compiled program is the same for all seeds."""
        return {"generators": self.views.params}

    def __call__(
        self, images: jax.Array, numbers: Mapping[str, Any] | None = None
    ) -> tuple[jax.Array, ...]:
        """Divides views [B, H, W, 3], normalised, into G of [B, H, W, 1 or 2]."""
        params = (self.numbers() if numbers is None else numbers)["generators"]
        images = self.as_learned(images)
        made = {part: self.views.part(params, part, images) for part in set(self.parts)}
        return tuple(made[part] for part in self.parts)

    def as_learned(self, images: jax.Array) -> jax.Array:
        """Images as the generators' own run has normalised them."""
        if (self.mean, self.std) == (self.views.mean, self.views.std):
            return images
        mean, std, own_mean, own_std = (
            jnp.asarray(x, images.dtype)
            for x in (self.mean, self.std, self.views.mean, self.views.std)
        )
        return (images * std + mean - own_mean) / own_std


def read(config: ConfigDict) -> LearnedViews | None:
    """The views that ``config.views.learned`` names, or None where it is empty.

    ``{seed}`` in the path stands for the run's seed, and a folder for the file that a run leaves.

    Raises:
        ConfigError: the file is missing or damaged, or of another colour space or number of
            networks.
    """
    name = config.views.get("learned")
    if not name:
        return None
    path = pathlib.Path(name.replace("{seed}", str(config.seed))).expanduser()
    if path.is_dir() and not (path / FILE).exists():
        raise ConfigError(
            f"views.learned: {path} has no {FILE}, which a run of method learned_views leaves "
            f"there at its end."
        )
    path = path / FILE if path.is_dir() else path
    try:
        found = learned.load(path)
    except OSError as error:
        raise ConfigError(f"views.learned: {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"views.learned: {error}") from error
    if found.generator.space != config.views.channels:
        raise ConfigError(
            f"views.channels must be {found.generator.space}, the colour space of {path} in "
            f"views.learned, got {config.views.channels!r}."
        )
    if found.channels and found.networks != config.method.networks:
        raise ConfigError(
            f"method.networks must be {found.networks}, each of which has a generator of its own "
            f"in {path} of views.learned, got {config.method.networks}."
        )
    return found


def part_of(views: LearnedViews, network: int, networks: int) -> int:
    """The part that one of M networks sees: its own, or that of its half."""
    return network * views.parts // networks
