"""What is measured: the name of each figure, what it is called, and how it comes about."""

from typing import Any, NamedTuple

from mcl_jax.evaluation.panel import Panel

ACCURACY, FEW_LABELS = "accuracy", "few labels"
RETRIEVAL, GEOMETRY = "retrieval and calibration", "geometry"

# The parts of an evaluation in their order; all but the last take seconds on a few thousand rows.
PARTS = {
    "classifier": "accuracy and calibration of the networks' own classifiers",
    "knn": "weighted nearest neighbours",
    "linear": "linear probe by LBFGS, with its calibration",
    "sgd": "linear probe by SGD, as the papers have it",
    "few_labels": "1, 5 and 10 labels a class",
    "retrieval": "how many of the nearest rows are of the same class",
    "geometry": "alignment, uniformity, effective rank, and CKA between networks",
}

NEIGHBOURS = (1, 20, 200)
PER_CLASS = (1, 5, 10)
DRAWS = 10
PIXEL_COMPONENTS = 256

_FEW = (
    f"logistic regression on unit features with 1/2 |W|^2, mean over {DRAWS} draws of training rows"
)
_OTHERS = "test rows by cosine of features, each with all others"
_PAIRS = "2,000 test rows at most, features at unit length"
_HEADS = "2,000 test rows at most, embeddings behind the head"
# Name: what stands above its column, and the protocol.
TITLES = {
    "classifier": ("own classifier", "largest logit; averaged: mean of probabilities"),
    "classifier_ece": ("ECE, own classifier", "15 bins of equal width; 0 is calibrated"),
    **{
        f"knn_{k}": (
            f"kNN, k = {k}",
            "votes exp(cosine / 0.07) of the nearest training rows; averaged: mean of shares",
        )
        for k in NEIGHBOURS
    },
    "linear": (
        "linear, LBFGS",
        "logistic regression on standardised features; L2 of 8 strengths, the best on validation; "
        f"raw pixels: on their first {PIXEL_COMPONENTS} principal components",
    ),
    "linear_ece": ("ECE, linear", "15 bins of equal width; 0 is calibrated"),
    "sgd": (
        "linear, SGD",
        "100 epochs, batch 256, momentum 0.9, no decay, rate x 0.1 at 60 and 80; of 0.01, 10, 30 "
        "the best on validation",
    ),
    **{f"few_{count}": (f"{count} label{'s' * (count > 1)} a class", _FEW) for count in PER_CLASS},
    "precision_at_1": ("P@1", _OTHERS),
    "r_precision": ("R-precision", _OTHERS),
    "map_at_r": ("MAP@R", _OTHERS),
    "features_alignment": (
        "alignment, features",
        f"{_PAIRS}; squared distance to the image moved by an eighth at most",
    ),
    "features_uniformity": (
        "uniformity, features",
        f"{_PAIRS}; log mean exp(-2 squared distance) of pairs, lower is more even",
    ),
    "features_rank": ("RankMe, features", f"{_PAIRS}; the directions in use, 1 to F"),
    "embeddings_alignment": ("alignment, embeddings", f"{_HEADS}; as of features"),
    "embeddings_uniformity": ("uniformity, embeddings", f"{_HEADS}; as of features"),
    "embeddings_rank": ("RankMe, embeddings", f"{_HEADS}; as of features"),
}


class Figure(NamedTuple):
    """A measurement of all who are judged.

    Attributes:
        title: a few words.
        protocol: how it is measured, in a phrase.
        group: of the table that it stands in.
        values: of networks, ensembles and baselines.
        spread: standard deviation over draws, where there are several.
    """

    title: str
    protocol: str
    group: str
    values: Panel[float]
    spread: Panel[float] | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        found: dict[str, Any] = {
            "title": self.title,
            "protocol": self.protocol,
            "group": self.group,
            **_plain(self.values),
        }
        return found | ({} if self.spread is None else {"spread": _plain(self.spread)})


def _plain(panel: Panel[float]) -> dict[str, Any]:
    return {
        "networks": panel.networks,
        "concatenated": panel.concatenated,
        "averaged": panel.averaged,
        "baselines": panel.baselines,
    }
