"""The figures of a run: every member, the ensemble, and the baselines beside them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from mcl_jax.cohort import Output
from mcl_jax.data import Dataset, Split, colour_histogram
from mcl_jax.evaluation.accuracy import accuracy
from mcl_jax.evaluation.knn import knn_accuracy, knn_votes
from mcl_jax.evaluation.panel import features_of
from mcl_jax.evaluation.predict import LoadRows, Predict, load_resident, predict_split, some

_LEAST = 1e-9  # share of votes, whose logarithm is finite

Keep = Callable[[str, Split, Output], None]


def _keep_nothing(name: str, split: Split, output: Output) -> None:
    del name, split, output


@dataclasses.dataclass(frozen=True)
class Judge:
    """Judges predictors on one data set.

    Attributes:
        dataset: its training rows are searched for neighbours; its classes are answered.
        batch_size: B of a prediction.
        neighbours: votes a row of the nearest-neighbour figures.
        train_rows: at most so many training rows are searched, the first ones of a class-blind
            random order.
        load: (split, rows) to uint8 images.
        classifies: whether the networks' logits are answers. If not, their nearest neighbours
            answer: logits become logarithms of the shares of votes, weighed as `knn_votes` does.
    """

    dataset: Dataset
    batch_size: int = 500
    neighbours: int = 20
    train_rows: int = 50_000
    load: LoadRows = load_resident
    classifies: bool = True

    @property
    def answers(self) -> str:
        """Who answers: ``"classifier"`` or ``"neighbours"``."""
        return "classifier" if self.classifies else "neighbours"

    def rehearse(self, predict: Predict) -> None:
        """Predicts one batch, so that what cannot be judged is told of before it is trained."""
        self._predict(predict, self.dataset.test.take([0]))

    def quick(self, predict: Predict, keep: Keep = _keep_nothing) -> dict[str, Any]:
        """Accuracy of each member and of the ensemble on ``validation``, which has rows.

        Where nearest neighbours answer, training rows are predicted for it too, at most
        ``train_rows`` of them.

        Args:
            predict: the networks.
            keep: is handed what they say, as ``("validation", split, output)``.
        """
        split = self.dataset.validation
        output = self._predict(predict, split)
        if not self.classifies:
            train = self._train()
            output = self._voted(self._predict(predict, train), train, output)
        keep("validation", split, output)
        return self._accuracies(output, split)

    def full(
        self, predict: Predict, keep: Keep = _keep_nothing
    ) -> dict[str, dict[str, Any] | None]:
        """As `quick` with the nearest-neighbour figures, on ``validation`` and ``test``.

        Args:
            predict: the networks.
            keep: is handed what they say of each split, ``"test"`` last.

        Returns:
            A dict of each split's figures; None for a split without rows.
        """
        train = self._train()
        keys = self._predict(predict, train)
        figures: dict[str, dict[str, Any] | None] = {}
        for name, split in (("validation", self.dataset.validation), ("test", self.dataset.test)):
            if not len(split):
                figures[name] = None
                continue
            output = self._predict(predict, split)
            if not self.classifies:
                output = self._voted(keys, train, output)
            keep(name, split, output)
            figures[name] = self._accuracies(output, split) | {
                "knn_accuracy": self._knn(keys, train, output, split)
            }
        return figures

    def baselines(self, random_network: Predict) -> dict[str, dict[str, Any]]:
        """Nearest-neighbour accuracy on test without learning.

        Args:
            random_network: the untrained networks.

        Returns:
            For each baseline ``{"knn_accuracy": [one a network]}`` (one where no network is).
        """
        train, test = self._train(), self.dataset.test
        random = self._knn(
            self._predict(random_network, train), train, self._predict(random_network, test), test
        )
        named = {"random network": random}
        if train.images is not None and test.images is not None:
            views = {"raw pixels": _pixels}
            if self.dataset.name.startswith("photographs"):
                # Which picture a crop is of shows in its colours: the figure to beat.
                views["colour histogram"] = colour_histogram
            for name, view in views.items():
                keys, queries = view(train.images), view(test.images)
                figure = knn_accuracy(
                    keys, train.labels, queries, test.labels, neighbours=self.neighbours
                )
                named[name] = [figure]
        return {name: {"knn_accuracy": figures} for name, figures in named.items()}

    def _train(self) -> Split:
        return some(self.dataset.train, self.train_rows)

    def _predict(self, predict: Predict, split: Split) -> Output:
        return predict_split(predict, split, self.batch_size, self.load)

    def _voted(self, keys: Output, train: Split, output: Output) -> Output:
        """The output with the answers of nearest neighbours."""
        votes = [
            knn_votes(
                trained,
                train.labels,
                asked,
                classes=self.dataset.num_classes,
                neighbours=(self.neighbours,),
            )[0]
            for trained, asked in features_of(keys, output)
        ]
        logits: Any = np.log(np.maximum(votes, _LEAST))
        return output._replace(logits=logits)

    def _accuracies(self, output: Output, split: Split) -> dict[str, Any]:
        logits = np.asarray(output.logits)
        common = together(logits, self.answers)
        return {
            "answers": self.answers,
            "accuracy": accuracy(logits, split.labels).tolist(),
            "ensemble_accuracy": float(accuracy(common, split.labels)),
        }

    def _knn(self, keys: Output, train: Split, output: Output, split: Split) -> list[float]:
        """One figure a network, over the groups of like networks."""
        return [
            knn_accuracy(trained, train.labels, asked, split.labels, neighbours=self.neighbours)
            for trained, asked in features_of(keys, output)
        ]


def together(logits: np.ndarray, answers: str) -> np.ndarray:
    """The ensemble's answer: the mean of logits, or of neighbours' votes. Pure NumPy.

    Args:
        logits: [M, n, C]; of neighbours, logarithms of shares.
        answers: ``"classifier"`` or ``"neighbours"``.

    Returns:
        [n, C], larger where the answer is surer.

    Example:
        >>> import numpy as np
        >>> shares = np.array([[[0.98, 0.02]], [[0.49, 0.51]]])
        >>> together(np.log(shares), "neighbours").round(3).tolist()
        [[0.735, 0.265]]
    """
    if answers == "neighbours":
        return np.exp(logits).mean(axis=0)
    return np.mean(logits, axis=0)


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)
