"""The table of what a run would take."""

from typing import Any

from rich import box
from rich.table import Table

from mcl_jax.report.units import duration, each, size


def dry_run_table(figures: dict[str, Any]) -> Table:
    """Parameters, rows, steps, memory and time of a run that was only tried.

    Args:
        figures: as `mcl_jax.training.dry_run` gives them.

    Returns:
        A table for `rich`.
    """
    table = Table(
        title=f"{figures['name']}: {figures['dataset']} on {figures['devices']} (dry run)",
        box=box.SIMPLE,
        show_header=False,
    )
    table.add_column("")
    table.add_column("", justify="right")
    for part in (_counts(figures), _memory(figures), _times(figures)):
        for name, value in part.items():
            table.add_row(name, value)
        table.add_section()
    return table


def _counts(figures: dict[str, Any]) -> dict[str, str]:
    of_networks = {
        "parameters of a network, heads included": each(figures["parameters"]["networks"])
    }
    counts = {
        f"parameters of the cohort of {figures['networks']}": figures["parameters"]["cohort"],
        **{f"{split} rows": rows for split, rows in figures["rows"].items()},
        "steps": figures["steps"],
        "steps an epoch": figures["steps_per_epoch"],
    }
    shown = {name: f"{count:,}" for name, count in counts.items()}
    return of_networks | shown | {"epochs": f"{figures['epochs']:,.1f}"}


def _memory(figures: dict[str, Any]) -> dict[str, str]:
    held, step = figures["held_bytes"], figures["step_bytes"] or {}
    parts = ("arguments", "temporary", "results", "total")
    return {
        **{f"memory: {name}": size(count) for name, count in held.items()},
        **{f"memory of a step on a device: {x}": _known(step.get(x)) for x in parts},
        "memory of a device: peak": _known(figures["peak_bytes"]),
    }


def _times(figures: dict[str, Any]) -> dict[str, str]:
    return {
        "time to compile": duration(figures["compile_seconds"]),
        "time of a step": duration(figures["step_seconds"]),
        "images a second": f"{figures['images_per_second']:,.0f}",
        "time of an epoch, training alone": duration(figures["epoch_seconds"]),
        "time of the run, training alone": duration(figures["run_seconds"]),
    }


def _known(count: int | None) -> str:
    return "-" if count is None else size(count)
