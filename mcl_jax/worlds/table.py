"""The table that closes the command."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from mcl_jax.worlds.experiment import SUBSETS
from mcl_jax.worlds.results import MEASURES, Run, cell, encoders, means

_BESIDE = {
    "blind": "blind (says the same of all)",
    "untrained": "untrained",
    "supervised": "supervised (told all three)",
}


def title(encoder: str) -> str:
    """A row's title: what was shared, or what stands beside.

    Example:
        >>> title("digit+position"), title("untrained")
        ('digit, position', 'untrained')
    """
    return encoder.replace("+", ", ") if encoder in SUBSETS else _BESIDE[encoder]


def errors_table(runs: Sequence[Run]) -> Table:
    """Errors of every encoder, mean and half of its 95 % interval over seeds.

    Args:
        runs: all that were carried out.

    Returns:
        A table for `rich`.
    """
    seeds = len({run.seed for run in runs})
    table = Table(
        title=f"Moving digits: errors on held-out sequences, {seeds} seed{'s' * (seeds > 1)}",
        box=box.SIMPLE,
    )
    table.add_column("shared by the two views")
    for measure in MEASURES.values():
        table.add_column(f"{measure.title}\n{measure.unit}", justify="right")
    for encoder in encoders(runs):
        found = means(runs, encoder)
        table.add_row(title(encoder), *(cell(found.get(name), name) for name in MEASURES))
        if encoder == SUBSETS[-1]:
            table.add_section()
    return table


def line(run: Run) -> str:
    """One run in one line."""
    digit, background, position, information = run.errors
    told = (
        f"{title(run.encoder)}, seed {run.seed}: digit {100 * digit:.1f} %, background "
        f"{100 * background:.1f} %, position {position:.2f} pixels"
    )
    reading = "" if information is None else f", {information:.2f} nats"
    return f"{told}{reading} ({run.seconds:.0f} s)"
