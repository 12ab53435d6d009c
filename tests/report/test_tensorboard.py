"""TensorBoard's files, read record by record as TensorBoard reads them."""

import pathlib
import resource
import struct
import threading
import zlib

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from mcl_jax.report import tensorboard
from mcl_jax.report.tensorboard import TensorBoard


def events(path: pathlib.Path) -> list[Event]:
    """The whole records of a file: length, its checksum, event, its checksum."""
    data, result = path.read_bytes(), []
    while len(data) >= 12:
        (length,) = struct.unpack("<Q", data[:8])
        if len(data) < length + 16:
            break
        result.append(Event.FromString(data[12 : 12 + length]))
        data = data[length + 16 :]
    return result


def shown(folder: pathlib.Path) -> dict[str, dict[int, list[float]]]:
    """What TensorBoard shows: a start hides earlier figures of its step and later ones."""
    tags: dict[str, dict[int, list[float]]] = {}
    for path in sorted(folder.iterdir()):
        for event in events(path):
            if event.session_log.status == SessionLog.START:
                for figures in tags.values():
                    for step in [step for step in figures if step >= event.step]:
                        del figures[step]
            for value in event.summary.value:
                tags.setdefault(value.tag, {}).setdefault(event.step, []).append(value.simple_value)
    return tags


def test_figures_come_back_under_their_tags(tmp_path):
    with TensorBoard(tmp_path / "tensorboard", 0) as board:
        for step in (1, 2):
            board.write(step, {"train/loss": 0.5 * step, "train/vcl/network_0": 0.25})
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert "tfevents" in path.name
    assert events(path)[0].file_version == "brain.Event:2"
    assert shown(path.parent) == {
        "train/loss": {1: [0.5], 2: [1.0]},
        "train/vcl/network_0": {1: [0.25], 2: [0.25]},
    }


def test_records_carry_the_checksum_that_tensorboard_wants(tmp_path):
    with TensorBoard(tmp_path, 0):
        pass
    (path,) = tmp_path.iterdir()
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    for start, stop in ((0, 8), (12, 12 + length)):
        (found,) = struct.unpack("<I", data[stop : stop + 4])
        assert found == masked_crc32c(data[start:stop])


def masked_crc32c(data: bytes) -> int:
    """CRC-32C bit by bit (Castagnoli's polynomial), masked as in TFRecord files."""
    assert zlib.crc32(b"123456789") == crc(b"123456789", 0xEDB88320)  # the same but its polynomial
    value = crc(data, 0x82F63B78)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc(data: bytes, polynomial: int) -> int:
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize("starts", [[0, 4], [0, 0], [0, 3, 3, 5]])
def test_no_step_shows_twice_after_going_on(tmp_path, starts):
    for attempt, start in enumerate(starts):
        with TensorBoard(tmp_path, start) as board:
            for step in range(start + 1, 8):
                board.write(step, {"loss": attempt})
                if step % 2 == 0:
                    board.write(step, {"accuracy": attempt})
    found = shown(tmp_path)
    assert sorted(found["loss"]) == list(range(1, 8))
    assert sorted(found["accuracy"]) == [2, 4, 6]
    for figures in found.values():
        for step, values in figures.items():
            last = max(i for i, start in enumerate(starts) if start < step)
            assert values == [last]


def test_what_is_synced_survives_a_kill(tmp_path):
    with TensorBoard(tmp_path, 0) as board:
        board.write(1, {"loss": 0.5})
        board.sync()
        board.write(2, {"loss": 0.5})
        assert 1 in shown(tmp_path)["loss"]


def test_figures_are_seen_half_a_minute_later_without_a_sync(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(tensorboard.time, "monotonic", lambda: now)
    with TensorBoard(tmp_path, 0) as board:
        board.write(1, {"loss": 0.5})
        assert shown(tmp_path) == {}
        now = 31.0
        board.write(2, {"loss": 0.5})
        assert sorted(shown(tmp_path)["loss"]) == [1, 2]


def test_no_thread_is_left_to_hold_or_to_lose_anything(tmp_path):
    def interrupted() -> None:
        before = threading.active_count()
        with TensorBoard(tmp_path, 0) as board:
            assert threading.active_count() == before
            board.write(1, {"loss": 0.5})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert shown(tmp_path) == {"loss": {1: [0.5]}}


def test_a_full_disk_is_told_of_with_the_file(tmp_path):
    board = TensorBoard(tmp_path, 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        board.write(1, {"a tag that is long": 0.5})
        with pytest.raises(OSError, match=r"too large: '.*tfevents.*'"):
            board.sync()
        with pytest.raises(OSError, match=r"too large: '.*tfevents.*'"):
            board.__exit__(None, None, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
