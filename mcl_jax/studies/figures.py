"""What a run left, as figures that runs can be compared by."""

from typing import Any, NamedTuple

import numpy as np

# Of whom a figure is, in the order in which they are shown.
WHO = {
    "mean": "mean of members",
    "best": "member that is best on validation",
    "averaged": "ensemble, answers averaged",
    "concatenated": "ensemble, features concatenated",
}


VIEWS = "views"  # the group of what is not of networks


class Measure(NamedTuple):
    """A way of measuring, and what it says of one run.

    Attributes:
        title: a few words.
        protocol: how it is measured, in a phrase.
        group: of the table that it stands in.
        figures: by `WHO`; a single network is its own ensemble.
        baselines: by name, means over networks.
    """

    title: str
    protocol: str
    group: str
    figures: dict[str, float]
    baselines: dict[str, float]


def measures(summary: dict[str, Any], evaluation: dict[str, Any] | None) -> dict[str, Measure]:
    """Everything that was measured of a run.

    Args:
        summary: its ``summary.json``.
        evaluation: its ``evaluation.json``, if there is one.

    Returns:
        Measures by name, those of ``test`` first.
    """
    found: dict[str, Measure] = {}
    for split in ("test", "validation"):
        if summary.get(split):
            found |= _of_summary(summary, split)
    if evaluation is not None:
        best = evaluation.get("best_on_validation")
        for name, figure in evaluation["figures"].items():
            ensembles = {x: figure.get(x) for x in ("averaged", "concatenated")}
            found[name] = Measure(
                figure["title"],
                figure["protocol"],
                figure["group"],
                _who(figure["networks"], best, ensembles),
                _means(figure["baselines"]),
            )
        found |= _of_views(evaluation.get("shared"))
    return found


def _of_views(shared: dict[str, Any] | None) -> dict[str, Measure]:
    """The bound on what views share, beside what colours alone tell of it."""
    if shared is None:
        return {}
    reading = shared["views"]
    protocol = (
        f"InfoNCE in nats, mean of both directions, at most log {reading['candidates']}, of "
        f"{reading['rows']} test rows; critic: {reading['critic']}, {reading['parameters']:,} "
        f"parameters, {reading['steps']} steps of {reading['batch_size']} training rows"
    )
    bound, colours = float(reading["bound"]), float(shared["colours"]["bound"])
    figures = {"mean": bound}
    return {"shared": Measure("what views share", protocol, VIEWS, figures, {"colours": colours})}


def _of_summary(summary: dict[str, Any], split: str) -> dict[str, Measure]:
    """The answers on a split, and the plain vote of nearest neighbours beside that of baselines."""
    figures = summary[split]
    neighbours = figures.get("answers") == "neighbours"
    judged = summary.get("validation")
    best = int(np.argmax(judged["accuracy"])) if judged else None
    rows = f"the {summary['evaluation']['knn_neighbours']} nearest training rows"
    found = {
        f"{split}.accuracy": Measure(
            f"{split}, {'weighted kNN' if neighbours else 'classifier'}",
            f"weighted votes of {rows}" if neighbours else "own classifier",
            split,
            _who(figures["accuracy"], best, {"averaged": figures["ensemble_accuracy"]}),
            {},
        )
    }
    if "knn_accuracy" in figures:
        found[f"{split}.knn_accuracy"] = Measure(
            f"{split}, kNN",
            f"one vote each of {rows}",
            split,
            _who(figures["knn_accuracy"], best, {}),
            _means(summary["baselines"], "knn_accuracy") if split == "test" else {},
        )
    return found


def _who(
    networks: list[float | None], best: int | None, ensembles: dict[str, float | None]
) -> dict[str, float]:
    """Figures by `WHO`; what is not known is left out."""
    if len(networks) == 1 and networks[0] is not None:
        return {"mean": networks[0], "best": networks[0], **dict.fromkeys(ensembles, networks[0])}
    found = {"mean": _mean(networks), **ensembles}
    if best is not None:
        found["best"] = networks[best]
    return {who: found[who] for who in WHO if found.get(who) is not None}  # type: ignore[misc]


def _mean(values: list[float | None]) -> float | None:
    known = [x for x in values if x is not None]
    return float(np.mean(known)) if known else None


def _means(baselines: dict[str, Any], name: str | None = None) -> dict[str, float]:
    """The mean over networks of each baseline."""
    values = {x: _mean(y if name is None else y.get(name, [])) for x, y in baselines.items()}
    return {x: value for x, value in values.items() if value is not None}
