"""Steps, and what comes between them: figures, validation, checkpoints, reasons to stop."""

import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from ml_collections import ConfigDict

from mcl_jax import data
from mcl_jax.cohort import Output
from mcl_jax.data import Batch, Split
from mcl_jax.evaluation import Judge, write_outputs
from mcl_jax.report import Recorder
from mcl_jax.training import guard, processes
from mcl_jax.training.checkpoint import Checkpoints
from mcl_jax.training.clock import Clock
from mcl_jax.training.footprint import compile_step
from mcl_jax.training.profiling import Profile
from mcl_jax.training.run import Run, batches, predictor
from mcl_jax.training.state import Stream, TrainState, stream
from mcl_jax.training.stopping import Stopping


class Session(NamedTuple):
    """A run with all that it needs to be carried out.

    Attributes:
        config: of the run.
        run: data set, method and compiled step.
        judge: of the networks.
        checkpoints: of the workdir.
        recorder: of the workdir.
        clock: started.
        workdir: gets outputs, and the batch of a step that fails.
        profile_steps: steps to trace.
    """

    config: ConfigDict
    run: Run
    judge: Judge
    checkpoints: Checkpoints
    recorder: Recorder
    clock: Clock
    workdir: pathlib.Path
    profile_steps: int

    def keep_outputs(self, step: int) -> Callable[[str, Split, Output], None]:
        """A function by which the writer keeps what networks say of a split in ``outputs.npz``."""

        def keep(name: str, split: Split, output: Output) -> None:
            if not processes.is_writer():
                return
            write_outputs(
                self.workdir / "outputs.npz",
                output,
                split,
                self.judge.load,
                name=name,
                step=step,
                class_names=self.run.dataset.class_names,
                answers=self.judge.answers,
            )

        return keep


def train(session: Session, state: TrainState) -> TrainState:
    """Trains from the state's step to the last one, or until the run is to be left."""
    config, run, clock = session.config, session.run, session.clock
    dispatch = config.training.steps_per_dispatch
    first = step = logged = int(state.step)
    if step % dispatch:
        # Only a step that was not finite leaves a state within a dispatch.
        raise guard.NotFiniteError(
            f"not finite at step {step + 1}, as log.jsonl tells of the start before; a run of "
            f"{dispatch} steps a dispatch does not go on from step {step}."
        )
    alike: set[int] = set()
    leaving = False
    if step == 0:
        state = refreshed(run, state)
    inputs = batches(config, run, state)
    if step < run.steps:
        inputs = _compiled(session, state, inputs)
    processes.meet()
    session.judge.rehearse(predictor(run, state))
    tracing = Profile(session.workdir, session.profile_steps)
    with Stopping() as stopping, tracing as profile:
        while step < run.steps and not leaving:
            state, metrics = run.step(state, next(inputs))
            step += dispatch
            profile.stepped(dispatch, state)
            due = due_at(session, step)
            if due.refresh:
                state = refreshed(run, state)
            compiled, leaving = step == first + dispatch, stopping.wanted(step // dispatch)
            if not (due.log or compiled or leaving):
                continue
            values = {name: np.asarray(x).tolist() for name, x in jax.device_get(metrics).items()}
            if not state.finite:
                _stop_not_finite(session, state)
            if not compiled or step == run.steps:
                clock.lap((step - logged) * config.data.batch_size)
            clock.resume()
            logged = step
            if due.log:
                session.recorder.metrics(record_of(session, step, values))
                alike = warn_of_collapse(session, step, values, alike)
            judge_and_save(session, state, due, leaving)
            clock.resume()
        session.checkpoints.wait()
        stopping.reason = processes.agree(stopping.reason)
        if stopping.reason:
            session.recorder.event("stopped", reason=stopping.reason, step=step)
            stopping.leave()
    return state


def _compiled(session: Session, state: TrainState, inputs: Iterator[Any]) -> Iterator[Any]:
    """Compiles the step and tells what it takes; returns the data of each dispatch."""
    ahead = next(inputs)
    took = compile_step(session.run.step, state, ahead)
    session.recorder.event("compiled", **took._asdict())
    session.recorder.say(took.sentence())
    return itertools.chain([ahead], inputs)


class Due(NamedTuple):
    """What is to be done after a dispatch.

    Attributes:
        refresh: make anew what the method makes between epochs.
        log: write a line.
        judge: on validation.
        save: a checkpoint.
    """

    refresh: bool
    log: bool
    judge: bool
    save: bool


def due_at(session: Session, step: int) -> Due:
    """Decides by the step alone: a run that was broken off goes on to write the same lines."""
    run, options = session.run, session.config.training
    dispatch, per_epoch = options.steps_per_dispatch, run.steps_per_epoch

    def crossed(every: float) -> bool:
        """Whether this dispatch reached a multiple of ``every`` steps."""
        return bool(every) and step // every > (step - dispatch) // every

    last = step == run.steps
    judge = last or crossed(options.eval_every_epochs * per_epoch)
    save = last or crossed(options.checkpoint_every_epochs * per_epoch)
    log = step == dispatch or judge or save or crossed(options.log_every)
    return Due(crossed(per_epoch), log, judge and len(run.dataset.validation) > 0, save)


def judge_and_save(session: Session, state: TrainState, due: Due, leaving: bool) -> None:
    """Judges and saves what is due, and saves what is best on validation or is to be left."""
    checkpoints, accuracy, best = session.checkpoints, None, False
    if due.judge:
        accuracy = _judged(session, state)
        checkpoints.wait()  # or it would depend on the disk which states are kept
        before = checkpoints.best()
        # The writer alone knows what is kept.
        best = processes.agree(before is None or accuracy >= before.validation_accuracy)
    if due.save or leaving or best:
        session.recorder.sync()
        checkpoints.save(state, accuracy)
    checkpoints.check()


def record_of(session: Session, step: int, values: dict[str, Any]) -> dict[str, Any]:
    """One line of the log."""
    return {
        "step": step,
        "epoch": step / session.run.steps_per_epoch,
        "seconds": round(session.clock.seconds(), 3),
        "images_per_second": session.clock.recent(),
        **values,
    }


def _judged(session: Session, state: TrainState) -> float:
    """Judges on validation; returns the mean accuracy of the networks."""
    step = int(state.step)
    figures = session.judge.quick(predictor(session.run, state), session.keep_outputs(step))
    session.recorder.metrics(record_of(session, step, {"validation": figures}))
    return float(np.mean(figures["accuracy"]))


def warn_of_collapse(
    session: Session, step: int, values: dict[str, Any], told: set[int]
) -> set[int]:
    """Tells once of each network to which all images are alike after a fifth of training."""
    run, options = session.run, session.config.method
    if step <= run.steps / 5:
        return told
    found = guard.collapsed(values, options.embedding_dim, run.dataset.num_classes)
    networks = found.keys() - told - set(options.frozen)
    for network in sorted(networks):
        session.recorder.warn(
            f"the embeddings of network {network} have collapsed: {found[network]} at step {step}; "
            f"a lower optimizer.learning_rate or more optimizer.warmup_epochs may help."
        )
    return told | networks


def _stop_not_finite(session: Session, state: TrainState) -> NoReturn:
    """Keeps the last good state and the batch after it, and says what failed."""
    run, step = session.run, int(state.step)
    state = state._replace(finite=run.mapper.replicate(np.ones((), bool)))
    session.recorder.sync()
    session.checkpoints.save(state)
    session.checkpoints.wait()
    inputs = next(batches(session.config, run, state))
    state, finite = run.inspect(state, inputs)
    batch = inputs if isinstance(inputs, Batch) else _drawn(run, state)
    batch, finite = processes.whole((batch, finite))
    folder = session.workdir
    path = guard.write_batch(folder, step + 1, batch) if processes.is_writer() else folder
    what = guard.describe(finite) or "a loss or a gradient"
    text = (
        f"not finite at step {step + 1}: {what}; the state of step {step} is kept in "
        f"{session.workdir / 'checkpoints'}, the batch is in {path}."
    )
    session.recorder.event("stopped", reason=text, step=step)
    raise guard.NotFiniteError(processes.agree(text))


def _drawn(run: Run, state: TrainState) -> Batch:
    """The batch that a resident set gives after the state."""
    key = stream(processes.at_hand(state.key), Stream.DATA)
    rows = np.asarray(data.draw(run.sampler, key, int(state.step)))
    train = run.dataset.pool
    position = np.arange(len(rows), dtype=np.int32)
    return Batch(train.take(rows).images, train.labels[rows], rows, position)


def refreshed(run: Run, state: TrainState) -> TrainState:
    """The state with what the method makes anew between epochs.

    Args:
        run: whose method it is.
        state: at the end of an epoch, or before the first.
    """
    refresh = run.method.refresh
    if refresh is None or not state.finite:
        return state
    key, extras = processes.at_hand(state.key), processes.whole(state.extras)
    new = refresh(state._replace(key=key, extras=extras), run.dataset.pool) or {}
    placed = {name: run.mapper.place(x, run.layout.extras[name]) for name, x in new.items()}
    return state._replace(extras={**state.extras, **placed})
