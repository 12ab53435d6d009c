"""What a run would take, as it is read on a terminal."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from mcl_jax.report.dry_run_table import dry_run_table
from mcl_jax.report.units import duration, size

FIGURES: dict[str, Any] = {
    "name": "quickstart",
    "dataset": "fashion_mnist",
    "rows": {"train": 8000, "validation": 2000, "test": 1999},
    "networks": 2,
    "parameters": {"networks": [123456] * 2, "cohort": 246912},
    "steps": 1200,
    "steps_per_epoch": 80,
    "epochs": 15.0,
    "devices": "8 cpu",
    "held_bytes": {"parameters": 1024, "optimizer": 2048, "other state": 12, "data set": 5 << 20},
    "step_bytes": {"arguments": 6 << 20, "temporary": 7 << 20, "results": 8, "total": 9 << 30},
    "peak_bytes": 10 << 30,
    "compile_seconds": 12.34,
    "step_seconds": 0.05,
    "images_per_second": 2000.4,
    "epoch_seconds": 4.0,
    "run_seconds": 600.0,
}


def rows(figures: dict[str, Any]) -> dict[str, str]:
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(dry_run_table(figures))
    title, *lines = [line.strip() for line in console.export_text().splitlines() if line.strip()]
    assert title == "quickstart: fashion_mnist on 8 cpu (dry run)"
    return dict(re.split(r" {2,}", line, maxsplit=1) for line in lines)


def test_everything_is_told_in_its_unit():
    assert rows(FIGURES) == {
        "parameters of a network, heads included": "123,456",
        "parameters of the cohort of 2": "246,912",
        "train rows": "8,000",
        "validation rows": "2,000",
        "test rows": "1,999",
        "steps": "1,200",
        "steps an epoch": "80",
        "epochs": "15.0",
        "memory: parameters": "1.0 KiB",
        "memory: optimizer": "2.0 KiB",
        "memory: other state": "12 B",
        "memory: data set": "5.0 MiB",
        "memory of a step on a device: arguments": "6.0 MiB",
        "memory of a step on a device: temporary": "7.0 MiB",
        "memory of a step on a device: results": "8 B",
        "memory of a step on a device: total": "9.0 GiB",
        "memory of a device: peak": "10.0 GiB",
        "time to compile": "12.3 s",
        "time of a step": "50.0 ms",
        "images a second": "2,000",
        "time of an epoch, training alone": "4.0 s",
        "time of the run, training alone": "10.0 min",
    }


def test_what_a_platform_does_not_tell_is_a_dash():
    found = rows(FIGURES | {"step_bytes": None, "peak_bytes": None})
    assert [name for name, value in found.items() if value == "-"] == [
        "memory of a step on a device: arguments",
        "memory of a step on a device: temporary",
        "memory of a step on a device: results",
        "memory of a step on a device: total",
        "memory of a device: peak",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (2**40, "1.0 TiB"),
        (2**51, "2.0 PiB"),
    ],
)
def test_bytes(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "500.0 ms"), (1, "1.0 s"), (99, "99.0 s"), (600, "10.0 min"), (360_000, "100.0 h")],
)
def test_seconds(seconds, text):
    assert duration(seconds) == text
