"""Files that are written whole or not at all."""

import os
import pathlib

import pytest

from mcl_jax import atomic


def stop_halfway(path: pathlib.Path, error: type[BaseException]) -> None:
    with atomic.open_to_replace(path) as file:
        file.write("half")
        file.flush()
        raise error


@pytest.mark.parametrize(("mode", "content"), [("w", "τ = 0.1\n"), ("wb", b"\x00\xff\n")])
@pytest.mark.parametrize("exists", [False, True])
def test_content_takes_the_place_of_the_file(tmp_path, mode, content, exists):
    path = tmp_path / "file"
    if exists:
        path.write_text("an older and longer text")
    with atomic.open_to_replace(path, mode) as file:
        file.write(content)
    assert path.read_bytes() == (content if mode == "wb" else content.encode("utf-8"))
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [None, b"old"])
def test_an_exception_leaves_things_as_they_were(tmp_path, error, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error):
        stop_halfway(path, error)
    assert os.listdir(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic.open_to_replace(str(path)) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_content_is_on_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        events.append(("fsync", os.fstat(descriptor).st_size))
        fsync(descriptor)

    def recorded_replace(source: pathlib.Path, target: pathlib.Path) -> None:
        events.append(("replace", target.name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    with atomic.open_to_replace(tmp_path / "file", "wb") as file:
        file.write(b"12345")
    assert events == [("fsync", 5), ("replace", "file")]


def test_a_missing_folder_is_an_error(tmp_path):
    path = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError), atomic.open_to_replace(path) as file:
        file.write("text")


def test_an_error_names_the_file(tmp_path):
    def full():
        with atomic.open_to_replace(tmp_path / "file"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        full()
    assert caught.value.filename == str(tmp_path / "file")
