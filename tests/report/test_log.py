"""Files that a run leaves: JSON written whole, and a log without torn lines or repeated steps."""

import json
import math
import pathlib

import pytest

from mcl_jax.report import MetricsLog, write_json


def steps(path: pathlib.Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def filled(path: pathlib.Path, count: int = 5) -> pathlib.Path:
    with MetricsLog(path, 0) as log:
        for step in range(1, count + 1):
            log.write({"step": step, "loss": 1 / step, "accuracy": [0.25, 0.5]})
    return path


def test_json_is_indented_and_ends_its_last_line(tmp_path):
    value = {"a": [1, 2.5, None], "b": {"c": "text"}}
    write_json(tmp_path / "summary.json", value)
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text) == value
    assert text.endswith("}\n")
    assert len(text.splitlines()) > 5


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"a": 2, "b": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_records_come_back_one_a_line(tmp_path):
    path = filled(tmp_path / "metrics.jsonl", 3)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records == [
        {"step": step, "loss": 1 / step, "accuracy": [0.25, 0.5]} for step in (1, 2, 3)
    ]


def test_a_record_is_in_the_file_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0) as log:
        assert path.read_text() == ""
        log.write({"step": 1})
        assert steps(path) == [1]


@pytest.mark.parametrize("step", [0, 1, 3, 5, 9])
def test_no_step_stands_twice_after_going_on(tmp_path, step):
    path = filled(tmp_path / "metrics.jsonl")
    with MetricsLog(path, step) as log:
        assert [record["step"] for record in log.kept] == list(range(1, min(step, 5) + 1))
        for later in range(step + 1, 12):
            log.write({"step": later})
    assert steps(path) == list(range(1, min(step, 5) + 1)) + list(range(step + 1, 12))


def test_what_is_kept_is_kept_as_it_was(tmp_path):
    path = filled(tmp_path / "metrics.jsonl")
    whole = path.read_text()
    with MetricsLog(path, 5):
        pass
    assert path.read_text() == whole


@pytest.mark.parametrize("torn", ['{"step": 6, "lo', '{"step": 6', "{", '{"step": 6, "loss": 1.'])
def test_a_torn_line_is_cut(tmp_path, torn):
    path = filled(tmp_path / "metrics.jsonl")
    with path.open("a") as file:
        file.write(torn)
    with MetricsLog(path, 9) as log:
        assert log.damaged == 0
        log.write({"step": 10})
    assert steps(path) == [1, 2, 3, 4, 5, 10]
    assert [x.name for x in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_last_line_that_lacks_its_end_alone_is_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}')
    with MetricsLog(path, 2) as log:
        log.write({"step": 3})
    assert steps(path) == [1, 2, 3]


def test_values_come_back_bit_for_bit(tmp_path):
    path, value = tmp_path / "metrics.jsonl", 0.1 + 0.2
    with MetricsLog(path, 0) as log:
        log.write({"step": 1, "loss": value})
    with MetricsLog(path, 1) as log:
        assert log.kept == [{"step": 1, "loss": value}]


def no_json(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def test_what_is_no_number_is_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": NaN}\n')
    with MetricsLog(path, 1) as log:
        log.write({"step": 2, "vcl": [math.inf, 1.0], "validation": {"accuracy": -math.inf}})
    lines = [json.loads(x, parse_constant=no_json) for x in path.read_text().splitlines()]
    assert lines == [
        {"step": 1, "loss": None},
        {"step": 2, "vcl": [None, 1.0], "validation": {"accuracy": None}},
    ]


@pytest.mark.parametrize(
    "garbage",
    [
        b"7",
        b"[1, 2]",
        b"null",
        b"{}",
        b'{"step": "6"}',
        b'{"step": 6.5}',
        b'{"step": true}',
        b"\0\0\0",
        b'{"step": 4, "text": "\xff"}',
    ],
)
def test_a_line_that_is_no_record_is_left_out_and_the_file_kept_aside(tmp_path, garbage):
    path = filled(tmp_path / "metrics.jsonl", 3)
    with path.open("ab") as file:
        file.write(garbage + b'\n{"step": 4}\n')
    spoilt = path.read_bytes()
    with MetricsLog(path, 9) as log:
        assert [record["step"] for record in log.kept] == [1, 2, 3, 4]
        assert log.damaged == 1
        log.write({"step": 10})
    assert steps(path) == [1, 2, 3, 4, 10]
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == spoilt
    with MetricsLog(path, 10) as log:
        assert log.damaged == 0
