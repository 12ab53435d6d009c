"""Those who are judged side by side: networks, their ensembles, and baselines."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from mcl_jax.cohort import Output
from mcl_jax.evaluation.nearest import unit

T = TypeVar("T")
S = TypeVar("S")
P = TypeVar("P", bound=tuple[np.ndarray, ...])


class Encoded(NamedTuple):
    """What one encoder makes of the rows of a data set.

    Attributes:
        train: [N, F], floating.
        validation: [n, F]; may be without rows.
        test: [n, F].
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Pair(NamedTuple):
    """What one encoder makes of images and of second views of them.

    Attributes:
        plain: [n, F], floating.
        moved: [n, F].
    """

    plain: np.ndarray
    moved: np.ndarray


@dataclasses.dataclass(frozen=True)
class Panel(Generic[T]):
    """One thing of each who is judged.

    Attributes:
        networks: of each of M networks.
        concatenated: of their features in one; None where there is but one network.
        averaged: of the mean of their answers; None where there is none.
        baselines: by name, of each encoder of its kind.
    """

    networks: list[T]
    concatenated: T | None
    averaged: T | None
    baselines: dict[str, list[T]]

    def map(self, function: Callable[[T], S]) -> "Panel[S]":
        """The same of what a function makes of each.

        Example:
            >>> Panel([1, 2], 3, None, {"raw pixels": [4]}).map(str).baselines
            {'raw pixels': ['4']}
        """
        return Panel(
            [function(x) for x in self.networks],
            None if self.concatenated is None else function(self.concatenated),
            None if self.averaged is None else function(self.averaged),
            {name: [function(x) for x in each] for name, each in self.baselines.items()},
        )


def panel(networks: Sequence[P], baselines: dict[str, list[P]] | None = None) -> Panel[P]:
    """Networks with the ensemble of their features, beside baselines.

    Args:
        networks: of M networks, tuples of features.
        baselines: by name.

    Returns:
        The panel; averages are of answers, which are yet to be given.

    Example:
        >>> one = Encoded(*(np.ones([2, 3]),) * 3)
        >>> panel([one, one]).concatenated.test.shape
        (2, 6)
    """
    whole = concatenated(networks) if len(networks) > 1 else None
    return Panel(list(networks), whole, None, dict(baselines or {}))


def concatenated(networks: Sequence[P]) -> P:
    """The features of all networks in one, those of each scaled to unit length before.

    The cosine of two such rows is the mean of the networks' cosines.

    Args:
        networks: of M networks, tuples of features [N, F].

    Returns:
        A tuple of [N, the sum of F].
    """
    arrays = zip(*networks, strict=True)
    kind: Any = type(networks[0])
    return kind(*(np.concatenate([unit(x) for x in each], axis=-1) for each in arrays))


def features_of(*outputs: Output) -> list[tuple[np.ndarray, ...]]:
    """For each network its features in each of some outputs.

    Args:
        outputs: of the same M networks.

    Returns:
        M tuples of as many [N, F] as there are outputs.
    """
    return [
        tuple(np.asarray(output.features[group][member]) for output in outputs)
        for group, features in enumerate(outputs[0].features)
        for member in range(len(features))
    ]


def answered(said: Panel[dict[str, np.ndarray]]) -> Panel[dict[str, np.ndarray]]:
    """Adds the mean of the networks' answers.

    Args:
        said: probabilities [n, C] of each, by the name of a protocol.

    Returns:
        The same with ``averaged``, where there are several networks.
    """
    if len(said.networks) < 2:
        return said
    names = said.networks[0]
    averaged = {name: np.mean([x[name] for x in said.networks], axis=0) for name in names}
    return dataclasses.replace(said, averaged=averaged)


def joined(panels: Sequence[Panel[float]], join: Callable[[list[float]], Any]) -> Panel[float]:
    """Panels of several draws as one.

    Args:
        panels: of the same encoders.
        join: of the numbers of one encoder, such as their mean.

    Example:
        >>> joined([Panel([1.0], None, None, {}), Panel([3.0], None, None, {})], np.mean).networks
        [2.0]
    """

    def together(parts: Sequence[Any]) -> Any:
        if any(part is None for part in parts):
            return None
        return float(join([float(part) for part in parts]))

    def each(lists: Sequence[list[float]]) -> list[float]:
        return [together(parts) for parts in zip(*lists, strict=True)]

    return Panel(
        each([x.networks for x in panels]),
        together([x.concatenated for x in panels]),
        together([x.averaged for x in panels]),
        {name: each([x.baselines[name] for x in panels]) for name in panels[0].baselines},
    )
