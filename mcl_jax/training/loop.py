"""The loop: train, log, judge on validation, keep checkpoints; in the end judge on test once."""

import functools
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
    """
    began = time.perf_counter()
    mapper = parallel.create(config.parallel.mapper, config.parallel.devices)
    config_lib.check(config, len(mapper.devices))
    dataset = data.load(
        config.data.name,
        validation_size=config.data.validation_size,
        train_size=config.data.train_size or None,
        seed=config.data.seed,
        data_dir=config.data.data_dir or None,
    )
    run = prepare(config, dataset, mapper)
    workdir = config_lib.claim(workdir, config)
    judge = Judge(
        dataset,
        batch_size=-(-config.evaluation.batch_size // len(mapper.devices)) * len(mapper.devices),
        neighbours=config.evaluation.knn_neighbours,
        train_rows=config.evaluation.knn_rows,
        load=functools.partial(load_rows, side=config.data.image_size),
    )
    state = initial_state(config, run)
    with Checkpoints(workdir / "checkpoints", config.training.keep_checkpoints) as checkpoints:
        start = checkpoints.latest_step() or 0
        if start:
            state = checkpoints.restore(start, state)
        with MetricsLog(workdir / "metrics.jsonl", start) as log:
            state, clock = _train(config, run, state, judge, checkpoints, log, began)
    trained = judge.full(predictor(run, state))
    baselines = judge.baselines(predictor(run, initial_state(config, run)))
    summary = {
        "name": config.name,
        "dataset": config.data.name,
        "train_rows": len(dataset.train),
        "seed": config.seed,
        "steps": int(state.step),
        "seconds": clock.seconds(),
        "images_per_second": clock.images_per_second(),
        **trained,
        "baselines": baselines,
        "devices": f"{len(mapper.devices)} {mapper.devices[0].device_kind}",
        "versions": {"mcl_jax": mcl_jax.__version__, "jax": jax.__version__},
    }
    write_json(workdir / "summary.json", summary)
    return summary


class _Clock:
    """Seconds of the run, earlier parts of it included, and the speed of its training alone."""

    def __init__(self, began: float, earlier: float) -> None:
        self._began, self._earlier = began, earlier
        self._mark = began
        self._recent = 0.0
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

    def recent(self) -> float:
        return self._recent

    def images_per_second(self) -> float | None:
        """Mean speed since this process compiled the step; None if it trained no further."""
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
            if compiled:
                clock.resume()
            else:
                clock.lap((step - logged) * config.data.batch_size)
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


def _record(run: Run, step: int, clock: _Clock, values: dict[str, Any]) -> dict[str, Any]:
    """One line of the log."""
    return {
        "step": step,
        "epoch": step / run.steps_per_epoch,
        "seconds": round(clock.seconds(), 3),
        "images_per_second": round(clock.recent(), 1),
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
