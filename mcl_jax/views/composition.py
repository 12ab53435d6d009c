"""A recipe: the steps that make a network's view of a batch, in their order."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mcl_jax.views.colour import Jitter as JitterDrawn
from mcl_jax.views.colour_spaces import SPACES, convert
from mcl_jax.views.draws import folded
from mcl_jax.views.fusion import fused
from mcl_jax.views.geometry import centre_crop, check_size, resize
from mcl_jax.views.normalization import normalize
from mcl_jax.views.pixels import check_pixels, to_float
from mcl_jax.views.steps import Adjustable, Blur, Crop, Drawn, Flip, Gray, Jitter, Shape, Step

Numbers = Mapping[str, Mapping[str, jax.Array]]
MODES = ("exact", "fused")
_FUSED = (Flip, Blur, Jitter, Gray)  # what may follow the crop in the fused part


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Steps, a colour space and a normalisation.

    Step i draws from ``fold_in(key, i)`` of an image's key, so that a view depends on that key
    alone, however the batch is split.

    Bytes become float32 in 0 ... 1 before the first step that computes with them, and nothing is
    rounded after that (but RandAugment works on bytes).

    **Fused mode** makes the crop and all flips, blurs, jitters and grays that follow it, one of a
    kind, by `fused`, from the draws of the exact mode: faster, and a little different, as described
    there. The steps after them run as they are.

    Attributes:
        steps: in their order; a `Crop` can be the first alone.
        mean: [c], of the training images scaled to 0 ... 1, or of their channels in
            ``colour_space``.
        std: [c].
        colour_space: a name of `SPACES`, in which the views are given.
        mode: ``exact`` or ``fused``.
        dtype: floating dtype of the views.
        cropped: whether images come cropped already, by the host; the `Crop` is passed over.

    Raises:
        ValueError: numbers of channels differ, a spread is not above 0, a name is unknown, a `Crop`
            is not the first step, or the images are to be cropped already, or the mode to be fused,
            where the first step is no `Crop`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mcl_jax.views.steps import Flip, PadCrop
        >>> recipe = Recipe((PadCrop(2), Flip()), mean=(0.5,), std=(0.25,))
        >>> images = jnp.zeros((4, 28, 28, 1), jnp.uint8)
        >>> recipe.train(jax.random.split(jax.random.key(0), 4), images).shape
        (4, 28, 28, 1)
    """

    steps: tuple[Step, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    colour_space: str = "rgb"
    mode: str = "exact"
    dtype: jnp.dtype = jnp.float32
    cropped: bool = False

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean and std must have one number a channel each, got {len(self.mean)} and "
                f"{len(self.std)}."
            )
        if not all(x > 0 for x in self.std):
            raise ValueError(f"std must be above 0, got {tuple(self.std)}.")
        if self.colour_space not in SPACES:
            raise ValueError(
                f"colour_space must be one of {', '.join(SPACES)}, got {self.colour_space!r}."
            )
        if self.mode not in MODES:
            raise ValueError(f"mode must be exact or fused, got {self.mode!r}.")
        if any(isinstance(step, Crop) for step in self.steps[1:]):
            raise ValueError("steps must have their Crop first: later ones work at its size.")
        if self.cropped and self.crop is None:
            raise ValueError("cropped must be False for a recipe that does not begin with a Crop.")
        if self.mode == "fused" and self.crop is None:
            first = type(self.steps[0]).__name__ if self.steps else "nothing"
            raise ValueError(
                f"mode must be exact for a recipe that does not begin with a Crop, on which the "
                f"fused form is built; this one begins with {first}."
            )

    @property
    def crop(self) -> Crop | None:
        """The random crop that the recipe begins with, or None."""
        return self.steps[0] if self.steps and isinstance(self.steps[0], Crop) else None

    def without_crop(self) -> "Recipe":
        """The recipe for images that the host has cropped already; other draws stay the same."""
        return dataclasses.replace(self, cropped=self.crop is not None)

    def numbers(self) -> dict[str, dict[str, jax.Array]]:
        """The numbers that `train` takes when it runs: those of each `Adjustable` step.

        Returns:
            ``{"step_0": {"scale": ...}}``, by the steps' places.
        """
        steps = self.steps[1:] if self.cropped else self.steps
        return {
            f"step_{place}": step.numbers()
            for place, step in enumerate(steps, start=len(self.steps) - len(steps))
            if isinstance(step, Adjustable)
        }

    def train(
        self, keys: jax.Array, images: jax.Array, numbers: Numbers | None = None
    ) -> jax.Array:
        """A random view of each image.

        Args:
            keys: [B], JAX random keys, one an image.
            images: [B, H, W, c], uint8, or floating in 0 ... 1.
            numbers: as `numbers` gives them, as inputs of a compiled program that stays the same
                when they change; None has them in the program. Draws are the same to the last bit,
                views up to how XLA rounds them.

        Returns:
            [B, height, width, c], normalised, ``dtype``.

        Raises:
            ValueError: the images do not suit a step, or the mean.
        """
        check_pixels(images)
        return self.apply(images, self.draw(keys, images.shape, numbers))

    def plain(self, images: jax.Array) -> jax.Array:
        """The view that evaluation takes: nothing random.

        Args:
            images: [B, H, W, c], uint8, or floating in 0 ... 1. For a recipe with a `Crop` of
                another size, the short side is scaled to it and the middle taken.

        Returns:
            [B, height, width, c], normalised, ``dtype``.

        Raises:
            ValueError: the images do not suit the mean.
        """
        check_pixels(images)
        if self.crop and images.shape[1:3] != check_size(self.crop.size):
            images = _fitted(to_float(images), check_size(self.crop.size))
        return self.finish(images)

    def draw(
        self, keys: jax.Array, shape: Shape, numbers: Numbers | None = None
    ) -> tuple[Drawn, ...]:
        """What each step draws for images of a shape, none for a crop that is passed over.

        Args:
            keys: [B], JAX random keys, one an image.
            shape: B, H, W, c.
            numbers: as `train` has them.

        Returns:
            For each step a dictionary of arrays [B, ...].
        """
        if self.cropped and self.crop and shape[1:3] != check_size(self.crop.size):
            height, width = shape[1:3]
            raise ValueError(
                f"size must be that of images that come cropped, {height} x {width}, got "
                f"{self.crop.size}."
            )
        drawn: list[Drawn] = []
        for number, step in enumerate(self.steps):
            own = folded(keys, number)
            is_passed = self.cropped and number == 0
            if is_passed:
                drawn.append({})
            elif isinstance(step, Adjustable):
                given = None if numbers is None else numbers[f"step_{number}"]
                drawn.append(step.draw(own, shape, given))
            else:
                drawn.append(step.draw(own, shape))
            shape = shape if is_passed else step.shape(shape)
        return tuple(drawn)

    def apply(self, images: jax.Array, drawn: tuple[Drawn, ...]) -> jax.Array:
        """The views of what `draw` has drawn, normalised: [B, height, width, c], ``dtype``."""
        return self.finish(self.pixels(images, drawn))

    def pixels(self, images: jax.Array, drawn: tuple[Drawn, ...]) -> jax.Array:
        """The same before colour space and normalisation: in 0 ... 1, or bytes if only moved."""
        check_pixels(images)
        done = 1 if self.cropped else 0
        if self.mode == "fused":
            done = self.fused_steps
            images = self._fused(images, drawn[:done])
        for step, draws in zip(self.steps[done:], drawn[done:], strict=True):
            images = images if step.moves else to_float(images)
            images = step.apply(images, draws)
        return images

    @property
    def fused_steps(self) -> int:
        """How many of the first steps the fused mode makes as one: the crop, and one of a kind."""
        if self.mode == "exact":
            return 0
        kinds: set[type[Step]] = set()
        for number, step in enumerate(self.steps[1:], start=1):
            if not isinstance(step, _FUSED) or type(step) in kinds:
                return number
            kinds.add(type(step))
        return len(self.steps)

    def _fused(self, images: jax.Array, drawn: tuple[Drawn, ...]) -> jax.Array:
        """The first steps as one, from their draws."""
        assert self.crop is not None
        draws = {type(step): own for step, own in zip(self.steps, drawn, strict=False)}
        reaches = [step.reach for step in self.steps[: len(drawn)] if isinstance(step, Blur)]
        whole = jnp.tile(jnp.array([0, 0, *images.shape[1:3]], jnp.int32), (len(images), 1))
        return fused(
            images,
            size=self.crop.size,
            boxes=whole if self.cropped else draws[Crop]["box"],
            flipped=draws.get(Flip, {}).get("flipped"),
            sigma=draws.get(Blur, {}).get("sigma"),
            jitter=JitterDrawn(**draws[Jitter]) if Jitter in draws else None,
            gray=draws.get(Gray, {}).get("gray"),
            interpolation=self.crop.interpolation,
            radius=max(reaches, default=0),
        )

    def finish(self, images: jax.Array) -> jax.Array:
        """What comes after all steps: pixels [B, H, W, c] in the colour space, normalised.

        Args:
            images: uint8, or floating in 0 ... 1.

        Raises:
            ValueError: the images do not suit the mean.
        """
        if images.shape[-1] != len(self.mean):
            raise ValueError(
                f"images must have {len(self.mean)} channels, one for each number of mean, got "
                f"{images.shape[-1]}."
            )
        if self.colour_space != "rgb":
            images = convert(to_float(images), self.colour_space)
        return normalize(images, jnp.asarray(self.mean), jnp.asarray(self.std), self.dtype)


def _fitted(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Images scaled until they just cover a size, and the middle of them."""
    sides = images.shape[1:3]
    factor = max(new / old for new, old in zip(size, sides, strict=True))
    scaled = tuple(max(new, round(factor * old)) for new, old in zip(size, sides, strict=True))
    return centre_crop(resize(images, (scaled[0], scaled[1])), size)
