"""Which weights an architecture has, and what to say of weights that are not these."""

import contextlib
import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from mcl_jax import models
from mcl_jax.interop import naming

OPTIONS = ("norm", "stem", "width")  # of models.create, those that change the weights
_PATCHES, _POSITIONS = "patch_embed.proj.weight", "pos_embed"
_STEMS = ("conv1.weight", "features.conv0.weight", _PATCHES)

Shape = tuple[int, ...]
T = TypeVar("T")


class Place(NamedTuple):
    """Where a weight belongs.

    Attributes:
        path: of the leaf in Flax variables, collection first.
        shape: in PyTorch's layout.
    """

    path: naming.Path
    shape: Shape


def places(name: str, variables: Any) -> dict[str, Place]:
    """The places of an encoder's variables by PyTorch name.

    Args:
        name: of the architecture.
        variables: arrays, or whatever has their shapes.
    """
    leaves = naming.flatten(variables)
    return {
        naming.torch_name(name, path): Place(path, naming.torch_shape(path, leaf.shape))
        for path, leaf in leaves.items()
    }


def expected(
    name: str, shapes: Mapping[str, Shape], options: Mapping[str, Any]
) -> dict[str, Place]:
    """The places that an architecture has for weights like these.

    Args:
        name: of the architecture.
        shapes: of the weights by PyTorch name; the number of classes, the channels of the images
            and a transformer's patches are read off them.
        options: of `models.create`, those that change the weights.

    Raises:
        TypeError: another option is given.
    """
    if not options.keys() <= set(OPTIONS):
        given, known = ", ".join(options), ", ".join(OPTIONS)
        raise TypeError(
            f"the options that change an architecture's weights are {known}; got {given}."
        )
    heads = (shapes.get(f"{layer}.weight", ()) for layer in naming.CLASSIFIERS)
    classes = next((shape[0] for shape in heads if len(shape) == 2), 1)
    patches = shapes.get(_PATCHES, ())
    side = 4 * patches[-1] if len(patches) == 4 else 32  # of images that are cut so
    own = _expected(name, side, tuple(sorted(options.items())))
    return {
        key: place._replace(shape=_adapted(key, place.shape, shapes.get(key, ()), classes))
        for key, place in own.items()
    }


def _adapted(key: str, shape: Shape, given: Shape, classes: int) -> Shape:
    """The shape of a weight for such classes, and for images like those a given weight is for."""
    if is_classifier(key):
        return (classes, *shape[1:])
    if key in _STEMS and len(given) == len(shape):
        return (shape[0], given[1], *shape[2:])
    if key == _POSITIONS and len(given) == len(shape):
        return (shape[0], given[1], shape[2])
    return shape


@functools.cache
def _expected(name: str, side: int, options: tuple[tuple[str, Any], ...]) -> dict[str, Place]:
    net = models.create(name, num_classes=1, convolution="plain", **dict(options))
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return places(name, jax.eval_shape(net.init, jax.random.key(0), images))


def is_classifier(name: str) -> bool:
    """Whether a PyTorch name is of the classifier."""
    return name.split(".")[0] in naming.CLASSIFIERS


def without_classifier(weights: Mapping[str, T]) -> dict[str, T]:
    """All but the classifier of what is given by PyTorch name."""
    return {key: value for key, value in weights.items() if not is_classifier(key)}


def check(
    name: str,
    subject: str,
    wanted: Mapping[str, Place],
    found: Mapping[str, Shape],
    given: Iterable[str] | None = None,
) -> None:
    """Compares the weights that are there with those that an architecture has.

    Args:
        name: of the architecture.
        subject: what the sentence says does not fit.
        wanted: the places by PyTorch name.
        found: the shapes of the weights by PyTorch name.
        given: an encoder's names with any prefix that was taken off; with them the sentence says
            what would fit.

    Raises:
        ValueError: they differ.
    """
    missing = [key for key in wanted if key not in found]
    surplus = [key for key in found if key not in wanted]
    other = [key for key in wanted if key in found and found[key] != wanted[key].shape]
    if not missing and not surplus and not other:
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_first(missing)})")
    if surplus:
        parts.append(f"{len(surplus)} unknown ({_first(surplus)})")
    if other:
        key = other[0]
        shape = f"{key} is {found[key]}, not {wanted[key].shape}"
        parts.append(f"{len(other)} of another shape ({shape}{', ...' * (len(other) > 1)})")
    wrong = [*missing, *surplus, *other]
    hint = "" if given is None else _hint(name, wrong, wanted, found, set(given))
    raise ValueError(f"{subject} does not fit {name!r}: {', '.join(parts)}{hint}.")


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + ", ..." * (len(names) > 3)


def _hint(
    name: str,
    wrong: list[str],
    wanted: Mapping[str, Place],
    found: Mapping[str, Shape],
    given: set[str],
) -> str:
    """What would fit, if anything is found."""
    if all(map(is_classifier, wrong)):
        return "; classifier=False leaves the classifier out"
    names = list(without_classifier(wanted))
    prefixes = {key.removesuffix(names[0]) for key in given if key.endswith(f".{names[0]}")}
    whole = [p for p in sorted(prefixes) if {p + key for key in names} <= given]
    if whole:
        return f"; it would with prefix={' or '.join(map(repr, whole))}"
    body = without_classifier(found)
    settings: list[tuple[str, dict[str, str]]] = [(other, {}) for other in models.names()]
    for other, options in [(name, {"stem": "small"}), (name, {"norm": "group"}), *settings]:
        with contextlib.suppress(ValueError):  # not every architecture has every option
            theirs = {key: place.shape for key, place in expected(other, found, options).items()}
            if body and without_classifier(theirs) == body:
                with_options = "".join(f", {key}={value!r}" for key, value in options.items())
                return f"; it looks like {other!r}{with_options or ' as it is' * (other == name)}"
    return ""
