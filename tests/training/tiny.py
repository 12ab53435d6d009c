"""A run so small that many of its kinds compile in a test: 8 x 8 images, four channels."""

import functools
import pathlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import numpy as np
from ml_collections import ConfigDict

from mcl_jax import config as config_lib
from mcl_jax.data import Dataset, Split
from mcl_jax.models import registry
from mcl_jax.models.small_resnet import SmallResNet
from mcl_jax.training import parallel, step
from mcl_jax.training.checkpoint import Checkpoints, plain, typed
from mcl_jax.training.feed import resident_batches
from mcl_jax.training.run import Run, initial_state, prepare
from mcl_jax.training.state import TrainState
from mcl_jax.training.train import refreshed


def dataset(rows: int = 64, classes: int = 4, seed: int = 0) -> Dataset:
    """Noise whose brightness tells the class, as three splits."""
    rng = np.random.default_rng(seed)

    def split() -> Split:
        labels = (np.arange(rows) % classes).astype(np.int32)
        noise = rng.integers(0, 128, (rows, 8, 8, 1))
        return Split(labels, images=(noise + 30 * labels[:, None, None, None]).astype(np.uint8))

    names = tuple(str(label) for label in range(classes))
    return Dataset("noise", split(), split(), split(), names, "made up")


def config(method: str = "supervised_mcl", **changes: Any) -> ConfigDict:
    """Two tiny networks, batch 16 in any order (so that positives are ragged), five steps."""
    result = config_lib.default(method)
    result.update_from_flattened_dict(
        {
            "name": "tiny",
            "model.name": "tiny",
            "method.embedding_dim": 8,
            "data.batch_size": 16,
            "data.sampler": "shuffled",
            "views.recipe": "cifar",
            "views.padding": 1,
            "training.steps": 5,
            "training.log_every": 1,
            "evaluation.batch_size": 16,
            "parallel.devices": 1,
        }
    )
    result.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return result


def know_tiny_network(monkeypatch: Any) -> None:
    """Registers the encoders ``tiny`` and ``tiny_wide`` for one test."""
    for name, width in (("tiny", 4), ("tiny_wide", 6)):
        encoder = functools.partial(SmallResNet, widths=(width,))
        monkeypatch.setitem(registry._ENCODERS, name, encoder)


def batches(run: Run) -> Iterator[Any]:
    """The data of each dispatch."""
    return resident_batches(run.mapper, run.dataset.pool, run.sampler)


def run_steps(config: ConfigDict, data: Dataset, steps: int) -> tuple[Run, TrainState, list[Any]]:
    """Trains for some dispatches; returns the run, its state and the metrics of each."""
    mapper = parallel.create(
        config.parallel.mapper, config.parallel.devices, cohort=config.parallel.cohort_devices
    )
    config_lib.check(config, mapper.data_devices)
    run = prepare(config, data, mapper)
    state = initial_state(config, run)
    metrics = []
    for _, dispatch in zip(range(steps), batches(run), strict=False):
        state, values = run.step(state, dispatch)
        metrics.append(values)
    return run, state, metrics


def trajectory(
    config: ConfigDict, data: Dataset, steps: int, folder: pathlib.Path | None = None
) -> tuple[Run, list[Any], list[Any]]:
    """Trains step by step; the step is traced once.

    Args:
        config: of the run, one step a dispatch.
        data: resident.
        steps: how many.
        folder: where the state after half of the steps is saved, for `resumed`.

    Returns:
        The run, the states on the host from step 0 on, keys left out, and the metrics of each step.
    """
    run, state, _ = run_steps(config, data, 0)
    states, metrics, dispatch = [_on_host(state)], [], next(batches(run))
    with mock.patch.object(step, "train_step", side_effect=step.train_step) as traced:
        for number in range(steps):
            if folder is not None and number == steps // 2:
                with Checkpoints(folder, 1) as checkpoints:
                    checkpoints.save(state)
            state, values = run.step(state, dispatch)
            state = _refreshed(run, state)
            states.append(_on_host(state))
            metrics.append(jax.device_get(values))
    assert traced.call_count == 1
    return run, states, metrics


def resumed(run: Run, folder: pathlib.Path, steps: int) -> tuple[Any, list[Any]]:
    """What a run that was killed half way does after its start anew.

    Args:
        run: of `trajectory`.
        folder: of its checkpoint.
        steps: of the whole run.

    Returns:
        The last state on the host, and the metrics of the steps after the checkpoint.
    """
    with Checkpoints(folder, 1) as checkpoints:
        found = checkpoints.restore(run.like).state
    assert found is not None
    state = run.mapper.place(typed(plain(found), run.like), run.layout)
    metrics, dispatch = [], next(batches(run))
    while int(state.step) < steps:
        state, values = run.step(state, dispatch)
        state = _refreshed(run, state)
        metrics.append(jax.device_get(values))
    return _on_host(state), metrics


def _refreshed(run: Run, state: TrainState) -> TrainState:
    """As the loop has it, where an epoch ends."""
    return state if int(state.step) % run.steps_per_epoch else refreshed(run, state)


def _on_host(state: TrainState) -> Any:
    return jax.device_get(state._replace(key=None))
