"""The history of a run."""

import datetime
import json

from mcl_jax.report.events import EventLog, last_start


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


def test_the_last_start_is_found_among_spoilt_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    assert last_start(path) is None
    with EventLog(path) as log:
        log.write("info", "started", {"step": 0})
        log.write("info", "started", {"step": 5})
        log.write("info", "finished", {})
    with path.open("ab") as file:
        file.write(b'[1]\n{"event": "sta')
    assert last_start(path)["step"] == 5
