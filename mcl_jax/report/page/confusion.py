"""Which classes are taken for which."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcl_jax.evaluation import Outputs, confusion_matrix, together
from mcl_jax.report.page import wording
from mcl_jax.report.page.heat import draw_heat
from mcl_jax.report.page.svg import Picture, drawing, to_svg

_MOST_CLASSES = 20  # more have no legible matrix


def ensemble_confusion(outputs: Outputs) -> dict[str, Any]:
    """The ensemble's confusions: ``confusion``, a picture or None, and ``confused``, pairs.

    Args:
        outputs: of M networks; one network is its own ensemble.
    """
    classes = len(outputs.class_names)
    answers = together(outputs.logits, outputs.answers).argmax(axis=-1)
    counts = confusion_matrix(answers, outputs.labels, classes)
    who = "the ensemble" if len(outputs.logits) > 1 else "the network"
    small = classes <= _MOST_CLASSES
    return {
        "confusion": _picture(counts, outputs.class_names, who) if small else None,
        "confused": most_confused(counts, outputs.class_names, most=12),
    }


def _picture(confusion: np.ndarray, names: Sequence[str], who: str) -> Picture:
    """The confusion matrix of C classes, few enough to be read.

    Args:
        confusion: [C, C], counts; rows are true classes.
        names: C names.
        who: whose answers they are.
    """
    classes = len(names)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.36 * classes
    with drawing(max(4.2, side), max(3.6, 0.86 * side)) as figure:
        axes = figure.subplots()
        draw_heat(axes, shares, 0, confusion.astype(str).tolist(), 8, hide_zeros=True)
        labels = [wording.short(name) for name in names]
        axes.set_xticks(range(classes), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), labels)
        axes.set_xlabel(f"answer of {who}")
        axes.set_ylabel("true class")
        pairs = most_confused(confusion, names, most=3)
        right = np.trace(confusion) / max(confusion.sum(), 1)
        worst = "; ".join(f"{true} taken for {said}: {times}" for true, said, times, _ in pairs)
        alt = (
            f"Confusion matrix of {who} over {classes} classes, {right:.1%} on the diagonal. "
            f"Most frequent confusions: {worst or 'none'}."
        )
        svg = to_svg(figure, "confusion", alt)
    caption = (
        f"Rows are true classes, columns answers of {who}; the colour is the share of the row's "
        "images, the number how many."
    )
    return Picture("Confusion matrix", svg, alt, caption, wide=True)


def most_confused(
    confusion: np.ndarray, names: Sequence[str], most: int = 15
) -> list[tuple[str, str, int, float]]:
    """The pairs of classes that are taken for one another most often.

    Args:
        confusion: [C, C], counts; rows are true classes.
        names: C names.
        most: pairs at most.

    Returns:
        (true class, answer, how often, share of the true class's rows), most frequent first.

    Example:
        >>> most_confused(np.array([[8, 2], [1, 9]]), ["cat", "dog"])
        [('cat', 'dog', 2, 0.2), ('dog', 'cat', 1, 0.1)]
    """
    errors = confusion * (1 - np.eye(len(confusion), dtype=int))
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    rows = confusion.sum(axis=1)
    pairs = [divmod(int(cell), len(confusion)) for cell in order]
    return [
        (names[true], names[said], int(errors[true, said]), float(errors[true, said] / rows[true]))
        for true, said in pairs
        if errors[true, said]
    ]
