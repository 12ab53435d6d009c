"""What a run would take: parameters, memory and time, from its first steps; nothing is written."""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from mcl_jax import cohort
from mcl_jax.training import processes
from mcl_jax.training.footprint import compile_step
from mcl_jax.training.loop import ready
from mcl_jax.training.run import Run, batches, initial_state
from mcl_jax.training.state import TrainState

_WARM_UP = 4  # dispatches: the first ones are slow, and their batches were decoded ahead
_TIMED = 3


def dry_run(config: ConfigDict) -> dict[str, Any]:
    """Compiles the step of a run, times a few and looks at the memory.

    Args:
        config: of the run; its workdir is not needed.

    Returns:
        Counts, bytes and seconds for `mcl_jax.report.dry_run_table`; None where this platform does
        not tell. Time is that of training alone, without evaluation and checkpoints.

    Raises:
        ConfigError, DataError: the configuration cannot be run; one sentence says why.
    """
    run = ready(config)
    state = initial_state(config, run)
    held = _held(state, run)
    inputs = batches(config, run, state)
    data = next(inputs)
    took = compile_step(run.step, state, data)
    processes.meet()
    total = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    seconds = _time(run, state, itertools.chain([data], inputs))
    seconds /= config.training.steps_per_dispatch
    dataset, devices = run.dataset, run.mapper.devices
    return {
        "name": config.name,
        "dataset": config.data.source,
        "rows": {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")},
        "networks": config.method.networks,
        "parameters": {"networks": cohort.parameter_counts(state.params), "cohort": total},
        "steps": run.steps,
        "steps_per_epoch": run.steps_per_epoch,
        "epochs": run.steps / run.steps_per_epoch,
        "devices": f"{len(devices)} {devices[0].device_kind}",
        "held_bytes": held,
        "step_bytes": took.bytes,
        "peak_bytes": _peak(run.mapper.local_devices),
        "compile_seconds": took.seconds,
        "step_seconds": seconds,
        "images_per_second": config.data.batch_size / seconds,
        "epoch_seconds": seconds * run.steps_per_epoch,
        "run_seconds": seconds * run.steps,
    }


def _time(run: Run, state: TrainState, batches: Iterator[Any]) -> float:
    """Seconds of a dispatch and of waiting for its data, once both run evenly."""
    for data in itertools.islice(batches, _WARM_UP):
        state, _ = run.step(state, data)
    jax.block_until_ready(state)
    began = time.perf_counter()
    for data in itertools.islice(batches, _TIMED):
        state, _ = run.step(state, data)
    jax.block_until_ready(state)
    return (time.perf_counter() - began) / _TIMED


def _held(state: TrainState, run: Run) -> dict[str, int]:
    """Bytes that lie on the devices between steps."""
    parts = {"parameters": state.params, "optimizer": state.optimizer}
    held = {name: _bytes(part) for name, part in parts.items()}
    train = run.dataset.pool
    data = 0 if train.images is None else train.images.nbytes + train.labels.nbytes
    return {**held, "other state": _bytes(state) - sum(held.values()), "data set": data}


def _bytes(tree: Any) -> int:
    """On one device: a leaf may be split over some."""
    share = ((x, math.prod(x.sharding.shard_shape(x.shape))) for x in jax.tree.leaves(tree))
    return sum(leaf.nbytes * size // max(leaf.size, 1) for leaf, size in share)


def _peak(devices: Sequence[jax.Device]) -> int | None:
    """The most bytes that any of the devices, all of this process, had in use so far."""
    stats = [device.memory_stats() or {} for device in devices]
    return max((x["peak_bytes_in_use"] for x in stats if "peak_bytes_in_use" in x), default=None)
