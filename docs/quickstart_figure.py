"""Draws the README's picture from a finished run of the quickstart.

python docs/quickstart_figure.py runs/quickstart docs/quickstart.png     # wants the docs extra
"""

import json
import pathlib
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

TERMS = {"vcl": "VCL", "icl": "ICL", "soft_vcl": "soft VCL", "soft_icl": "soft ICL"}


def draw_accuracy(axes: Axes, records: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Validation accuracy over the steps, and the baselines without training as lines."""
    judged = [record for record in records if "validation" in record]
    steps = [record["step"] for record in judged]
    members = 100 * np.array([record["validation"]["accuracy"] for record in judged])
    for index, accuracy in enumerate(members.T):
        axes.plot(steps, accuracy, marker="o", label=f"network {index}")
    together = [100 * record["validation"]["ensemble_accuracy"] for record in judged]
    axes.plot(steps, together, marker="s", color="black", label="ensemble")
    for (name, figures), style in zip(summary["baselines"].items(), ("--", ":"), strict=False):
        level = 100 * np.mean(figures["knn_accuracy"])
        axes.axhline(level, color="grey", linestyle=style, label=f"{name}, kNN on test")
    axes.set(xlabel="step", ylabel="accuracy on validation, %", title="1,000 labelled images")
    axes.legend(fontsize=8)


def draw_terms(axes: Axes, records: list[dict[str, Any]]) -> None:
    """The four terms over the steps."""
    trained = [record for record in records if "loss" in record]
    steps = [record["step"] for record in trained]
    for name, label in TERMS.items():
        axes.plot(steps, [record[name] for record in trained], label=label)
    axes.set(xlabel="step", ylabel="term, nats", yscale="log", title="contrast within and across")
    axes.legend(fontsize=8)


def main(workdir: str, output: str) -> None:
    """Reads a workdir and writes a picture."""
    folder = pathlib.Path(workdir)
    summary = json.loads((folder / "summary.json").read_text())
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    mpl.use("agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    draw_accuracy(left, records, summary)
    draw_terms(right, records)
    figure.savefig(output, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
