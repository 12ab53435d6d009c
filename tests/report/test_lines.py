"""Files of lines on disks that fill up and after kills."""

import json
import resource

import pytest

from mcl_jax.report.lines import LineFile, naming


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ('{"a": 1}\n', '{"a": 1}\n'), ('{"a": 1}', '{"a": 1}\n'), ('{"a', '{"a\n')],
)
def test_a_line_starts_where_the_last_one_ended(tmp_path, before, after):
    path = tmp_path / "log.jsonl"
    path.write_text(before)
    with LineFile(path) as lines:
        lines.write({"b": 2})
    assert path.read_text() == after + '{"b": 2}\n'


def test_text_of_any_language_stays_on_its_line(tmp_path):
    path, text = tmp_path / "log.jsonl", "één\nline\u2028or \U0001f600\r"
    with LineFile(path) as lines:
        lines.write({"text": text})
    assert len(path.read_text().splitlines()) == 1
    assert json.loads(path.read_text()) == {"text": text}


def test_a_full_disk_is_told_of_with_the_file(tmp_path):
    path = tmp_path / "log.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with LineFile(path) as lines:
        lines.write({"text": "fits"})
        resource.setrlimit(resource.RLIMIT_FSIZE, (30, limits[1]))
        try:
            with pytest.raises(OSError, match=r"too large: '.*log\.jsonl'") as caught:
                lines.write({"text": "is too long for what is left"})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    # Once there is space again, the torn line harms no other.
    with LineFile(path) as lines:
        lines.write({"text": "fits again"})
    first, torn, last = path.read_text().splitlines()
    assert [json.loads(line)["text"] for line in (first, last)] == ["fits", "fits again"]
    assert len(first) + len(torn) + 1 == 30


def test_an_error_that_names_its_file_keeps_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), naming(tmp_path / "here"):
        (tmp_path / "elsewhere").read_text()


def test_a_value_that_is_no_json_is_refused_and_nothing_is_written(tmp_path):
    with LineFile(tmp_path / "log.jsonl") as lines, pytest.raises(TypeError, match="serializable"):
        lines.write({"a": object()})
    assert (tmp_path / "log.jsonl").read_text() == ""
