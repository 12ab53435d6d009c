"""Weights & Biases, as far as a run can be followed without its servers."""

import sys
import types
from typing import Any

import pytest

from mcl_jax.report import ReportError
from mcl_jax.report.weights_and_biases import WeightsAndBiases


class Server:
    """The package ``wandb`` and what it would send: a run's steps by its identity."""

    class Error(Exception):
        """As the package's own."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[int, dict[str, float]]] = {}
        self.started: list[dict[str, Any]] = []
        self.ended: list[int] = []
        self.refusal: str | None = None

    def init(self, *, id: str, **options: Any) -> Any:
        if self.refusal:
            raise self.Error(self.refusal)
        self.started.append({"id": id, **options})
        steps = self.runs.setdefault(id, {})

        def log(figures: dict[str, float], step: int) -> None:
            assert step >= max(steps, default=0), "earlier steps would be dropped with a warning"
            steps.setdefault(step, {}).update(figures)

        first = max(steps) + 1 if steps else 0
        finish = lambda exit_code: self.ended.append(exit_code)  # noqa: E731
        return types.SimpleNamespace(starting_step=first, log=log, finish=finish)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    result = Server()
    monkeypatch.setitem(sys.modules, "wandb", result)
    return result


def train(workdir, start: int, stop: int) -> None:
    with WeightsAndBiases(workdir, "project", "tiny", {"seed": 3}, start) as there:
        for step in range(start + 1, stop + 1):
            there.write(step, {"train/loss": 1 / step})
            there.write(step, {"validation/ensemble_accuracy": 0.5})


def test_a_run_has_its_project_name_configuration_and_folder(server, tmp_path):
    train(tmp_path, 0, 1)
    (options,) = server.started
    identity = options.pop("id")
    assert identity == (tmp_path / "wandb_id").read_text().strip()
    assert options == {
        "project": "project",
        "name": "tiny",
        "config": {"seed": 3},
        "dir": str(tmp_path),
        "resume": "allow",
    }
    figures = {"train/loss": 1.0, "validation/ensemble_accuracy": 0.5}
    assert server.runs == {identity: {1: figures}}


def test_a_resumed_run_goes_on_in_the_same_run_there(server, tmp_path):
    train(tmp_path, 0, 6)
    train(tmp_path, 4, 9)
    (steps,) = server.runs.values()
    assert sorted(steps) == list(range(1, 10))


@pytest.mark.parametrize("start", [0, 4])
def test_a_run_that_starts_anew_or_was_not_there_is_a_new_run(server, tmp_path, start):
    if start == 0:
        train(tmp_path, 0, 6)
    train(tmp_path, start, 9)
    assert len(server.runs) == (2 if start == 0 else 1)
    *_, steps = server.runs.values()
    assert sorted(steps) == list(range(start + 1, 10))


def test_how_a_run_ended_is_told(server, tmp_path):
    train(tmp_path, 0, 1)
    with pytest.raises(KeyboardInterrupt), WeightsAndBiases(tmp_path, "p", "n", {}, 1):
        raise KeyboardInterrupt
    assert server.ended == [0, 1]


def test_a_missing_package_is_told_of_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ReportError, match=r"^logging\.wandb is 'p', .*: pip install wandb\.$"):
        WeightsAndBiases(tmp_path, "p", "n", {}, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_is_told_of_in_one_sentence(server, tmp_path):
    server.refusal = "No API key\nconfigured."
    with pytest.raises(ReportError, match=r"^logging\.wandb .* no run: No API key configured\.$"):
        WeightsAndBiases(tmp_path, "p", "n", {}, 0)
