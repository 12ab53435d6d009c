"""The loop: train, log, judge on validation, keep checkpoints; in the end judge on test once."""

import functools
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import mcl_jax
from mcl_jax import config as config_lib
from mcl_jax import data
from mcl_jax.evaluation import Judge
from mcl_jax.report import MetricsLog, Progress, write_json
from mcl_jax.training import parallel
from mcl_jax.training.checkpoint import Checkpoints
from mcl_jax.training.feed import load_rows, resident_batches, streamed_batches
from mcl_jax.training.run import Run, initial_state, predictor, prepare
from mcl_jax.training.state import TrainState


def train_and_evaluate(config: ConfigDict, workdir: str | pathlib.Path) -> dict[str, Any]:
    """Runs a configuration to its end, from its newest checkpoint if there is one.

    Args:
        config: `mcl_jax.config.default` with changes.
        workdir: gets ``config.json``, ``metrics.jsonl``, ``checkpoints/`` and ``summary.json``.

    Returns:
        What ``summary.json`` holds: figures are fractions, one a network where they are lists.

    Raises:
        ConfigError, DataError: the configuration cannot be run; one sentence says why.
        FloatingPointError: a logged figure is not finite; the last checkpoint stays.
    """
    began = time.perf_counter()
    run = _ready(config)
    workdir = config_lib.claim(workdir, config, run.steps)
    with Checkpoints(workdir / "checkpoints", config.training.keep_checkpoints) as checkpoints:
        start = checkpoints.latest_step() or 0
        finished = _finished(workdir / "summary.json", start, run.steps)
        if finished:
            return finished
        state = _restored(config, run, checkpoints)
        judge = _judge(config, run)
        with MetricsLog(workdir / "metrics.jsonl", start) as log:
            state, clock = _train(config, run, state, judge, checkpoints, log, began)
    devices = run.mapper.devices
    summary = {
        "name": config.name,
        "dataset": config.data.name,
        "train_rows": len(run.dataset.train),
        "seed": config.seed,
        "steps": int(state.step),
        "seconds": clock.seconds(),
        "images_per_second": clock.images_per_second(),
        **judge.full(predictor(run, state)),
        "baselines": judge.baselines(predictor(run, initial_state(config, run))),
        "devices": f"{len(devices)} {devices[0].device_kind}",
        "versions": {"mcl_jax": mcl_jax.__version__, "jax": jax.__version__},
    }
    write_json(workdir / "summary.json", summary)
    return summary


def restore(config: ConfigDict, workdir: str | pathlib.Path) -> tuple[Run, TrainState]:
    """The newest state of a run, to be looked at or to be taken apart.

    Args:
        config: the run's configuration.
        workdir: of the run.

    Returns:
        The run and its state; the state at step 0 if nothing is saved.

    Raises:
        ConfigError, DataError: the configuration cannot be run, or is not the workdir's.
    """
    run = _ready(config)
    folder = config_lib.claim(workdir, config, run.steps) / "checkpoints"
    with Checkpoints(folder, config.training.keep_checkpoints) as checkpoints:
        return run, _restored(config, run, checkpoints)


def _ready(config: ConfigDict) -> Run:
    """Devices, data set and method of a configuration."""
    mapper = parallel.create(config.parallel.mapper, config.parallel.devices)
    config_lib.check(config, len(mapper.devices))
    dataset = data.load(
        config.data.name,
        validation_size=config.data.validation_size,
        train_size=config.data.train_size or None,
        seed=config.data.seed,
        data_dir=config.data.data_dir or None,
    )
    return prepare(config, dataset, mapper)


def _restored(config: ConfigDict, run: Run, checkpoints: Checkpoints) -> TrainState:
    """The newest state, or the one at step 0."""
    state = initial_state(config, run)
    step = checkpoints.latest_step()
    return state if step is None else checkpoints.restore(step, state)


def _finished(path: pathlib.Path, step: int, steps: int) -> dict[str, Any] | None:
    """The summary of a run that has nothing left to do: test is not read again."""
    if step < steps or not path.exists():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    return summary if summary["steps"] == steps else None


def _judge(config: ConfigDict, run: Run) -> Judge:
    """What judges the run's networks."""
    devices = len(run.mapper.devices)
    return Judge(
        run.dataset,
        batch_size=-(-config.evaluation.batch_size // devices) * devices,
        neighbours=config.evaluation.knn_neighbours,
        train_rows=config.evaluation.knn_rows,
        load=functools.partial(load_rows, side=config.data.image_size),
    )


class _Clock:
    """Seconds of the run, earlier parts of it included, and the speed of its training alone."""

    def __init__(self, began: float, earlier: float) -> None:
        self._began, self._earlier = began, earlier
        self._mark = began
        self._recent: float | None = None
        self._trained, self._images = 0.0, 0

    def seconds(self) -> float:
        return self._earlier + time.perf_counter() - self._began

    def resume(self) -> None:
        """Goes on after something that is not training."""
        self._mark = time.perf_counter()

    def lap(self, images: int) -> None:
        """Counts ``images`` trained on since the last call."""
        now = time.perf_counter()
        self._recent = images / (now - self._mark)
        self._trained, self._images = self._trained + now - self._mark, self._images + images
        self._mark = now

    def recent(self) -> float | None:
        """Speed of the last lap; None before there was one."""
        return self._recent and round(self._recent, 1)

    def images_per_second(self) -> float | None:
        """Mean speed since the step was compiled; None if this process trained no further."""
        return self._images / self._trained if self._images else None


def _train(
    config: ConfigDict,
    run: Run,
    state: TrainState,
    judge: Judge,
    checkpoints: Checkpoints,
    log: MetricsLog,
    began: float,
) -> tuple[TrainState, _Clock]:
    """Trains from the state's step to the last one."""
    options = config.training
    dispatch = options.steps_per_dispatch
    first = step = int(state.step)
    clock = _Clock(began, log.kept[-1]["seconds"] if log.kept else 0.0)

    def due(every: float) -> bool:
        """Whether this dispatch reached a multiple of ``every`` steps, or the end."""
        return step == run.steps or (bool(every) and step // every > (step - dispatch) // every)

    if step == 0:
        state = _refreshed(run, state)
    batches, logged = _batches(config, run, state), step
    with Progress(run.steps, step) as progress:
        while step < run.steps:
            state, metrics = run.step(state, next(batches))
            step += dispatch
            if step < run.steps and due(run.steps_per_epoch):
                state = _refreshed(run, state)
            judging = due(options.eval_every_epochs * run.steps_per_epoch)
            saving = due(options.checkpoint_every_epochs * run.steps_per_epoch)
            compiled = step == first + dispatch
            if not (compiled or judging or saving or due(options.log_every)):
                continue
            values = {name: np.asarray(x).tolist() for name, x in jax.device_get(metrics).items()}
            _stop_unless_finite(step, values)
            if not compiled or step == run.steps:
                clock.lap((step - logged) * config.data.batch_size)
            clock.resume()
            logged = step
            progress.show(step, clock.recent(), values)
            log.write(_record(run, step, clock, values))
            if judging and len(run.dataset.validation):
                figures = judge.quick(predictor(run, state), run.dataset.validation)
                log.write(_record(run, step, clock, {"validation": figures}))
            if saving:
                checkpoints.save(state)
            clock.resume()
    return state, clock


def _stop_unless_finite(step: int, values: dict[str, Any]) -> None:
    """Raises FloatingPointError that names the step and what is not finite."""
    broken = [name for name, value in values.items() if not np.all(np.isfinite(value))]
    if broken:
        raise FloatingPointError(f"{', '.join(broken)} at step {step} is not finite.")


def _record(run: Run, step: int, clock: _Clock, values: dict[str, Any]) -> dict[str, Any]:
    """One line of the log."""
    return {
        "step": step,
        "epoch": step / run.steps_per_epoch,
        "seconds": round(clock.seconds(), 3),
        "images_per_second": clock.recent(),
        **values,
    }


def _refreshed(run: Run, state: TrainState) -> TrainState:
    """The state with what the method makes anew between epochs."""
    extras = run.method.refresh(state, run.dataset.train)
    return state if extras is None else state._replace(extras=run.mapper.replicate(extras))


def _batches(config: ConfigDict, run: Run, state: TrainState) -> Iterator[Any]:
    """The data of each dispatch from the state's step on."""
    train = run.dataset.train
    if not train.streams:
        return resident_batches(run.mapper, train, run.sampler)
    return streamed_batches(
        run.mapper, train, run.sampler, state.key, int(state.step), config.data.image_size
    )
