"""The bar on standard error."""

import numpy as np
import pytest

from mcl_jax.report import Progress


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def last_line(text: str) -> str:
    return text.rstrip().split("\r")[-1]


def test_steps_speed_and_terms_are_shown_on_standard_error(capsys):
    metrics = {
        "loss": np.float32(1.25),
        "cross_entropy": 0.5,
        "vcl": np.array([1.0, 2.0]),
        "soft_icl": 0.0625,
        "learning_rate": 0.1,
    }
    with Progress(10, 0) as progress:
        progress.show(4, 1234.6, metrics)
    captured = capsys.readouterr()
    assert captured.out == ""
    line = last_line(captured.err)
    assert "4/10" in line
    assert "1235 images/s, loss 1.250 ce 0.500 vcl 1.500 sicl 0.062]" in line
    assert "learning_rate" not in line


@pytest.mark.parametrize(("start", "shown"), [(0, [2, 5]), (3, [5, 10]), (9, [10])])
def test_the_bar_goes_on_where_a_run_does(capsys, start, shown):
    with Progress(10, start) as progress:
        for step in shown:
            progress.show(step, 1, {"loss": 0.0})
    lines = capsys.readouterr().err.split("\r")
    assert any(f"| {start}/10 " in line for line in lines)
    assert f"| {shown[-1]}/10 " in lines[-1]


@pytest.mark.parametrize(
    ("name", "short"),
    [("soft_vcl", "svcl 2.000"), ("icl", "icl 2.000"), ("accuracy", "acc 2.000")],
)
def test_a_term_has_a_short_name(capsys, name, short):
    with Progress(1, 0) as progress:
        progress.show(1, 1, {name: 2.0})
    assert f"images/s, {short}]" in last_line(capsys.readouterr().err)
