"""The bar on a terminal, and the lines where there is none."""

import contextlib
import fcntl
import io
import os
import struct
import sys
import termios
import types
from collections.abc import Iterator

import numpy as np
import pytest

from mcl_jax.report import Progress, progress

METRICS = {
    "loss": np.float32(1.25),
    "cross_entropy": 0.5,
    "vcl": np.array([1.0, 2.0]),
    "soft_icl": 0.0625,
    "learning_rate": 0.1,
}


class Terminal(io.StringIO):
    """Keeps what is written to a terminal."""

    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Makes standard error a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")
    with contextlib.redirect_stderr(Terminal()) as result:
        yield result


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    result = Clock()
    monkeypatch.setattr(progress, "time", result)
    return result


def last_line(text: str) -> str:
    return text.rstrip().split("\r")[-1]


def test_steps_speed_and_terms_are_shown_on_standard_error(capsys, monkeypatch):
    with terminal(monkeypatch) as screen, Progress(10, 0) as progress:
        progress.show(4, 1234.6, METRICS)
    assert capsys.readouterr() == ("", "")
    line = last_line(screen.getvalue())
    assert "4/10" in line
    assert "1235 images/s, loss 1.250 ce 0.500 vcl 1.500 sicl 0.062]" in line
    assert "learning_rate" not in line


@pytest.mark.parametrize(("start", "shown"), [(0, [2, 5]), (3, [5, 10]), (9, [10])])
def test_the_bar_goes_on_where_a_run_does(monkeypatch, start, shown):
    with terminal(monkeypatch) as screen, Progress(10, start) as progress:
        for step in shown:
            progress.show(step, 1, {"loss": 0.0})
    lines = screen.getvalue().split("\r")
    assert any(f"| {start}/10 " in line for line in lines)
    assert f"| {shown[-1]}/10 " in lines[-1]


@pytest.mark.parametrize(
    ("name", "short"),
    [("soft_vcl", "svcl 2.000"), ("icl", "icl 2.000"), ("accuracy", "acc 2.000")],
)
def test_a_term_has_a_short_name(monkeypatch, name, short):
    with terminal(monkeypatch) as screen, Progress(1, 0) as progress:
        progress.show(1, 1, {name: 2.0})
    assert f"images/s, {short}]" in last_line(screen.getvalue())


def test_a_line_stands_above_the_bar_and_does_not_tear_it(monkeypatch):
    with terminal(monkeypatch) as screen, Progress(10, 0) as progress:
        progress.show(5, 1, {})
        progress.say("something happened")
    before, after = screen.getvalue().split("something happened\n")
    assert before.endswith(" \r")  # the bar is wiped
    assert after.lstrip("\r").startswith(" 50%|")  # and drawn again


def test_in_a_file_the_last_step_alone_is_told(capsys, clock):
    with Progress(10, 0) as progress:
        for step in range(1, 11):
            progress.show(step, 1234.6, METRICS, epoch=step / 4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "step 10/10, epoch 2.5: loss 1.250 ce 0.500 vcl 1.500 sicl 0.062, 1235 images/s\n"
    )


def test_in_a_file_a_minute_brings_a_line(capsys, clock):
    with Progress(100, 0) as progress:
        for step in range(1, 51):
            clock.now += 7  # a line at the first step after each minute
            progress.show(step, None, {"loss": 0.5})
    told = [int(line.split("/")[0].removeprefix("step ")) for line in lines_of(capsys)]
    assert told == [9, 18, 27, 36, 45, 50]


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    text = capsys.readouterr().err
    assert "\r" not in text
    return text.splitlines()


def test_where_a_run_stopped_is_told_too(capsys, clock):
    def interrupted() -> None:
        with Progress(10, 0) as progress:
            progress.show(3, None, {"loss": 0.5})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert lines_of(capsys) == ["step 3/10: loss 0.500"]


def test_a_run_of_no_steps_tells_nothing(capsys):
    with Progress(10, 10):
        pass
    assert lines_of(capsys) == []


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        ([0.5, 0.25], "step 4/10, epoch 1.0: validation accuracy 50.0 25.0 %, ensemble 75.0 %"),
        ([0.5], "step 4/10, epoch 1.0: validation accuracy 50.0 %"),
    ],
)
def test_accuracy_on_validation_is_told_at_once(capsys, accuracy, expected):
    with Progress(10, 0) as progress:
        progress.judged(4, {"accuracy": accuracy, "ensemble_accuracy": 0.75}, epoch=1)
        assert lines_of(capsys) == [expected]


def test_a_notebook_that_claims_to_be_a_terminal_gets_no_bar(monkeypatch):
    ipython = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with terminal(monkeypatch) as screen, Progress(10, 0) as progress:
        progress.show(10, None, {"loss": 0.5})
    assert screen.getvalue() == "step 10/10: loss 0.500\n"


@pytest.mark.parametrize(("columns", "bars"), [(100, True), (0, False)])
def test_a_terminal_has_a_bar_if_it_has_a_width(columns, bars):
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    # Open until all is read: a close may discard the rest.
    with os.fdopen(writer, "w", buffering=1) as screen:
        with contextlib.redirect_stderr(screen), Progress(10, 0) as progress:
            progress.show(10, None, {"loss": 0.5})
        screen.write("end\n")
        shown = ""
        while "end" not in shown:
            shown += os.read(reader, 10_000).decode()
    os.close(reader)
    assert ("| 10/10 " in shown) == bars
    assert shown.startswith("step 10/10: loss 0.500") != bars


@pytest.mark.parametrize("shell", [None, types.SimpleNamespace()])
def test_ipython_on_a_terminal_gets_the_bar(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    with terminal(monkeypatch) as screen, Progress(10, 0):
        pass
    assert "| 0/10 " in screen.getvalue()
