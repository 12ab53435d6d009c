import os

import layouts
import numpy as np
import pytest

from mcl_jax import data
from mcl_jax.data import index_cache, tar_source, tfrecord


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where indices are kept, every one of them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "WORTH_KEEPING", -1)
    return tmp_path / "cache" / "mcl_jax" / "indices"


class Build:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(3), "b": np.array([b"x", b"yy"])}


def cached(files, build, kind="kind"):
    held = index_cache.cached(kind, [str(file) for file in files], build)
    np.testing.assert_equal(held, {"a": np.arange(3), "b": np.array([b"x", b"yy"])})


def test_an_index_is_kept_until_a_file_changes(kept, tmp_path):
    files, build = [tmp_path / "one", tmp_path / "two"], Build()
    for file in files:
        file.write_bytes(b"x")
    for _ in range(3):
        cached(files, build)
    assert build.calls == 1
    cached(files, build, kind="other")
    assert build.calls == 2
    os.utime(files[0], ns=(1, 1))
    cached(files, build)
    files[1].write_bytes(b"xx")
    cached(files, build)
    cached(files[:1], build)
    assert build.calls == 5
    for file in kept.iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    cached(files, build)
    assert build.calls == 6


def test_what_cannot_be_kept_is_built_again(kept, tmp_path):
    build = Build()
    cached([], build)
    cached([tmp_path / "missing"], build)
    kept.parent.parent.write_text("no folder")
    cached([__file__], build)
    assert build.calls == 3


def test_what_was_quick_is_not_kept(kept, monkeypatch):
    monkeypatch.setattr(index_cache, "WORTH_KEEPING", 60)
    cached([__file__], Build())
    assert not kept.exists()


@pytest.mark.parametrize(
    ("layout", "module", "walk"),
    [("tar", tar_source, "_members"), ("tfrecord", tfrecord, "walk")],
)
def test_a_second_start_walks_over_no_file(kept, tmp_path, monkeypatch, layout, module, walk):
    source = getattr(layouts, layout)(tmp_path / "set")
    options = {"data_dir": str(tmp_path / "set")} if layout == "tfrecord" else {}
    first = data.load(source, validation_size=6, memory_limit=1, **options)
    monkeypatch.setattr(module, walk, None)
    again = data.load(source, validation_size=6, memory_limit=1, **options)
    np.testing.assert_array_equal(again.train.labels, first.train.labels)
    np.testing.assert_array_equal(again.train.image(3), first.train.image(3))
