"""What is said of errors, and the code that a command ends with."""

import errno
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.command import explain
from mcl_jax.config import ConfigError
from mcl_jax.data import DataError
from mcl_jax.report import ReportError
from mcl_jax.training import NotFiniteError, StorageError

WORKDIR = pathlib.Path("runs/mine")
LESS = (
    "a smaller data.batch_size, evaluation.batch_size or data.train_size, fewer method.networks, "
    "model.dtype=bfloat16 or more devices take less."
)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ConfigError("seed must be odd."), 1, "error: seed must be odd."),
        (StorageError("runs/mine is full."), 1, "error: runs/mine is full."),
        (ReportError("logging.wandb is 'x'."), 1, "error: logging.wandb is 'x'."),
        (NotFiniteError("loss at step 3 is nan."), 2, "error: loss at step 3 is nan."),
        (KeyboardInterrupt(), 130, "stopped."),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/mine/metrics.jsonl"),
            1,
            "error: runs/mine/metrics.jsonl cannot be written: No space left on device; once that "
            "is mended, the same command goes on from the newest checkpoint.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "error: a file in runs/mine cannot be written: No space left on device; once that is "
            "mended, the same command goes on from the newest checkpoint.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "x.array_record"),
            1,
            "error: x.array_record cannot be read or written: Permission denied; once that is "
            "mended, the same command goes on from the newest checkpoint.",
        ),
        (MemoryError(), 1, f"error: the memory of this machine does not suffice; {LESS}"),
    ],
)
def test_errors_that_a_user_can_mend(error, code, sentence):
    assert explain(error, WORKDIR) == (code, sentence)


def test_ctrl_c_before_there_is_a_run():
    assert explain(KeyboardInterrupt(), None) == (130, "stopped.")


def test_ctrl_c_where_a_state_is_saved(tmp_path):
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    sentence = f"stopped; the same command goes on from the newest checkpoint in {tmp_path}."
    assert explain(KeyboardInterrupt(), tmp_path) == (130, sentence)


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("x"), RuntimeError("x"), OSError("without a code")]
)
def test_errors_of_the_program_are_not_explained_away(error):
    assert explain(error, WORKDIR) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("batch_size must be 1, got 2.", "data.batch_size must be 1, got 2."),
        (
            "train_size=5 wants images_per_class=2 in /x/batch_size.npz.",
            "data.train_size=5 wants data.images_per_class=2 in /x/batch_size.npz.",
        ),
        ("source must be digits.", "data.source must be digits."),
        ("names are wrong.", "data.source: names are wrong."),
        ("tfds:x is not prepared.", "data.source: tfds:x is not prepared."),
    ],
)
def test_arguments_of_the_data_package_are_named_as_fields(text, sentence):
    assert explain(DataError(text), WORKDIR) == (1, f"error: {sentence}")


@pytest.mark.parametrize(
    ("ask", "where", "size"),
    [
        (lambda: jax.jit(lambda: jnp.ones(10**15, jnp.uint8))(), "a device", "909.5 TiB"),
        (lambda: np.zeros(10**15, np.uint8), "this machine", "909.0 TiB"),
    ],
    ids=["XLA", "NumPy"],
)
def test_too_little_memory_comes_with_what_takes_less(ask, where, size):
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        jax.block_until_ready(ask())
    said = (
        f"error: the memory of {where} does not suffice ({size} more were wanted at once); {LESS}"
    )
    assert explain(raised.value, WORKDIR) == (1, said)


def test_other_errors_of_a_device_are_the_programs():
    assert explain(jax.errors.JaxRuntimeError("INTERNAL: something"), WORKDIR) is None
