"""What an evaluation says of a run: tables with every protocol, and a plot of few labels."""

import re
from typing import Any, NamedTuple

import numpy as np

from mcl_jax.report.evaluation_table import mean, shown
from mcl_jax.report.page import wording
from mcl_jax.report.page.matrices import network_matrix
from mcl_jax.report.page.results import Column, Row, Table
from mcl_jax.report.page.svg import INK, LINES, Picture, drawing, to_svg
from mcl_jax.report.page.workdir import Workdir

_ENSEMBLES = {
    "concatenated": "ensemble: features side by side",
    "averaged": "ensemble: mean of answers",
}
_DRAWS = (
    "In per cent; ± is the standard deviation over draws (mean of networks: the mean of theirs)."
)


class Section(NamedTuple):
    """An evaluation on one data set.

    Attributes:
        title: of the section.
        sentence: on what, and after which step.
        tables: the name of each group of figures, and its table.
        pictures: plots.
    """

    title: str
    sentence: str
    tables: list[tuple[str, Table]]
    pictures: list[Picture]


def sections(run: Workdir) -> list[Section]:
    """A section for each evaluation in the workdir, that on the run's own data set first."""
    return [_section(evaluation) for evaluation in run.evaluations]


def _section(evaluation: dict[str, Any]) -> Section:
    """Everything of one evaluation."""
    source, figures = evaluation["source"], evaluation["figures"]
    own = source == evaluation["trained_on"]
    rows = wording.listed([f"{count:,} {name}" for name, count in evaluation["rows"].items()])
    sentence = (
        f"After step {evaluation['step']:,}; {rows} rows of {source}: learned from and searched, "
        f"chosen on, judged."
    )
    if evaluation["adapted"]:
        before, after = (" x ".join(map(str, shape)) for shape in evaluation["adapted"])
        sentence += f" Images are changed from {before} to {after} for the networks."
    groups = dict.fromkeys(figure["group"] for figure in figures.values())
    tables = [(group, _table(evaluation, group)) for group in groups]
    few = {
        int(found[1]): figure
        for name, figure in figures.items()
        if (found := re.fullmatch(r"few_(\d+)", name)) and "spread" in figure
    }
    pictures = [_few_labels(few, source)] if len(few) > 1 else []
    if evaluation["cka"] and not own:
        alike = np.array(evaluation["cka"], np.float64)
        caption = "Centred kernel alignment of the networks' features of test rows."
        pictures.append(network_matrix(alike, f"Linear CKA on {source}", caption))
    title = "Evaluation" if own else f"Evaluation on {source}"
    return Section(title, sentence, tables, pictures)


def _table(evaluation: dict[str, Any], group: str) -> Table:
    """The figures of a group as columns; networks, ensembles and baselines as rows."""
    figures = [x for x in evaluation["figures"].values() if x["group"] == group]
    columns = [Column(figure["title"], figure["protocol"]) for figure in figures]

    def row(name: str, kind: str, find: Any) -> Row:
        return Row(name, [_cell(figure, group, find) for figure in figures], kind)

    def network(number: int) -> Any:
        return lambda values: values["networks"][number]

    def baseline(name: str) -> Any:
        return lambda values: mean(values["baselines"].get(name, []))

    networks, best = evaluation["networks"], evaluation["best_on_validation"]
    rows = [
        row(f"network {x}{' (best on validation)' if x == best else ''}", "member", network(x))
        for x in range(networks)
    ]
    if networks > 1:
        rows.append(row("mean of networks", "whole", lambda values: mean(values["networks"])))
        rows += [
            row(name, "whole", lambda values, key=key: values[key])
            for key, name in _ENSEMBLES.items()
        ]
    names = dict.fromkeys(name for figure in figures for name in figure["baselines"])
    rows += [row(f"baseline: {name}", "baseline", baseline(name)) for name in names]
    rows = [row for row in rows if set(row.cells) != {"-"}]
    return Table(columns, rows, _remarks(evaluation, group, bool(names)))


def _cell(figure: dict[str, Any], group: str, find: Any) -> str:
    """One figure of one row, with its spread."""
    text = shown(find(figure), group)
    spread = find(figure["spread"]) if "spread" in figure else None
    return text if spread is None else f"{text} ± {shown(spread, group)}"


def _remarks(evaluation: dict[str, Any], group: str, baselines: bool) -> list[str]:
    """What is said below a table; most of it once, below the first."""
    if group == "few labels":
        return [_DRAWS, *evaluation["notes"]]
    if group != "accuracy":
        return []
    remarks = ["In per cent."]
    if evaluation["networks"] > 1:
        remarks.append(
            "Side by side, each network's features are at unit length; the best on validation is "
            "the network whose 20 nearest neighbours vote best there."
        )
    if baselines:
        remarks.append(
            "Baselines have learned nothing from images: networks as they were drawn (mean over "
            "them), pixels, and how often each colour occurs."
        )
    return remarks


def _few_labels(few: dict[int, dict[str, Any]], source: str) -> Picture:
    """Accuracy over labels a class, with the spread over draws."""
    counts = sorted(few)
    several = len(few[counts[0]]["networks"]) > 1
    finds: dict[str, Any] = {
        "mean of networks" if several else "network": lambda x: mean(x["networks"])
    }
    if several:
        finds |= {key: lambda x, key=key: x[key] for key in _ENSEMBLES}
    for name in few[counts[0]]["baselines"]:
        finds[name] = lambda x, name=name: mean(x["baselines"].get(name, []))
    said = []
    with drawing(4.6, 3.3) as figure:
        axes = figure.subplots()
        for number, (name, find) in enumerate(finds.items()):
            levels = [100 * (find(few[count]) or 0) for count in counts]
            errors = [100 * (find(few[count]["spread"]) or 0) for count in counts]
            learned = number < (3 if several else 1)
            axes.errorbar(
                counts,
                levels,
                errors,
                label=name,
                color=LINES[number] if learned else INK,
                alpha=1 if learned else 0.55,
                linestyle="-" if learned else ("--", ":", "-.")[number % 3],
                marker="o",
                capsize=2,
            )
            said.append(f"{name} {levels[0]:.1f} % to {levels[-1]:.1f} %")
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("labels a class")
        axes.set_ylabel("accuracy, %")
        axes.grid(visible=True)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        alt = f"Accuracy from {counts[0]} to {counts[-1]} labels a class: {'; '.join(said)}."
        svg = to_svg(figure, "few-" + re.sub(r"\W", "-", source), alt)
    caption = "Mean over draws of the labelled rows, the bar its standard deviation over draws."
    return Picture("Few labels a class", svg, alt, caption)
