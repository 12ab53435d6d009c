"""The closing table as it is read on a terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from mcl_jax.report import closing_table


def figures(networks: int, first: float) -> dict[str, Any]:
    values = [first + 0.1 * network for network in range(networks)]
    return {"accuracy": values, "ensemble_accuracy": 0.95, "knn_accuracy": [x / 2 for x in values]}


def summary(networks: int = 2, **changes: Any) -> dict[str, Any]:
    return {
        "name": "quickstart",
        "dataset": "fashion_mnist",
        "steps": 1234,
        "seconds": 56.4,
        "validation": figures(networks, 0.5),
        "test": figures(networks, 0.4),
        "baselines": {
            "random network": {"knn_accuracy": [0.2, 0.3]},
            "raw pixels": {"knn_accuracy": [0.123]},
        },
        **changes,
    }


def render(summary: dict[str, Any]) -> tuple[str, dict[str, list[str]]]:
    """The text, and each row's cells by its name."""
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(closing_table(summary))
    text = console.export_text()
    columns = [line.strip().split("   ") for line in text.splitlines() if " %" in line]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in columns]
    return text, {name: values for name, *values in cells}


def test_the_table_tells_everything_in_per_cent():
    text, rows = render(summary())
    assert "quickstart: fashion_mnist, 1234 steps, 56 s" in text
    header = next(line for line in text.splitlines() if "kNN" in line)
    assert header.split() == ["validation", "test", "test", "kNN"]
    assert rows == {
        "network 0": ["50.0 %", "40.0 %", "20.0 %"],
        "network 1": ["60.0 %", "50.0 %", "25.0 %"],
        "mean of networks": ["55.0 %", "45.0 %", "22.5 %"],
        "ensemble": ["95.0 %", "95.0 %", "-"],
        "random network (no training)": ["-", "-", "25.0 %"],
        "raw pixels (no training)": ["-", "-", "12.3 %"],
    }


def test_without_validation_rows_the_column_is_empty():
    _, rows = render(summary(validation=None))
    assert [values[0] for values in rows.values()] == ["-"] * 6
    assert rows["network 1"] == ["-", "50.0 %", "25.0 %"]
    assert rows["ensemble"] == ["-", "95.0 %", "-"]


@pytest.mark.parametrize("networks", [1, 2, 4])
def test_a_single_network_has_neither_mean_nor_ensemble(networks):
    _, rows = render(summary(networks))
    assert [f"network {index}" in rows for index in range(5)] == [x < networks for x in range(5)]
    assert ("ensemble" in rows, "mean of networks" in rows) == (networks > 1, networks > 1)


def test_baselines_are_those_of_the_summary():
    _, rows = render(summary(baselines={}))
    assert list(rows) == ["network 0", "network 1", "mean of networks", "ensemble"]
