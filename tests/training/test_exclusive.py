import subprocess
import sys

import pytest

from mcl_jax.config import ConfigError
from mcl_jax.training.exclusive import exclusive

HOLD = """
import sys
from mcl_jax.training.exclusive import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_are_not_in_one_workdir_and_a_killed_one_is_out(tmp_path):
    folder = tmp_path / "new" / "run"
    command = [sys.executable, "-c", HOLD, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match=r"workdir .* is in use by another process"):
            exclusive(folder).__enter__()
        other.kill()
    with exclusive(folder) as found:
        assert found == folder


def test_a_workdir_that_cannot_be_written_is_told_of(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"workdir .*file/run cannot be written: Not a directory"):
        exclusive(tmp_path / "file" / "run").__enter__()
