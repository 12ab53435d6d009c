"""Images of a split beside what the networks say of them, and beside their neighbours."""

import base64
import io
from typing import NamedTuple

import numpy as np

from mcl_jax.evaluation import Outputs, together
from mcl_jax.report.page import wording

_CARDS = 24  # images that are shown with their answers
_NEIGHBOURS = 5
_SPACE = "\u00a0"


class Answer(NamedTuple):
    """A class that one or more networks put an image into.

    Attributes:
        name: of the class.
        right: whether it is the image's.
        who: the networks.
        sure: their mean probability of it.
    """

    name: str
    right: bool
    who: str
    sure: float


class Card(NamedTuple):
    """An image with its class and the answers.

    Attributes:
        uri: the image.
        alt: what it is.
        name: of its class.
        row: its number in the split.
        answers: of the networks, those of most networks first.
        split: whether the networks differ.
    """

    uri: str
    alt: str
    name: str
    row: int
    answers: list[Answer]
    split: bool


class Neighbour(NamedTuple):
    """An image near another one: itself, its class, whether that is the other's, the cosine."""

    uri: str
    alt: str
    name: str
    right: bool
    cosine: float


class Query(NamedTuple):
    """An image, and for each network its neighbours."""

    uri: str
    alt: str
    name: str
    row: int
    strips: list[tuple[str, list[Neighbour]]]


class Gallery(NamedTuple):
    """The cards, and how many rows there are of each kind."""

    cards: list[Card]
    differ: int
    wrong: int


def gallery(outputs: Outputs) -> Gallery:
    """Images on which networks differ, the surest of each other's opposites first; then errors.

    Two in three of the images are disagreements where there are enough of both kinds.
    """
    probabilities = _softmax(outputs.logits)
    answers = probabilities.argmax(axis=-1)
    differ = (answers != answers[0]).any(axis=0)
    common = together(outputs.logits, outputs.answers).argmax(axis=-1)
    wrong = ~differ & (common != outputs.labels)
    # An image is of interest if even its least sure network is sure.
    order = np.argsort(-probabilities.max(axis=-1).min(axis=0), kind="stable")
    first, then = order[differ[order]], order[wrong[order]]
    share = max(2 * _CARDS // 3, _CARDS - len(then))
    rows = np.concatenate([first[:share], then[: _CARDS - min(len(first), share)]])
    cards = [_card(outputs, probabilities, int(row), bool(differ[row])) for row in rows]
    return Gallery(cards, int(differ.sum()), int(wrong.sum()))


def neighbour_queries(outputs: Outputs) -> tuple[list[Query], list[float]]:
    """A few images with the nearest stored rows by cosine of features, network by network.

    Returns:
        The images, and for each network the share of all stored rows' neighbours that have the
        class of their row.
    """
    networks = [features for group in outputs.features for features in group]
    if len(outputs.rows) < 2:
        return [], []
    queries = _first_of_classes(
        outputs.labels, len(outputs.class_names), max(2, 8 // len(networks))
    )
    strips: list[list[tuple[str, list[Neighbour]]]] = [[] for _ in queries]
    shares = []
    for number, features in enumerate(networks):
        nearest, cosines = _nearest(features)
        shares.append(float(np.mean(outputs.labels[nearest] == outputs.labels[:, None])))
        for strip, row in zip(strips, queries, strict=True):
            near = zip(nearest[row], cosines[row], strict=True)
            strip.append(
                (f"network {number}", [_neighbour(outputs, row, int(i), float(c)) for i, c in near])
            )
    return [
        Query(*_image(outputs, row), _name(outputs, row), int(outputs.rows[row]), strip)
        for row, strip in zip(queries, strips, strict=True)
    ], shares


def data_uri(image: np.ndarray) -> str:
    """An image uint8 [H, W, c] as text that stands in a page; c is 1 or 3, others lose channels.

    Example:
        >>> data_uri(np.zeros([2, 2, 1], np.uint8))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    channels = image.shape[-1]
    pixels = image[..., :3] if channels >= 3 else image[..., 0]
    file = io.BytesIO()
    # Pixels of small images are looked at one by one; larger ones are small only as JPEG.
    kind = "png" if image.shape[0] * image.shape[1] <= 1024 else "jpeg"
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _card(outputs: Outputs, probabilities: np.ndarray, row: int, split: bool) -> Card:
    answers = probabilities[:, row].argmax(axis=-1)
    # Of most networks first; of as many, that of the first network.
    classes, first, counts = np.unique(answers, return_index=True, return_counts=True)
    said = [
        _answer(outputs, probabilities[:, row], answers, int(label), row)
        for label in classes[np.lexsort([first, -counts])]
    ]
    uri, alt = _image(outputs, row)
    return Card(uri, alt, _name(outputs, row), int(outputs.rows[row]), said, split)


def _answer(
    outputs: Outputs, probabilities: np.ndarray, answers: np.ndarray, label: int, row: int
) -> Answer:
    who = np.flatnonzero(answers == label)
    # A space that does not break keeps the number of a lone network with its noun.
    noun = f"network{_SPACE}" if len(who) == 1 else "networks "
    everyone = len(who) == len(answers) > 1
    return Answer(
        name=outputs.class_names[label],
        right=bool(label == outputs.labels[row]),
        who=f"all{_SPACE}networks" if everyone else f"{noun}{wording.ranges(who.tolist())}",
        sure=float(probabilities[who, label].mean()),
    )


def _neighbour(outputs: Outputs, query: int, row: int, cosine: float) -> Neighbour:
    right = bool(outputs.labels[row] == outputs.labels[query])
    return Neighbour(*_image(outputs, row), _name(outputs, row), right, cosine)


def _image(outputs: Outputs, row: int) -> tuple[str, str]:
    name = f"{outputs.split} image {outputs.rows[row]}: {_name(outputs, row)}"
    return data_uri(outputs.images[row]), name


def _name(outputs: Outputs, row: int) -> str:
    return outputs.class_names[outputs.labels[row]]


def _first_of_classes(labels: np.ndarray, classes: int, most: int) -> list[int]:
    """The first row of each of so many classes, evenly spread over those that have rows."""
    present = np.unique(labels)
    chosen = present[np.linspace(0, len(present) - 1, min(most, len(present))).astype(int)]
    return [int(np.argmax(labels == label)) for label in chosen]


def _nearest(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and cosines [n, k] of the k rows nearest to each row [n, F], itself left out."""
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    some = min(_NEIGHBOURS, len(features) - 1)
    nearest = np.argpartition(-cosines, max(some - 1, 0), axis=1)[:, :some]
    near = np.take_along_axis(cosines, nearest, axis=1)
    order = np.argsort(-near, axis=1, kind="stable")
    return np.take_along_axis(nearest, order, axis=1), np.take_along_axis(near, order, axis=1)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """[..., C] to probabilities."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
