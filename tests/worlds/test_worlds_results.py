"""Results are kept after each run, and gone on with."""

import json

import pytest

from mcl_jax.worlds.experiment import Errors
from mcl_jax.worlds.results import (
    FILE,
    ResultsError,
    Run,
    carry_out_missing,
    encoders,
    means,
    read_runs,
    write_runs,
)
from mcl_jax.worlds.table import errors_table, line
from mcl_jax.worlds.training import Settings

SETTINGS = Settings(steps=7)


def errors(encoder, seed):
    reading = None if encoder == "untrained" else 1.5
    return Errors(0.125 + seed / 10, 0.5, len(encoder) / 4, reading)


def test_an_interrupted_command_goes_on_and_repeats_nothing(tmp_path):
    carried_out, told = [], []

    def carry_out(encoder, seed):
        if len(carried_out) == 3:
            raise KeyboardInterrupt
        carried_out.append((encoder, seed))
        return errors(encoder, seed)

    chosen = ("position", "untrained")
    whole = (tmp_path / "runs", SETTINGS, chosen, range(2))
    with pytest.raises(KeyboardInterrupt):
        carry_out_missing(*whole, carry_out, told.append)
    held = json.loads((tmp_path / "runs" / FILE).read_text())
    assert [(run["encoder"], run["seed"]) for run in held["runs"]] == carried_out
    assert held["settings"]["steps"] == 7
    again = []
    runs = carry_out_missing(*whole, lambda *run: again.append(run) or errors(*run), told.append)
    assert carried_out + again == [
        ("position", 0),
        ("untrained", 0),
        ("position", 1),
        chosen[1:] + (1,),
    ]
    assert told == runs == read_runs(tmp_path / "runs", SETTINGS)


def test_means_have_intervals_and_tables_show_them():
    runs = [Run(x, seed, errors(x, seed), 2.0) for x in ("untrained", "digit") for seed in (0, 1)]
    assert encoders(runs) == ["digit", "untrained"]
    found = means(runs, "digit")["digit"]
    assert (found.mean, found.number) == (pytest.approx(0.175), 2)
    assert found.high - found.mean == pytest.approx(0.6353, abs=1e-4)  # t = 12.706
    assert "information" not in means(runs, "untrained")
    table = errors_table(runs)
    assert "2 seeds" in table.title
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["digit", "untrained"]
    assert cells[1][0] == "17.5 ± 63.5"
    assert cells[4] == ["1.50 ± 0.00", "-"]
    assert line(runs[2]) == (
        "digit, seed 0: digit 12.5 %, background 50.0 %, position 1.25 pixels, 1.50 nats (2 s)"
    )


def test_other_settings_and_files_that_are_no_results_are_refused(tmp_path):
    write_runs(tmp_path, SETTINGS, [Run("digit", 0, errors("digit", 0), 1.0)])
    with pytest.raises(ResultsError, match=r"holds runs of steps=7, got steps=8: give another"):
        read_runs(tmp_path, Settings(steps=8))
    (tmp_path / FILE).write_text('{"runs": 1}')
    with pytest.raises(ResultsError, match="cannot be read as results; move it away"):
        read_runs(tmp_path, SETTINGS)
