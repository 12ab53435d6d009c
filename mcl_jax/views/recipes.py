"""Recipes of the papers by name, each for images of any size.

Numbers are those of the authors at 224 pixels, or at 32 for CIFAR's. What is relative to an image
stays as it is at every size: shares of area, RandAugment's translations, colours. What is in pixels
shrinks with the side s of the view: blurs have sigma times s / 224, so that a small view is the
large one made smaller. Views below 48 pixels are not blurred, as in the CIFAR-10 experiments of
SimCLR: the largest sigma would be 0.4 pixels.
"""

import dataclasses
import difflib
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from mcl_jax.views.colour_spaces import SPACES
from mcl_jax.views.composition import Recipe
from mcl_jax.views.geometry import Size, check_size
from mcl_jax.views.pixels import check_number
from mcl_jax.views.rand_augment import CMC
from mcl_jax.views.steps import (
    Blur,
    Crop,
    Flip,
    Gray,
    Jitter,
    PadCrop,
    RandAugment,
    Solarize,
    Step,
)

Steps = tuple[Step, ...]

_LARGE = 224  # the side that the papers' numbers are for
_SMALL = 48  # views below are not blurred
_RECIPES: dict[str, Callable[[Size], Steps]] = {}


def recipe(
    name: str,
    *,
    size: Size | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    strength: float = 1.0,
    crop_scale: Sequence[float] = (),
    padding: int | None = None,
    flip: bool = True,
    colour_space: str = "rgb",
    mode: str = "exact",
    dtype: jnp.dtype = jnp.float32,
) -> Recipe:
    """A recipe of a paper, by its name in `RECIPES`.

    Args:
        name: ``pycontrast_a`` ... ``pycontrast_e``, ``moco_v1``, ``moco_v2``, ``simclr``,
            ``byol_1``, ``byol_2``, ``instance_discrimination``, ``cifar`` or ``imagenet``.
        size: of the views, a side or (height, width); None is the paper's, 224, or 32 for cifar.
            Recipe cifar leaves images as large as they are, and its padding follows from ``size``.
        mean: [c], of the training images scaled to 0 ... 1, or of their channels in
            ``colour_space``; None takes those of `SPACES`, ImageNet's for rgb.
        std: [c], with ``mean``.
        strength: factor of all numbers of the colour jitter; 1 is the paper's.
        crop_scale: least and largest share of the area that a crop takes; empty is the recipe's.
        padding: of recipe cifar; None is an eighth of the side.
        flip: whether images are mirrored where the recipe does so; not for digits.
        colour_space: a name of `SPACES` that views are given in.
        mode: ``exact``, or ``fused``, which is faster; see `Recipe`.
        dtype: floating dtype of the views.

    Returns:
        The recipe; its ``steps`` can be changed with ``dataclasses.replace``.

    Raises:
        ValueError: the name is unknown, a number is out of its range, or the recipe has nothing
            that it would change.

    Example:
        >>> for step in recipe("moco_v2", size=32).steps:
        ...     print(step.words())
        crop 20 to 100 % of the area, width / height 0.75 to 1.33, scaled to 32 x 32, bilinear
        jitter brightness 0.4, contrast 0.4, saturation 0.4, hue 0.1, any order, probability 0.8
        make gray, probability 0.2
        mirror left to right, probability 0.5
    """
    if name not in _RECIPES:
        near = difflib.get_close_matches(str(name).lower(), RECIPES, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {name!r}{hint}")
    if size is None:
        size = 32 if name == "cifar" else _LARGE
    check_size(size)
    steps = _RECIPES[name](size)
    steps = _stronger(name, steps, strength)
    steps = _cropped(name, steps, tuple(crop_scale))
    steps = _padded(name, steps, padding)
    if not flip:
        steps = tuple(step for step in steps if not isinstance(step, Flip))
    default = SPACES.get(colour_space, SPACES["rgb"])
    mean = default.mean if mean is None else tuple(mean)
    std = default.std if std is None else tuple(std)
    return Recipe(steps, mean, std, colour_space, mode, dtype)


def _register(builder: Callable[[Size], Steps]) -> Callable[[Size], Steps]:
    _RECIPES[builder.__name__] = builder
    return builder


def describe(name: str) -> str:
    """What a recipe is, and how it scales to small images: the text of its own description.

    Example:
        >>> describe("moco_v2").split(":")[0]
        'MoCo v2 (arXiv 2003.04297)'
    """
    return " ".join((_RECIPES[name].__doc__ or "").replace("``", "").split())


@_register
def pycontrast_a(size: Size) -> Steps:
    """PyContrast's A, for InsDis, MoCo and PIRL: crop, flip, jitter, gray.

    PyContrast crops from 0.08 of the area with a memory bank, as here, and from 0.2 with a queue
    (``crop_scale``). Nothing is in pixels, so it is the same at every size.
    """
    return (Crop(size), Flip(), Jitter(0.4, 0.4, 0.4, 0.4), Gray())


@_register
def pycontrast_b(size: Size) -> Steps:
    """PyContrast's B, for MoCo v2: crop, flip, jitter, gray, blur.

    Small images: sigma shrinks with the side, and below 48 pixels there is no blur. The
    authors blur with Pillow, whose filter is close to a Gaussian.
    """
    return (Crop(size, (0.2, 1.0)), Flip(), _weak_jitter(), Gray(), *_blur(size, 0.5))


@_register
def pycontrast_c(size: Size) -> Steps:
    """PyContrast's C, for CMC: crop, flip, jitter.

    CMC gives its views in ``colour_space`` ydbdr. Nothing is in pixels, so it is the same at every
    size.
    """
    return (Crop(size), Flip(), Jitter(0.4, 0.4, 0.4, 0.1))


@_register
def pycontrast_d(size: Size) -> Steps:
    """PyContrast's D, InfoMin's (arXiv 2005.10243): crop, flip, jitter, blur, RandAugment, gray.

    Small images: sigma shrinks with the side, and below 48 pixels there is no blur. RandAugment's
    rotations are in degrees and its translations relative, so they stay. At 32 pixels the recipe
    is strong; ``strength`` weakens the jitter alone.
    """
    jitter = Jitter(0.8, 0.8, 0.8, 0.2, 0.8)
    return (Crop(size, (0.2, 1.0)), Flip(), jitter, *_blur(size, 0.5), RandAugment(), Gray())


@_register
def pycontrast_e(size: Size) -> Steps:
    """PyContrast's E, for CMC v2: crop, flip, jitter, blur, RandAugment that leaves colours alone.

    CMC gives its views in ``colour_space`` ydbdr. Small images: sigma shrinks with the side, and
    below 48 pixels there is no blur.
    """
    augment = RandAugment(CMC)
    return (Crop(size, (0.2, 1.0)), Flip(), _weak_jitter(), *_blur(size, 0.5), augment)


@_register
def moco_v1(size: Size) -> Steps:
    """MoCo (arXiv 1911.05722): crop, gray, jitter, flip, after instance discrimination.

    Nothing is in pixels, so it is the same at every size.
    """
    return (Crop(size, (0.2, 1.0)), Gray(), Jitter(0.4, 0.4, 0.4, 0.4), Flip())


@_register
def moco_v2(size: Size) -> Steps:
    """MoCo v2 (arXiv 2003.04297): crop, jitter, gray, blur, flip.

    Small images: sigma shrinks with the side, and below 48 pixels there is no blur. The
    authors blur with Pillow, whose filter is close to a Gaussian.
    """
    return (Crop(size, (0.2, 1.0)), _weak_jitter(), Gray(), *_blur(size, 0.5), Flip())


@_register
def simclr(size: Size) -> Steps:
    """SimCLR (arXiv 2002.05709): crop (bicubic), flip, jitter, gray, blur.

    Small images: sigma shrinks with the side (the authors shrink the kernel alone, to a tenth of
    the side), and below 48 pixels there is no blur, as in their CIFAR-10 experiments, which also
    take ``strength`` 0.5. Their saturation is that of HSV, their contrast about the mean of each
    channel, and their blur sees black beyond the border; here all three are torchvision's.
    """
    jitter = Jitter(0.8, 0.8, 0.8, 0.2, 0.8)
    crop = Crop(size, interpolation="bicubic")
    return (crop, Flip(), jitter, Gray(), *_blur(size, 0.5))


@_register
def byol_1(size: Size) -> Steps:
    """BYOL's first view (arXiv 2006.07733): crop (bicubic), flip, jitter, gray, blur always.

    Small images: sigma shrinks with the side (the authors shrink the kernel alone, to a tenth of
    the side), and below 48 pixels there is no blur, so that the views of a pair then differ in
    solarising alone. The authors add to brightness; here it is multiplied, as in torchvision.
    Saturation, contrast and blur: as of SimCLR.
    """
    return _byol(size, blurred=1.0)


@_register
def byol_2(size: Size) -> Steps:
    """BYOL's second view (arXiv 2006.07733): as the first, but blurred rarely; then solarise.

    Small images and brightness: as in the first view, byol_1.
    """
    return (*_byol(size, blurred=0.1), Solarize(0.5, 0.2))


@_register
def instance_discrimination(size: Size) -> Steps:
    """Instance discrimination (arXiv 1805.01978): crop, gray, jitter, flip.

    Small images: below 48 pixels nothing is mirrored, as in the authors' code for CIFAR-10.
    """
    flips = (Flip(),) if min(check_size(size)) >= _SMALL else ()
    return (Crop(size, (0.2, 1.0)), Gray(), Jitter(0.4, 0.4, 0.4, 0.4), *flips)


@_register
def cifar(size: Size) -> Steps:
    """Supervised learning on CIFAR: pad with black and cut the old size out, flip.

    Small images: the padding is an eighth of the side, 4 at 32 pixels.
    """
    return (PadCrop(round(min(check_size(size)) / 8)), Flip())


@_register
def imagenet(size: Size) -> Steps:
    """Supervised learning on ImageNet: crop from 0.08 of the area, flip.

    Nothing is in pixels, so it is the same at every size; on small images ``crop_scale`` from 0.2
    leaves more to be seen.
    """
    return (Crop(size), Flip())


RECIPES = tuple(_RECIPES)
"""The names that `recipe` knows."""


def _weak_jitter() -> Jitter:
    """MoCo v2's."""
    return Jitter(0.4, 0.4, 0.4, 0.1, 0.8)


def _byol(size: Size, blurred: float) -> Steps:
    crop = Crop(size, interpolation="bicubic")
    return (crop, Flip(), Jitter(0.4, 0.4, 0.2, 0.1, 0.8), Gray(), *_blur(size, blurred))


def _blur(size: Size, probability: float) -> Steps:
    """The papers' blur, 0.1 to 2 pixels at 224, at another size; none on small images."""
    side = min(check_size(size))
    if side < _SMALL:
        return ()
    return (Blur((0.1 * side / _LARGE, 2.0 * side / _LARGE), probability),)


def _stronger(name: str, steps: Steps, strength: float) -> Steps:
    """The jitter times a strength."""
    check_number("strength", strength, 0)
    if strength == 1:
        return steps
    hues = [step.hue for step in steps if isinstance(step, Jitter)]
    if not hues:
        raise ValueError(f"strength must be 1 for {name}, which has no jitter, got {strength}.")
    if strength * max(hues) > 0.5:
        raise ValueError(
            f"strength must be at most {0.5 / max(hues):g} for {name}, where the hue then turns by "
            f"up to half the wheel, got {strength}."
        )

    def stronger(step: Jitter) -> Jitter:
        names = ("brightness", "contrast", "saturation", "hue")
        return dataclasses.replace(step, **{x: strength * getattr(step, x) for x in names})

    return tuple(stronger(step) if isinstance(step, Jitter) else step for step in steps)


def _cropped(name: str, steps: Steps, scale: tuple[float, ...]) -> Steps:
    """The crop with other shares of the area."""
    if not scale:
        return steps
    crop, *rest = steps
    if not isinstance(crop, Crop):
        raise ValueError(
            f"crop_scale must be empty for {name}, which crops otherwise, got {scale}."
        )
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"crop_scale must be (low, high) with 0 < low <= high <= 1, got {scale}.")
    return (dataclasses.replace(crop, scale=(scale[0], scale[1])), *rest)


def _padded(name: str, steps: Steps, padding: int | None) -> Steps:
    """The padding of recipe cifar."""
    if padding is None:
        return steps
    first, *rest = steps
    if not isinstance(first, PadCrop):
        raise ValueError(f"padding must be None for {name}, which does not pad, got {padding}.")
    return (dataclasses.replace(first, padding=padding), *rest)
