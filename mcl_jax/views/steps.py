"""Steps of a recipe: each draws what an image is to get, and applies what was drawn.

    drawn = step.draw(keys, images.shape)
    images = step.apply(images, drawn)

Apart, so that what was drawn can be shown, and used by a faster form of the same operations. Draws
are dictionaries of arrays [B, ...], one row an image, whose names are those that are shown.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mcl_jax.views import blur, colour, geometry
from mcl_jax.views.draws import chances, span
from mcl_jax.views.erasing import blank, draw_cutout
from mcl_jax.views.geometry import Interpolation, Size
from mcl_jax.views.pixels import check_number, check_range, check_whole, select
from mcl_jax.views.rand_augment import (
    MOST,
    OPERATIONS,
    RGB,
    apply_randaugment,
    check_draw,
    check_fill,
    draw_randaugment,
)
from mcl_jax.views.rand_augment import Drawn as AugmentDrawn

Drawn = Mapping[str, Any]
Shape = tuple[int, ...]


class Step(abc.ABC):
    """An operation with its parameters, a frozen dataclass whose values are checked at once.

    Attributes:
        moves: whether pixels are only put elsewhere, or replaced by black ones, so that bytes may
            stay bytes.
    """

    moves: ClassVar[bool] = False

    @abc.abstractmethod
    def draw(self, keys: jax.Array, shape: Shape) -> Drawn:
        """Draws for each image: keys [B], and the shape of the images, to arrays [B, ...]."""

    @abc.abstractmethod
    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """Does what was drawn: images [B, H, W, c], uint8 or floating, keep their dtype."""

    @abc.abstractmethod
    def words(self) -> str:
        """The step for a reader."""

    @abc.abstractmethod
    def told(self, drawn: Drawn) -> str:
        """What one image got, for a reader: the draws hold one row."""

    def shape(self, shape: Shape) -> Shape:
        """The shape of what `apply` makes of images of a shape."""
        return shape


class Adjustable(Step):
    """A step some of whose numbers may be given when the compiled program runs.

    They are inputs then and no part of the program, which is the same whatever they are.
    """

    @abc.abstractmethod
    def numbers(self) -> dict[str, jax.Array]:
        """Those numbers as arrays, from the attributes."""

    @abc.abstractmethod
    def draw(
        self, keys: jax.Array, shape: Shape, numbers: Mapping[str, jax.Array] | None = None
    ) -> Drawn:
        """As `Step.draw`, by ``numbers``; None takes those of `numbers`, with the same result."""


@dataclasses.dataclass(frozen=True)
class PadCrop(Step):
    """Pads with black on all sides, then cuts the old size out at a random place.

    Attributes:
        padding: pixels on each side, below the sides of the images; 0 does nothing.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> step, keys = PadCrop(2), jax.random.split(jax.random.key(0), 4)
        >>> step.apply(jnp.ones((4, 8, 8, 1)), step.draw(keys, (4, 8, 8, 1))).shape
        (4, 8, 8, 1)
    """

    padding: int
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_whole("padding", self.padding, 0)

    def draw(self, keys: jax.Array, shape: Shape) -> Drawn:
        """Where the cut begins in the padded image: top and left, 0 ... 2 padding."""
        side = min(shape[1:3])
        if self.padding >= side:
            raise ValueError(
                f"padding must be below the side of the images, {side}, got {self.padding}."
            )
        corners = geometry.draw_corners(keys, self.padding)
        return {"top": corners[:, 0], "left": corners[:, 1]}

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """The cuts, as `pad_and_crop`."""
        if not self.padding:
            return images
        corners = jnp.stack([drawn["top"], drawn["left"]], axis=1)
        return geometry.crop_padded(images, corners, self.padding)

    def words(self) -> str:
        """The step for a reader."""
        if not self.padding:
            return "no random crop"
        return f"pad {self.padding} black pixels on each side, cut the old size out anywhere"

    def told(self, drawn: Drawn) -> str:
        """By how much the image was moved."""
        down, right = (self.padding - int(drawn[name]) for name in ("top", "left"))
        return f"moved {_moved(down, 'down', 'up')}, {_moved(right, 'right', 'left')}"


@dataclasses.dataclass(frozen=True)
class Crop(Adjustable):
    """A random part of the image, scaled to one size: torchvision's ``RandomResizedCrop``.

    Attributes:
        size: of the view, a side or (height, width); it may be larger than the images.
        scale: least and largest share of the area.
        ratio: least and largest width / height.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``, antialiased.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> step, keys = Crop(16), jax.random.split(jax.random.key(0), 4)
        >>> step.draw(keys, (4, 20, 30, 3))["box"].shape  # top, left, height, width
        (4, 4)
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        geometry.check_size(self.size)
        check_range("scale", self.scale, 0, open_below=True)
        check_number("scale", self.scale[1], 0, 1)
        check_range("ratio", self.ratio, 0, open_below=True)
        geometry.check_sampling(self.interpolation, antialias=True)

    def numbers(self) -> dict[str, jax.Array]:
        """The shares of the area: least and width of their range, [2]."""
        return {"scale": span(*self.scale)}

    def draw(
        self, keys: jax.Array, shape: Shape, numbers: Mapping[str, jax.Array] | None = None
    ) -> Drawn:
        """Boxes inside the images: int32 [B, 4], top, left, height, width."""
        areas = (self.numbers() if numbers is None else numbers)["scale"]
        return {"box": geometry.crops_of_areas(keys, shape[1], shape[2], areas, self.ratio)}

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """The boxes, scaled."""
        return geometry.crop_and_resize(
            images, drawn["box"], self.size, interpolation=self.interpolation
        )

    def words(self) -> str:
        """The step for a reader."""
        height, width = geometry.check_size(self.size)
        low, high = (f"{100 * share:g}" for share in self.scale)
        return (
            f"crop {low} to {high} % of the area, width / height {self.ratio[0]:.3g} to "
            f"{self.ratio[1]:.3g}, scaled to {height} x {width}, {self.interpolation}"
        )

    def told(self, drawn: Drawn) -> str:
        """The box."""
        top, left, height, width = (int(x) for x in drawn["box"])
        return f"crop {height} x {width} at row {top}, column {left}"

    def shape(self, shape: Shape) -> Shape:
        """Sides become those of the view."""
        return (shape[0], *geometry.check_size(self.size), shape[3])


@dataclasses.dataclass(frozen=True)
class Flip(Step):
    """Mirrors an image left to right with a probability.

    Attributes:
        probability: in 0 ... 1.
    """

    probability: float = 0.5
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("probability", self.probability, 0, 1)

    def draw(self, keys: jax.Array, shape: Shape) -> Drawn:
        """Whether an image is mirrored."""
        del shape
        return {"flipped": chances(keys, self.probability)}

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """Mirrored images."""
        if images.dtype == jnp.uint8:
            # In the layout that they have: another one changes how XLA rounds what follows.
            return select(drawn["flipped"], images[:, :, ::-1], images)
        return geometry.flip(images, drawn["flipped"])

    def words(self) -> str:
        """The step for a reader."""
        return f"mirror left to right{_often(self.probability)}"

    def told(self, drawn: Drawn) -> str:
        """Whether the image was mirrored."""
        return "mirrored" if drawn["flipped"] else "not mirrored"


@dataclasses.dataclass(frozen=True)
class Jitter(Adjustable):
    """Brightness, contrast, saturation and hue in random order: torchvision's ``ColorJitter``.

    Gray images keep their saturation and hue.

    Attributes:
        brightness: strength, at least 0; factors are uniform on max(0, 1 - s) ... 1 + s.
        contrast: strength, at least 0.
        saturation: strength, at least 0.
        hue: largest turn, in 0 ... 0.5.
        probability: that an image is jittered at all.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            check_number(name, getattr(self, name), 0)
        check_number("hue", self.hue, 0, 0.5)
        check_number("probability", self.probability, 0, 1)

    def numbers(self) -> dict[str, jax.Array]:
        """What factors and the turn of hue are drawn from: least and width of a range each, [2]."""
        names = ("brightness", "contrast", "saturation", "hue")
        return colour.jitter_spans(**{name: getattr(self, name) for name in names})

    def draw(
        self, keys: jax.Array, shape: Shape, numbers: Mapping[str, jax.Array] | None = None
    ) -> Drawn:
        """Factors, the turn of hue, and their order: the fields of `colour.Jitter`."""
        del shape
        spans = self.numbers() if numbers is None else numbers
        return colour.jitter_of_spans(keys, spans, self.probability)._asdict()

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """Jittered images."""
        return colour.jitter(images, colour.Jitter(**drawn))

    def words(self) -> str:
        """The step for a reader."""
        return (
            f"jitter brightness {self.brightness:g}, contrast {self.contrast:g}, saturation "
            f"{self.saturation:g}, hue {self.hue:g}, any order{_often(self.probability)}"
        )

    def told(self, drawn: Drawn) -> str:
        """The factors in their order."""
        names = ("brightness", "contrast", "saturation", "hue")
        if [float(drawn[name]) for name in names] == [1, 1, 1, 0]:
            return "no jitter"
        said = [f"{name} x {drawn[name]:.2f}" for name in names[:3]]
        said.append(f"hue {drawn['hue']:+.2f}")
        return ", ".join(said[int(place)] for place in drawn["order"])


@dataclasses.dataclass(frozen=True)
class Gray(Step):
    """The gray of an image in all of its channels, with a probability; gray ones stay as they are.

    Attributes:
        probability: in 0 ... 1.
    """

    probability: float = 0.2

    def __post_init__(self) -> None:
        check_number("probability", self.probability, 0, 1)

    def draw(self, keys: jax.Array, shape: Shape) -> Drawn:
        """Whether an image is made gray."""
        del shape
        return {"gray": chances(keys, self.probability)}

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """Gray images."""
        return select(drawn["gray"], colour.grayscale(images), images)

    def words(self) -> str:
        """The step for a reader."""
        return f"make gray{_often(self.probability)}"

    def told(self, drawn: Drawn) -> str:
        """Whether the image was made gray."""
        return "made gray" if drawn["gray"] else "not made gray"


@dataclasses.dataclass(frozen=True)
class Blur(Step):
    """Gaussian blur with a probability.

    Attributes:
        sigma: least and largest, pixels; uniform between.
        probability: that an image is blurred at all.
        radius: pixels on either side that count; None is four times the largest sigma.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    probability: float = 0.5
    radius: int | None = None

    def __post_init__(self) -> None:
        check_range("sigma", self.sigma, 0)
        check_number("probability", self.probability, 0, 1)
        if self.radius is not None:
            check_number("radius", self.radius, 0)

    @property
    def reach(self) -> int:
        """The radius."""
        return math.ceil(blur.REACH * self.sigma[1]) if self.radius is None else self.radius

    def draw(self, keys: jax.Array, shape: Shape) -> Drawn:
        """The sigma of each image, 0 for none."""
        del shape
        return {"sigma": blur.draw_blur(keys, self.sigma, self.probability)}

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """Blurred images."""
        return blur.gaussian_blur(images, drawn["sigma"], radius=self.reach)

    def words(self) -> str:
        """The step for a reader."""
        low, high = self.sigma
        return f"blur by a Gaussian of {low:.2g} to {high:.2g} pixels{_often(self.probability)}"

    def told(self, drawn: Drawn) -> str:
        """How much the image was blurred."""
        return f"blurred by {drawn['sigma']:.2f} pixels" if drawn["sigma"] else "not blurred"


@dataclasses.dataclass(frozen=True)
class Solarize(Step):
    """Inverts all values from a threshold on, with a probability.

    Attributes:
        threshold: in 0 ... 1.
        probability: in 0 ... 1.
    """

    threshold: float = 0.5
    probability: float = 0.2

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold, 0, 1)
        check_number("probability", self.probability, 0, 1)

    def draw(self, keys: jax.Array, shape: Shape) -> Drawn:
        """Whether an image is solarised."""
        del shape
        return {"solarized": chances(keys, self.probability)}

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """Solarised images."""
        return select(drawn["solarized"], colour.solarize(images, self.threshold), images)

    def words(self) -> str:
        """The step for a reader."""
        return f"invert values from {self.threshold:g} on{_often(self.probability)}"

    def told(self, drawn: Drawn) -> str:
        """Whether the image was solarised."""
        return "solarised" if drawn["solarized"] else "not solarised"


@dataclasses.dataclass(frozen=True)
class RandAugment(Step):
    """A few operations drawn from a list, as `randaugment`.

    Attributes:
        operations: names, `randaugment.RGB` or `randaugment.CMC`.
        count: operations an image.
        magnitude: middle of the levels, 0 ... 10.
        spread: their standard deviation.
        probability: that an operation fires.
        fill: bytes outside a warped image.
    """

    operations: tuple[str, ...] = RGB
    count: int = 2
    magnitude: float = MOST
    spread: float = 0.5
    probability: float = 0.5
    fill: tuple[int, ...] = (124, 116, 104)

    def __post_init__(self) -> None:
        check_draw(self.operations, self.count, self.magnitude, self.spread, self.probability)
        check_fill(self.fill)

    def draw(self, keys: jax.Array, shape: Shape) -> Drawn:
        """Operations and levels: the fields of `randaugment.Drawn`, [B, count]."""
        del shape
        return draw_randaugment(
            keys,
            operations=self.operations,
            count=self.count,
            magnitude=self.magnitude,
            spread=self.spread,
            probability=self.probability,
        )._asdict()

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """Images after all operations, on the grid of bytes."""
        return apply_randaugment(images, AugmentDrawn(**drawn), fill=self.fill)

    def words(self) -> str:
        """The step for a reader."""
        return (
            f"{self.count} of {len(self.operations)} RandAugment operations, level "
            f"{self.magnitude:g} with spread {self.spread:g}{_often(self.probability)} each"
        )

    def told(self, drawn: Drawn) -> str:
        """The operations that fired, with what each of them takes of the numbers drawn."""
        drawn_numbers = (drawn[name] for name in ("operation", "level", "negative", "bicubic"))
        said = []
        for number, level, negative, bicubic in zip(*drawn_numbers, strict=True):
            name = OPERATIONS[int(number)]
            if name == "identity":
                continue
            is_warp = name.startswith(("rotate", "shear", "translate"))
            has_level = name not in ("autocontrast", "equalize", "invert")
            sign = "-" if is_warp and negative else ""
            how = f" {'bicubic' if bicubic else 'bilinear'}" if is_warp else ""
            said.append(f"{name} {sign}{level:.1f}{how}" if has_level else name)
        return ", ".join(said) or "no operation"


@dataclasses.dataclass(frozen=True)
class Cutout(Step):
    """Blackens a square around a random pixel of each image.

    Attributes:
        size: pixels a side, at least 1.
    """

    size: int
    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_number("size", self.size, 1)

    def draw(self, keys: jax.Array, shape: Shape) -> Drawn:
        """The middles of the squares, int32 [B, 2], row and column."""
        return {"middle": draw_cutout(keys, shape[1], shape[2])}

    def apply(self, images: jax.Array, drawn: Drawn) -> jax.Array:
        """Images with their squares."""
        return blank(images, drawn["middle"], self.size)

    def words(self) -> str:
        """The step for a reader."""
        return f"blacken a square of {self.size} pixels"

    def told(self, drawn: Drawn) -> str:
        """Where the square is."""
        row, column = (int(x) for x in drawn["middle"])
        return f"black square around row {row}, column {column}"


def _often(probability: float) -> str:
    """How often, at the end of a sentence; nothing where it is always."""
    return "" if probability == 1 else f", probability {probability:g}"


def _moved(pixels: int, forwards: str, backwards: str) -> str:
    return f"{abs(pixels)} {backwards if pixels < 0 else forwards}"
