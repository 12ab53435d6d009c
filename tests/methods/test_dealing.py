"""Rows dealt out so that keys are normalised among other rows than their queries."""

import numpy as np
import optax
import pytest

from mcl_jax import config as config_lib
from mcl_jax.axes import Axes
from mcl_jax.methods import Setting
from mcl_jax.methods.dealing import row_dealt_to, runs


@pytest.mark.parametrize(("rows", "groups"), [(24, 4), (16, 8), (32, 2), (6, 1)])
def test_every_run_of_keys_has_an_equal_part_of_every_run_of_queries(rows, groups):
    dealt = row_dealt_to(np.arange(rows), rows, groups)
    assert sorted(dealt) == list(range(rows))
    of_keys, of_queries = np.arange(rows) // (rows // groups), dealt // (rows // groups)
    counts = np.zeros((groups, groups), int)
    np.add.at(counts, (of_keys, of_queries), 1)
    assert np.ptp(counts) <= 1
    back = row_dealt_to(np.arange(rows), rows, rows // groups)
    assert np.array_equal(dealt[back], np.arange(rows))


@pytest.mark.parametrize(
    ("norm", "groups", "devices", "micro", "expected"),
    [
        ("local", 1, 1, 1, 1),
        ("local", 1, 4, 2, 8),
        ("sync", 1, 4, 1, 1),
        ("sync", 1, 4, 2, 8),
        ("grouped", 16, 4, 2, 16),
        ("group", 1, 4, 2, 1),
    ],
)
def test_runs_are_those_of_batch_statistics(norm, groups, devices, micro, expected):
    config = config_lib.default("moco")
    config.update_from_flattened_dict(
        {"model.norm": norm, "model.norm_groups": groups, "training.micro_batches": micro}
    )
    setting = Setting(4, (0.5,), (0.2,), Axes(), devices, optax.sgd(0.1))
    assert runs(config, setting) == expected
