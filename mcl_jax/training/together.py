"""Several seeds of one small run in one program: their states stacked, the step vmapped.

Each run has its own workdir, with checkpoints and metrics as if it were trained alone. What is
random in a run depends on its seed and step alone, so each trains as it does alone, but for the
order in which XLA adds up.
"""

import contextlib
import itertools
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mcl_jax import config as config_lib
from mcl_jax.config import ConfigError
from mcl_jax.report import Recorder
from mcl_jax.training.checkpoint import Checkpoints
from mcl_jax.training.clock import Clock
from mcl_jax.training.exclusive import exclusive
from mcl_jax.training.feed import resident_feed
from mcl_jax.training.footprint import compile_step
from mcl_jax.training.guard import NotFiniteError
from mcl_jax.training.loop import judge, ready
from mcl_jax.training.run import Run, batches, initial_state, predictor
from mcl_jax.training.state import TrainState
from mcl_jax.training.step import make_step
from mcl_jax.training.stopping import Stopping
from mcl_jax.training.train import (
    Session,
    due_at,
    judge_and_save,
    record_of,
    refreshed,
    warn_of_collapse,
)


def train_together(configs: Sequence[ConfigDict], workdirs: Sequence[str | pathlib.Path]) -> None:
    """Trains runs that differ in their seeds alone to their last step, in one program.

    `train_and_evaluate` then finds each of them trained, and judges it. They start from the newest
    step that all of them have saved. Between two steps they are saved and left on Ctrl-C and on
    SIGTERM, as a run alone is.

    Args:
        configs: of the runs.
        workdirs: of the runs.

    Raises:
        ConfigError: they differ in more, or are not of one device and images in memory; or as
            `train_and_evaluate`.
        StorageError, OSError: a state or a file cannot be written; checkpoints stay.
        NotFiniteError: a loss or a gradient of one of them is not finite; alone it would tell more.
    """
    began = time.perf_counter()
    check_together(configs)
    run = ready(configs[0])
    if len(run.mapper.devices) > 1 or run.dataset.pool.streams:
        raise ConfigError(
            f"several seeds together want one device and images in memory, got "
            f"{len(run.mapper.devices)} devices and {configs[0].data.source}."
        )
    with contextlib.ExitStack() as stack:
        sessions = []
        kept = [
            stack.enter_context(_checkpoints(config, workdir, run))
            for config, workdir in zip(configs, workdirs, strict=True)
        ]
        start = max(set.intersection(*(set(x.steps()) for x in kept)), default=0)
        for config, workdir, checkpoints in zip(configs, workdirs, kept, strict=True):
            folder = pathlib.Path(workdir)
            recorder = stack.enter_context(Recorder(folder, config, start=start, steps=run.steps))
            clock = Clock(began, recorder.kept[-1]["seconds"] if recorder.kept else 0.0)
            recorder.event("started together", step=start, runs=len(configs))
            sessions.append(
                Session(config, run, judge(config, run), checkpoints, recorder, clock, folder, 0)
            )
        _train(sessions, [_state(session, start) for session in sessions])


def check_together(configs: Sequence[ConfigDict]) -> None:
    """Raises ConfigError unless the runs differ in nothing but their seeds and names."""
    flat = [config_lib.flatten(config) for config in configs]
    other = [x for x in flat[0] if any(one.get(x) != flat[0][x] for one in flat)]
    unlike = [x for x in other if x not in ("seed", "name")]
    if "{seed}" in configs[0].views.get("learned", ""):
        raise ConfigError(
            "several seeds together want one file of views.learned, but {seed} names one for each."
        )
    if unlike:
        raise ConfigError(
            f"several seeds together want one configuration, but {unlike[0]} differs."
        )


@contextlib.contextmanager
def _checkpoints(config: ConfigDict, workdir: str | pathlib.Path, run: Run) -> Any:
    """Those of a workdir that other processes are kept out of."""
    folder = pathlib.Path(workdir)
    kept = folder / "checkpoints", config.training.keep_checkpoints
    with exclusive(folder), Checkpoints(*kept) as checkpoints:
        config_lib.claim(folder, config, run.steps)
        yield checkpoints


def _state(session: Session, start: int) -> TrainState:
    """The state of a run at a step that is saved, or at step 0."""
    run = session.run
    if not start:
        return initial_state(session.config, run)
    state = session.checkpoints.restore(run.like, start).state
    return run.mapper.place(state, run.layout)


def _train(sessions: Sequence[Session], states: Sequence[TrainState]) -> None:
    """Trains all of them to the last step, or until they are to be left."""
    run, config = sessions[0].run, sessions[0].config
    dispatch = config.training.steps_per_dispatch
    first = step = logged = int(states[0].step)
    if step == 0:
        states = [refreshed(run, state) for state in states]
    inputs = batches(config, run, states[0])
    state = stacked(states)
    step_of_all = program(config, run)
    if step < run.steps:
        ahead = next(inputs)
        took = compile_step(step_of_all, state, ahead)
        sessions[0].recorder.say(f"{len(sessions)} seeds together: {took.sentence()}")
        inputs = itertools.chain([ahead], inputs)
    sessions[0].judge.rehearse(predictor(run, states[0]))
    alike: list[set[int]] = [set() for _ in sessions]
    leaving = False
    with Stopping() as stopping:
        while step < run.steps and not leaving:
            state, metrics = step_of_all(state, next(inputs))
            step += dispatch
            due = due_at(sessions[0], step)
            if due.refresh:
                state = stacked([refreshed(run, x) for x in _parted(state, len(sessions))])
            compiled, leaving = step == first + dispatch, stopping.wanted(step // dispatch)
            if not (due.log or compiled or leaving):
                continue
            values = jax.device_get(metrics)
            _check_finite(state, sessions)
            for session in sessions:
                if not compiled or step == run.steps:
                    # The speed of all: so a run's share of the time is its images by its speed.
                    session.clock.lap((step - logged) * config.data.batch_size * len(sessions))
                session.clock.resume()
            logged = step
            for place, (session, one) in enumerate(
                zip(sessions, _parted(state, len(sessions)), strict=True)
            ):
                if due.log:
                    own = {name: np.asarray(x[place]).tolist() for name, x in values.items()}
                    session.recorder.metrics(record_of(session, step, own))
                    alike[place] = warn_of_collapse(session, step, own, alike[place])
                judge_and_save(session, one, due, leaving)
            for session in sessions:
                session.clock.resume()
        for session in sessions:
            session.checkpoints.wait()
            if stopping.reason:
                session.recorder.event("stopped", reason=stopping.reason, step=step)
        if stopping.reason:
            stopping.leave()


def program(config: ConfigDict, run: Run) -> Any:
    """The step of stacked states, compiled as the step of one is."""
    options, unroll = config.training, run.mapper.devices[0].platform == "cpu"
    feed = resident_feed(run.mapper.axes, run.mapper.data_devices)
    micro = options.micro_batches
    step = make_step(run.method, run.mapper.axes, feed, options.steps_per_dispatch, unroll, micro)
    return run.mapper.map(
        jax.vmap(step, in_axes=(0, None)),
        run.layout,
        data_is_split=False,
        keep_order=micro > 1 or config.model.remat,
    )


def stacked(states: Sequence[TrainState]) -> TrainState:
    """States of several runs in one, the runs' axis first."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _parted(state: TrainState, count: int) -> list[TrainState]:
    """The states of the runs, each as it would lie alone."""
    return [jax.tree.map(lambda x, i=i: x[i], state) for i in range(count)]


def _check_finite(state: TrainState, sessions: Sequence[Session]) -> None:
    """Raises NotFiniteError if a run has stopped at a step that is not finite."""
    for session, fine, step in zip(sessions, state.finite, state.step, strict=True):
        if not fine:
            raise NotFiniteError(
                f"not finite at step {int(step) + 1} with seed {session.config.seed}."
            )
