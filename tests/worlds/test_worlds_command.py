"""``python -m mcl_jax.worlds``: what it leaves, and what it says of mistakes."""

import json
import re

import pytest

from mcl_jax.worlds import __main__ as command
from mcl_jax.worlds import experiment, read_outs, training


def failure(capsys, *words):
    """The one sentence that ends the command."""
    assert command.main([str(word) for word in words]) == 1
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def small(monkeypatch):
    """Read-outs of few rows and steps."""
    for module, name, value in (
        (experiment, "CANDIDATES", 128),
        (experiment, "FITTED", 256),
        (experiment, "HELD_OUT", 256),
        (read_outs, "_STEPS", 3),
    ):
        monkeypatch.setattr(module, name, value)


def test_a_run_leaves_results_and_a_page_and_compiles_once_for_all_subsets(small, tmp_path, capsys):
    training._contrast.clear_cache()
    words = ["--shared=digit; background+position", "--steps=2", "--seeds=1"]
    words.append(f"--workdir={tmp_path}")
    assert command.main(words) == 0
    assert training._contrast._cache_size() == 1
    out, said = capsys.readouterr()
    assert said == ""
    assert re.search(r"^digit, seed 0: digit [\d.]+ %, background", out)
    assert f"{tmp_path / 'worlds.html'}\n" in out
    held = json.loads((tmp_path / "worlds.json").read_text())
    names = ["digit", "background+position", "blind", "untrained", "supervised"]
    assert [run["encoder"] for run in held["runs"]] == names
    readings = [run["errors"]["information"] for run in held["runs"]]
    assert [reading is None for reading in readings] == [False, False, True, True, True]
    blind = held["runs"][2]["errors"]
    assert 0.8 < blind["digit"] < 1
    assert 0.85 < blind["background"] < 1
    assert 2.5 < blind["position"] < 4.5
    page = (tmp_path / "worlds.html").read_text()
    assert page.count("data:image/png;base64,") == 7 * 2 * (4 + 1)
    assert page.count("<svg") == 3
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    # The same command has nothing left to do.
    assert command.main(words) == 0
    assert "seed 0:" not in capsys.readouterr().out
    assert failure(capsys, *words[:1], "--steps=3", words[-1]).startswith(f"{tmp_path}/worlds.json")


def test_help_tells_of_every_flag(capsys):
    assert command.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"--{name}=" in out for name in ("shared", "seeds", "steps", "workdir"))


def test_mistakes_are_told_in_a_sentence(capsys):
    assert failure(capsys, "--shared=digit,positoin") == (
        "--shared must be all, or factors among digit, background, position, got 'positoin'; did "
        "you mean position?"
    )
    assert failure(capsys, "--shared=") == (
        "--shared must be all, or factors among digit, background, position, got ''."
    )
    twice = failure(capsys, "--shared=digit,digit")
    assert twice == "--shared must name each factor once, got digit twice."
    twice = failure(capsys, "--shared=digit,position; position,digit")
    assert twice == "--shared must name each subset once, got digit+position twice."
    assert failure(capsys, "--seeds=0") == "--seeds must be at least 1, got 0."
    assert failure(capsys, "--steps=few") == "--steps must be a whole number, got 'few'."
    assert failure(capsys, "--step=3") == "there is no flag --step; did you mean --steps?"
    assert failure(capsys, "digit") == "'digit' belongs to no flag; --help lists all."
    assert failure(capsys, "--config=x.py") == "there is no flag --config; --help lists all."
    assert failure(capsys, "--workdir=") == "--workdir must be a folder, got nothing."
