"""Leaving between two steps with the state saved."""

import json
import os
import signal
import threading

import pytest
import tiny

from mcl_jax.report import Recorder
from mcl_jax.training import train_and_evaluate
from mcl_jax.training.stopping import Stopping


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())


def config():
    return tiny.config(training__steps=8, training__log_every=1)


def without_timings(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in x.items() if k not in ("seconds", "images_per_second")} for x in lines
    ]


def signalled_at(step, numbers, monkeypatch):
    """Sends this process signals when the figures of a step are written."""
    write = Recorder.metrics

    def metrics(self, record):
        write(self, record)
        if record["step"] == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(Recorder, "metrics", metrics)


@pytest.mark.parametrize(
    ("number", "error", "reason"),
    [
        (signal.SIGINT, KeyboardInterrupt, "Ctrl-C"),
        (signal.SIGTERM, SystemExit, "SIGTERM"),
    ],
)
def test_a_signal_saves_after_the_step_and_leaves(
    tmp_path, monkeypatch, capfd, number, error, reason
):
    whole = train_and_evaluate(config(), tmp_path / "whole")
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        signalled_at(3, [number], patch)
        with pytest.raises(error) as caught:
            train_and_evaluate(config(), tmp_path / "cut")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert caught.type is not SystemExit or caught.value.code == 143
    assert f"{reason}: saves after this step and leaves" in capfd.readouterr().err
    saved = [x.name for x in (tmp_path / "cut" / "checkpoints").iterdir()]
    assert len(saved) == 1
    assert saved[0] in ("3", "4")  # the signal came after step 3 or while step 4 was under way
    events = [json.loads(x) for x in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert (events[-1]["event"], events[-1]["reason"]) == ("stopped", reason)
    again = train_and_evaluate(config(), tmp_path / "cut")
    assert again["test"] == whole["test"]
    assert without_timings(tmp_path / "cut") == without_timings(tmp_path / "whole")


def test_a_signal_at_the_last_step_leaves_before_the_run_is_judged_on_test(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        signalled_at(8, [signal.SIGTERM], patch)
        with pytest.raises(SystemExit):
            train_and_evaluate(config(), tmp_path)
    assert (tmp_path / "checkpoints" / "8").is_dir()
    assert not (tmp_path / "summary.json").exists()
    assert train_and_evaluate(config(), tmp_path)["steps"] == 8


def test_a_second_ctrl_c_leaves_at_once(tmp_path, monkeypatch):
    signalled_at(3, [signal.SIGINT, signal.SIGINT], monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_and_evaluate(config(), tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_outside_the_main_thread_nothing_is_caught():
    found = []

    def enter():
        with Stopping() as stopping:
            found.append(stopping.wanted(1))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [False]


def test_processes_leave_at_the_step_that_they_agree_on(monkeypatch):
    monkeypatch.setattr("jax.distributed.is_initialized", lambda: True)
    monkeypatch.setattr(
        "mcl_jax.training.stopping.multihost_utils.reached_preemption_sync_point",
        lambda step: step == 7,
    )
    with Stopping() as stopping:
        assert not stopping.wanted(6)
        assert stopping.wanted(7)
        with pytest.raises(SystemExit) as caught:
            stopping.leave()
    assert stopping.reason == "preemption"
    assert caught.value.code == 143


def test_ctrl_c_in_one_of_several_processes_is_handed_on_to_jax(monkeypatch):
    monkeypatch.setattr("jax.distributed.is_initialized", lambda: True)
    found = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: found.append(number))
    try:
        with Stopping() as stopping:
            os.kill(os.getpid(), signal.SIGINT)
            assert (found, stopping.reason) == ([signal.SIGTERM], "Ctrl-C")
            assert signal.getsignal(signal.SIGTERM) is not stopping._notice
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_first_signal_decides_and_two_ctrl_c_leave_at_once():
    with Stopping() as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.reason == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
