"""Who is judged, and what they make of images: networks, the same before training, plain looks."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from mcl_jax.cohort import Output
from mcl_jax.data import Split, colour_histogram
from mcl_jax.evaluation.panel import P, Panel, features_of, panel
from mcl_jax.evaluation.predict import LoadRows, Predict, cut, predict_split

RANDOM, PIXELS = "random network", "raw pixels"

T = TypeVar("T", Output, np.ndarray)

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
Look = Callable[[np.ndarray], np.ndarray]


def as_it_is(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Images are shown as they are."""
    del rows
    return images


class Shown(NamedTuple):
    """What is shown.

    Attributes:
        split: the rows.
        change: (images [n, H, W, c], rows [n]) to images that are shown instead.
    """

    split: Split
    change: Change = as_it_is


@dataclasses.dataclass(frozen=True)
class Subjects:
    """Networks and baselines.

    Attributes:
        networks: uint8 images to Output of M networks.
        random: the same before training, or None.
        looks: baselines that are functions of a resident split's own images, to features [n, F].
        batch_size: B of a prediction.
        load: (split, rows) to the uint8 images that networks get.
    """

    networks: Predict
    random: Predict | None
    looks: dict[str, Look]
    batch_size: int
    load: LoadRows

    def features(self, kind: Callable[..., P], shown: Sequence[Shown]) -> tuple[Panel[P], Output]:
        """The features of some splits.

        Args:
            kind: makes a tuple of one encoder's features [N, F], in the order of the splits.
            shown: splits, of which the last one has rows.

        Returns:
            The panel, and all that the networks said of the last split.
        """
        said = self._said(self.networks, shown)
        baselines = {}
        if self.random is not None:
            drawn = features_of(*self._said(self.random, shown))
            baselines[RANDOM] = [kind(*x) for x in drawn]
        for name, look in self.looks.items():
            seen = [look(_images(each)) if len(each.split) else None for each in shown]
            baselines[name] = [kind(*_without_rows(seen, seen[-1]))]
        return panel([kind(*x) for x in features_of(*said)], baselines), said[-1]

    def embeddings(self, kind: Callable[..., P], shown: Sequence[Shown]) -> Panel[P]:
        """As `features`, of the embeddings of networks, trained and not."""
        found = []
        for predict in filter(None, (self.networks, self.random)):
            said = [output.embeddings for output in self._said(predict, shown)]
            found.append([kind(*x) for x in zip(*said, strict=True)])
        return panel(found[0], {RANDOM: found[1]} if self.random else {})

    def _said(self, predict: Predict, shown: Sequence[Shown]) -> list[Output]:
        """Outputs of [M, N, ...]."""
        said = [self._of(predict, each) if len(each.split) else None for each in shown]
        return _without_rows(said, said[-1])

    def _of(self, predict: Predict, shown: Shown) -> Output:
        def load(split: Split, rows: np.ndarray) -> np.ndarray:
            return shown.change(self.load(split, rows), rows)

        return predict_split(predict, shown.split, self.batch_size, load)


def _without_rows(found: Sequence[T | None], last: T | None) -> list[T]:
    """What is known of splits with rows, and of the others the last one's without its rows."""
    assert last is not None
    empty = cut(last, 0) if isinstance(last, Output) else last[:0]
    return [empty if each is None else each for each in found]


def _images(shown: Shown) -> np.ndarray:
    """uint8 [N, H, W, c] of a resident split."""
    assert shown.split.images is not None
    return shown.change(shown.split.images, np.arange(len(shown.split)))


def looks(split: Split) -> dict[str, Look]:
    """The baselines that need no network.

    Args:
        split: of the data set; one that streams has none, as its images do not fit into memory.
            Colours are counted where there are three channels.
    """
    if split.images is None:
        return {}
    found: dict[str, Look] = {PIXELS: pixels}
    return found | ({"colour histogram": colour_histogram} if split.images.shape[-1] == 3 else {})


def pixels(images: np.ndarray) -> np.ndarray:
    """Images as features: uint8 [N, H, W, c] to float32 [N, H W c], from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / 255
