"""The history of a run."""

import datetime
import json

from mcl_jax.report.events import EventLog


def test_events_are_told_with_their_time_level_and_fields(tmp_path):
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(milliseconds=1)
    with EventLog(tmp_path / "log.jsonl") as log:
        log.write("info", "start", {"step": 3, "devices": ["cpu"]})
        log.sync()
    record = json.loads((tmp_path / "log.jsonl").read_text())
    assert list(record) == ["time", "level", "event", "step", "devices"]
    time = datetime.datetime.fromisoformat(record.pop("time"))
    assert before <= time <= datetime.datetime.now(datetime.UTC)  # so it has a zone
    assert record == {"level": "info", "event": "start", "step": 3, "devices": ["cpu"]}


def test_nothing_is_cut_over_restarts(tmp_path):
    path = tmp_path / "log.jsonl"
    for start in range(3):
        with EventLog(path) as log:
            log.write("info", "start", {"step": start})
        with path.open("a") as file:
            file.write('{"time": "torn by a kil')
    lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if line.endswith("}")] == [0, 1, 2]
