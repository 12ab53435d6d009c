"""Everything that is measured of networks, their ensembles and baselines on one data set."""

import dataclasses
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mcl_jax.data import Dataset, Split
from mcl_jax.evaluation.accuracy import accuracy
from mcl_jax.evaluation.calibration import expected_calibration_error
from mcl_jax.evaluation.diagnostics import linear_cka
from mcl_jax.evaluation.few_labels import few_labels, few_rows
from mcl_jax.evaluation.figures import (
    ACCURACY,
    DRAWS,
    FEW_LABELS,
    GEOMETRY,
    NEIGHBOURS,
    PARTS,
    PER_CLASS,
    PIXEL_COMPONENTS,
    RETRIEVAL,
    TITLES,
    Figure,
)
from mcl_jax.evaluation.knn import knn_votes
from mcl_jax.evaluation.labelled import Labelled
from mcl_jax.evaluation.linear_probe import linear_probe
from mcl_jax.evaluation.panel import Encoded, Pair, Panel, answered, joined
from mcl_jax.evaluation.predict import LoadRows, Predict, load_resident, some
from mcl_jax.evaluation.retrieval import Retrieval, retrieval
from mcl_jax.evaluation.sgd_probe import sgd_probe
from mcl_jax.evaluation.spread import moved, spread
from mcl_jax.evaluation.subjects import PIXELS, Shown, Subjects, looks

_PAIRS = 2000  # test rows whose geometry is looked at

Tell = Callable[[str], None]


def _tell_nobody(text: str) -> None:
    del text


def evaluate(
    predict: Predict,
    dataset: Dataset,
    *,
    parts: Sequence[str] = tuple(PARTS),
    random_network: Predict | None = None,
    classifies: bool = True,
    batch_size: int = 500,
    train_rows: int = 50_000,
    load: LoadRows = load_resident,
    like: dict[str, Any] | None = None,
    tell: Tell = _tell_nobody,
) -> dict[str, Any]:
    """Judges networks by protocols that are the same for whatever gives features of images.

    Features are taken once, from images as they are. Test rows are judged; training rows are
    learned from and searched; validation rows are chosen on.

    Args:
        predict: uint8 images [B, H, W, c] to Output of M networks; `mcl_jax.evaluation.encoder`
            makes one of any function from images to features.
        dataset: may be another one than the networks were trained on.
        parts: of the evaluation, some of `mcl_jax.evaluation.PARTS`.
        random_network: the same networks before training, as a baseline.
        classifies: whether logits are answers in the data set's classes; if not, or if there is
            not one a class, the part ``classifier`` is left out.
        batch_size: B of a prediction.
        train_rows: at most so many training rows are used, always the same ones.
        load: (split, rows) to uint8 images.
        like: what this function gave for other networks with the same data set, ``train_rows`` and
            parts, or more parts: baselines that need no network are taken from there.
        tell: is told what comes next.

    Returns:
        What JSON holds: ``figures`` by name, each with ``title``, ``protocol``, ``group``,
        ``networks``, ``concatenated``, ``averaged``, ``baselines`` and, over draws, ``spread``;
        ``rows`` of each split; ``classes``; ``cka`` [M, M] or None; ``best_on_validation``, the
        network whose 20 nearest neighbours vote best there, or None; ``parts`` that were asked for;
        ``notes``, sentences.

    Raises:
        ValueError: a part is unknown, or ``like`` is without it.

    Example:
        >>> from mcl_jax.evaluation import encoder
        >>> rng = np.random.default_rng(0)
        >>> rows = Split(np.int32([0, 1] * 4), images=rng.integers(0, 255, (8, 4, 4, 1), np.uint8))
        >>> data = Dataset("made up", rows, rows, rows, ("a", "b"), "")
        >>> found = evaluate(encoder(lambda images: images[:, 0, :, 0]), data, parts=("knn",))
        >>> list(found["figures"]), found["figures"]["knn_1"]["networks"]
        (['knn_1', 'knn_20', 'knn_200'], [1.0])
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise ValueError(f"parts must be some of {', '.join(PARTS)}, got {unknown[0]!r}.")
    if like is not None and not set(parts) <= set(like["parts"]):
        raise ValueError(f"like must have the parts {list(parts)}, got {like['parts']}.")
    dataset = dataclasses.replace(dataset, train=some(dataset.train, train_rows))
    plain = looks(dataset.test)
    tell("features")
    subjects = Subjects(predict, random_network, {} if like else plain, batch_size, load)
    bench = _bench(subjects, dataset)
    figures: dict[str, Figure] = {}
    answers = classifies and bench.logits.shape[-1] == dataset.num_classes
    for part in PARTS:
        if part in parts and (part != "classifier" or answers):
            tell(PARTS[part])
            figures |= _MEASURED[part](bench)
    several = len(bench.encoded.networks) > 1
    return {
        "figures": {
            name: _beside(figure.plain(), like and like["figures"].get(name), plain)
            for name, figure in figures.items()
        },
        "rows": {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")},
        "classes": dataset.num_classes,
        "cka": _cka(bench) if several and "geometry" in parts else None,
        "best_on_validation": _best_on_validation(bench) if several else None,
        "parts": list(parts),
        "notes": bench.notes,
    }


def _beside(
    figure: dict[str, Any], before: dict[str, Any] | None, names: Iterable[str]
) -> dict[str, Any]:
    """A figure, and its spread, with the baselines of these names that were measured before."""
    if before is None:
        return figure
    known = {name: before["baselines"][name] for name in names if name in before["baselines"]}
    found = figure | {"baselines": figure["baselines"] | known}
    if "spread" not in figure:
        return found
    return found | {"spread": _beside(figure["spread"], before["spread"], names)}


class _Bench(NamedTuple):
    """All that is measured on: features of all, labels, and who gives more of them."""

    encoded: Panel[Encoded]
    labels: Encoded
    classes: int
    logits: np.ndarray
    subjects: Subjects
    test: Split
    notes: list[str]

    def rows(self, encoded: Encoded) -> tuple[Labelled, Labelled]:
        """Training rows of an encoder, and those to choose on."""
        train, validation, _ = self.labels
        return Labelled(encoded.train, train), Labelled(encoded.validation, validation)


def _bench(subjects: Subjects, dataset: Dataset) -> _Bench:
    splits = dataset.train, dataset.validation, dataset.test
    encoded, said = subjects.features(Encoded, list(map(Shown, splits)))
    labels = Encoded(*(split.labels for split in splits))
    logits, classes = np.asarray(said.logits), dataset.num_classes
    return _Bench(encoded, labels, classes, logits, subjects, dataset.test, notes=[])


def _shares(
    bench: _Bench, protocol: Callable[[Encoded], dict[str, np.ndarray]]
) -> Panel[dict[str, np.ndarray]]:
    """Probabilities [n, C] of test rows by the name of a figure, those of the ensemble too."""
    return answered(bench.encoded.map(protocol))


def _right(bench: _Bench, said: Panel[dict[str, np.ndarray]], name: str) -> Panel[float]:
    return said.map(lambda x: float(accuracy(x[name], bench.labels.test)))


def _error(bench: _Bench, said: Panel[dict[str, np.ndarray]], name: str) -> Panel[float]:
    return said.map(lambda x: expected_calibration_error(x[name], bench.labels.test))


def _classifier(bench: _Bench) -> dict[str, Figure]:
    powers = np.exp(bench.logits - bench.logits.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    said = answered(Panel([{"": x} for x in shares], None, None, {}))
    return {
        "classifier": Figure(*TITLES["classifier"], ACCURACY, _right(bench, said, "")),
        "classifier_ece": Figure(*TITLES["classifier_ece"], RETRIEVAL, _error(bench, said, "")),
    }


def _knn(bench: _Bench) -> dict[str, Figure]:
    def protocol(encoded: Encoded) -> dict[str, np.ndarray]:
        shares = knn_votes(
            encoded.train,
            bench.labels.train,
            encoded.test,
            classes=bench.classes,
            neighbours=NEIGHBOURS,
        )
        return {f"knn_{k}": share for k, share in zip(NEIGHBOURS, shares, strict=True)}

    said = _shares(bench, protocol)
    return {
        f"knn_{k}": Figure(*TITLES[f"knn_{k}"], ACCURACY, _right(bench, said, f"knn_{k}"))
        for k in NEIGHBOURS
    }


def _linear(bench: _Bench) -> dict[str, Figure]:
    pixels = bench.encoded.baselines.get(PIXELS, [])

    def protocol(encoded: Encoded) -> dict[str, np.ndarray]:
        # Thousands of pixels would take minutes, longer than all the rest together.
        narrow = any(encoded is each for each in pixels)
        probe = linear_probe(
            *bench.rows(encoded),
            encoded.test,
            classes=bench.classes,
            components=PIXEL_COMPONENTS if narrow else None,
        )
        return {"": probe.probabilities}

    said = _shares(bench, protocol)
    return {
        "linear": Figure(*TITLES["linear"], ACCURACY, _right(bench, said, "")),
        "linear_ece": Figure(*TITLES["linear_ece"], RETRIEVAL, _error(bench, said, "")),
    }


def _sgd(bench: _Bench) -> dict[str, Figure]:
    def protocol(encoded: Encoded) -> dict[str, np.ndarray]:
        probe = sgd_probe(*bench.rows(encoded), encoded.test, classes=bench.classes)
        return {"": probe.probabilities}

    said = _shares(bench, protocol)
    return {"sgd": Figure(*TITLES["sgd"], ACCURACY, _right(bench, said, ""))}


def _few_labels(bench: _Bench) -> dict[str, Figure]:
    smallest = int(np.bincount(bench.labels.train, minlength=bench.classes).min())
    figures = {}
    for count in PER_CLASS:
        if count > smallest:
            bench.notes.append(
                f"{count} labels a class are more than the {smallest} training rows of the "
                f"smallest class."
            )
            continue
        draws = [_right(bench, _shares(bench, _few(bench, count, n)), "") for n in range(DRAWS)]
        spread = joined(draws, lambda x: float(np.std(x, ddof=1)))
        name = f"few_{count}"
        figures[name] = Figure(*TITLES[name], FEW_LABELS, joined(draws, np.mean), spread)
    return figures


def _few(bench: _Bench, count: int, draw: int) -> Callable[[Encoded], dict[str, np.ndarray]]:
    """The protocol of one draw: the same rows for every encoder."""
    rows = few_rows(bench.labels.train, count, classes=bench.classes, draw=draw)

    def protocol(encoded: Encoded) -> dict[str, np.ndarray]:
        train, _ = bench.rows(encoded)
        return {"": few_labels(train.take(rows), encoded.test, classes=bench.classes)}

    return protocol


def _retrieval(bench: _Bench) -> dict[str, Figure]:
    found = bench.encoded.map(lambda x: retrieval(x.test, bench.labels.test))
    return {
        name: Figure(*TITLES[name], RETRIEVAL, found.map(operator.attrgetter(name)))
        for name in Retrieval._fields
    }


def _geometry(bench: _Bench) -> dict[str, Figure]:
    test = some(bench.test, _PAIRS)
    shown = [Shown(test), Shown(test, moved)]
    of_features = bench.subjects.features(Pair, shown)[0].map(lambda x: spread(*x))
    of_embeddings = bench.subjects.embeddings(Pair, shown).map(lambda x: spread(*x))
    return {
        f"{part}_{name}": Figure(
            *TITLES[f"{part}_{name}"], GEOMETRY, found.map(operator.itemgetter(name))
        )
        for part, found in (("features", of_features), ("embeddings", of_embeddings))
        for name in ("alignment", "uniformity", "rank")
    }


_MEASURED: dict[str, Callable[[_Bench], dict[str, Figure]]] = {
    "classifier": _classifier,
    "knn": _knn,
    "linear": _linear,
    "sgd": _sgd,
    "few_labels": _few_labels,
    "retrieval": _retrieval,
    "geometry": _geometry,
}


def _cka(bench: _Bench) -> list[list[float | None]]:
    """Between the networks' features of test rows; None where one is constant."""
    rows = np.arange(len(bench.test))[:_PAIRS]
    alike = linear_cka([x.test[None, rows] for x in bench.encoded.networks])
    return [[float(x) if np.isfinite(x) else None for x in row] for row in alike]


def _best_on_validation(bench: _Bench) -> int | None:
    """The network to take if one is to be taken, by weighted votes of 20 neighbours."""
    labels = bench.labels
    if not len(labels.validation):
        return None
    figures = []
    for encoded in bench.encoded.networks:
        votes = knn_votes(
            encoded.train,
            labels.train,
            encoded.validation,
            classes=bench.classes,
            neighbours=(20,),
        )
        figures.append(float(accuracy(votes[0], labels.validation)))
    return int(np.argmax(figures))
