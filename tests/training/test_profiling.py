import gzip
import json

import pytest
import tiny

from mcl_jax.training import train_and_evaluate


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())


@pytest.mark.parametrize("steps", [2, 99])
def test_a_profile_opens_in_perfetto_and_in_tensorboard(tmp_path, steps):
    train_and_evaluate(tiny.config(), tmp_path, profile_steps=steps)
    (trace,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    with gzip.open(trace) as file:
        names = {event.get("name", "") for event in json.load(file)["traceEvents"]}
    assert any("unrolled" in name or "PjitFunction" in name for name in names)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_no_profile_is_written_unasked(tmp_path):
    train_and_evaluate(tiny.config(), tmp_path)
    assert not (tmp_path / "profile").exists()
