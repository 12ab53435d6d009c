"""Compiled programs that were cut short are compiled once more, and not at every start."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from mcl_jax.compilation import compiled_programs_kept

COMPILE = """
import os, sys, jax, jax.numpy as jnp
from mcl_jax.compilation import compiled_programs_kept
with compiled_programs_kept():
    jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8)))
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
    if sys.argv[1] == "failed":
        raise OSError("No space left on device")
"""


def start(cache, ending="well"):
    environment = {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-c", COMPILE, ending]
    return subprocess.run(
        command,
        env=os.environ | environment,
        cwd=pathlib.Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("ending", ["killed", "failed"])
def test_programs_of_a_process_that_did_not_end_well_are_compiled_again(tmp_path, ending):
    assert start(tmp_path, ending).returncode != 0
    torn = list(tmp_path.glob("*-cache"))
    assert torn
    for program in torn:
        program.write_bytes(program.read_bytes()[:50])
    again = start(tmp_path)
    assert "cache" not in again.stderr
    whole = {x.name: x.read_bytes() for x in tmp_path.iterdir()}
    assert all(len(content) > 50 for content in whole.values())
    assert start(tmp_path).returncode == 0
    assert {x.name: x.read_bytes() for x in tmp_path.iterdir()} == whole


@pytest.fixture
def folder(tmp_path):
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "compiled"))
    yield tmp_path / "compiled"
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_that_are_older_or_of_a_running_process_stay(folder):
    folder.mkdir()
    over = subprocess.Popen([sys.executable, "-c", ""])
    over.wait()
    for name, age in (("old-cache", 100), (f".running-{over.pid}", 50), ("young-cache", 10)):
        (folder / name).touch()
        now = (folder / name).stat().st_mtime
        os.utime(folder / name, (now - age, now - age))
    (folder / f".running-{os.getppid()}").touch()
    (folder / "of another-cache").touch()
    os.utime(folder / "of another-cache", (now - 40, now - 40))
    with compiled_programs_kept():
        assert (folder / f".running-{os.getpid()}").exists()
    left = {x.name for x in folder.iterdir()}
    assert left == {"old-cache", f".running-{os.getppid()}"}


@pytest.mark.parametrize(("error", "stays"), [(KeyboardInterrupt, False), (OSError, True)])
def test_the_marker_stays_where_a_disk_may_be_full(folder, error, stays):
    with pytest.raises(error), compiled_programs_kept():
        raise error
    assert (folder / f".running-{os.getpid()}").exists() == stays


def test_a_folder_that_cannot_be_made_does_not_stop_a_run(tmp_path, folder):
    folder.write_text("a file")
    with compiled_programs_kept():
        pass


def test_a_marker_that_is_not_ours_does_not_stop_a_run(folder):
    folder.mkdir()
    (folder / ".running-x").touch()
    with compiled_programs_kept():
        pass
    assert (folder / ".running-x").exists()
