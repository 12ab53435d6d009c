"""A run from its start to its summary: train, log, judge on validation, keep checkpoints."""

import contextlib
import functools
import json
import pathlib
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import mcl_jax
from mcl_jax import atomic, cohort
from mcl_jax import config as config_lib
from mcl_jax.data import DataWarning
from mcl_jax.evaluation import Judge
from mcl_jax.report import Recorder, SilentRecorder, last_start, write_json
from mcl_jax.training import parallel, processes
from mcl_jax.training.checkpoint import (
    Checkpoints,
    CheckpointsElsewhere,
    StorageError,
    blank_host,
    plain,
    typed,
)
from mcl_jax.training.clock import Clock
from mcl_jax.training.exclusive import exclusive
from mcl_jax.training.feed import load_rows
from mcl_jax.training.run import Run, initial_state, predictor, prepare
from mcl_jax.training.source import load_dataset
from mcl_jax.training.state import TrainState
from mcl_jax.training.train import Session, train

_SHOWN = 10  # test images that a method may make pictures of
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow", "grain")


def train_and_evaluate(
    config: ConfigDict, workdir: str | pathlib.Path, *, profile_steps: int = 0
) -> dict[str, Any]:
    """Runs a configuration to its end, from its newest checkpoint if there is one.

    Between two steps it saves and leaves on Ctrl-C (KeyboardInterrupt) and on SIGTERM or a
    preemption notice (SystemExit with code 143); a second Ctrl-C leaves at once.

    Args:
        config: `mcl_jax.config.default` with changes.
        workdir: gets ``config.json``, ``metrics.jsonl``, ``log.jsonl``, ``outputs.npz``,
            ``checkpoints/``, ``tensorboard/``, ``summary.json`` and what the method leaves.
        profile_steps: so many steps are traced, into ``profile/``.

    Returns:
        What ``summary.json`` holds: figures are fractions, one a network where they are lists.

    Raises:
        ConfigError, DataError: the configuration cannot be run; one sentence says why.
        StorageError, OSError: the state or a file cannot be written; checkpoints stay.
        NotFiniteError: a loss or a gradient is not finite; the state before it is saved, and the
            batch is in ``not_finite_step_STEP.npz``.
    """
    began = time.perf_counter()
    early: list[str] = []
    with _told_of_data(early.append):
        run = ready(config)
    folder = pathlib.Path(workdir)
    with _claimed(folder, config, run) as checkpoints:
        done = checkpoints.latest_step() == run.steps
        finished = processes.agree(_finished(folder, config, run.steps) if done else None)
        if finished:
            return finished
        state, damage = _restored(config, run, checkpoints)
        start = int(state.step)
        if damage:
            checkpoints.set_aside_after(start)
        with (
            _recorder(folder, config, run, start) as recorder,
            _told_of_data(recorder.warn),
        ):
            circumstances = _circumstances(config, run, state)
            changes = _changes(folder / "log.jsonl", circumstances) if start else []
            recorder.event("started", **circumstances)
            for text in early:
                recorder.warn(text)
            for text in damage:
                recorder.warn(f"{text}; going on from step {start}.")
            if changes:
                recorder.warn(
                    f"the run goes on with other {', '.join(changes)}; it will not end bit for bit "
                    f"where an unbroken one ends."
                )
            clock = Clock(began, recorder.kept[-1]["seconds"] if recorder.kept else 0.0)
            traced = profile_steps if processes.is_writer() else 0
            session = Session(
                config, run, judge(config, run), checkpoints, recorder, clock, folder, traced
            )
            state = train(session, state)
            summary = _summary(session, state)
            _leave_arrays(session, state)
            if processes.is_writer():
                write_json(folder / "summary.json", summary)
            recorder.event("finished", step=summary["steps"], seconds=summary["seconds"])
    return processes.agree(summary)


@contextlib.contextmanager
def _claimed(folder: pathlib.Path, config: ConfigDict, run: Run) -> Iterator[Checkpoints]:
    """The checkpoints of the workdir, which the writer keeps all others out of."""
    _check_same(config)
    if not processes.is_writer():
        yield CheckpointsElsewhere()
        return
    kept = folder / "checkpoints", config.training.keep_checkpoints
    with exclusive(folder), Checkpoints(*kept) as checkpoints:
        config_lib.claim(folder, config, run.steps)
        yield checkpoints


def _check_same(config: ConfigDict) -> None:
    """Raises ConfigError where a process was given another configuration than process 0."""
    here = config_lib.flatten(config)
    there = processes.agree({name: repr(value) for name, value in here.items()})
    other = sorted(name for name in here if repr(here[name]) != there.get(name))
    if other:
        raise config_lib.ConfigError(
            f"all processes must be given one configuration, but {other[0]} is {here[other[0]]} in "
            f"process {jax.process_index()} and {there.get(other[0])} in process 0."
        )


@contextlib.contextmanager
def _told_of_data(tell: Callable[[str], None]) -> Iterator[None]:
    """Gives what the data package warns of to ``tell``; Python shows all other warnings."""
    shown = warnings.showwarning

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, DataWarning):
            tell(str(message))
        else:
            shown(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show
        yield


def _recorder(folder: pathlib.Path, config: ConfigDict, run: Run, start: int) -> Recorder:
    """What the writer shows and writes of the run."""
    if not processes.is_writer():
        return SilentRecorder()
    return Recorder(folder, config, start=start, steps=run.steps)


def restore(
    config: ConfigDict, workdir: str | pathlib.Path, *, step: int | str = "newest"
) -> tuple[Run, TrainState]:
    """A state of a run, to be looked at or to be taken apart; the workdir is only read.

    Args:
        config: the run's configuration.
        workdir: of the run.
        step: ``"newest"``, ``"best"`` on validation, or the step of a checkpoint.

    Returns:
        The run and its state.

    Raises:
        ConfigError, DataError: the configuration cannot be run, or is not the workdir's.
        StorageError: nothing is saved, or no such checkpoint, or it cannot be read.
    """
    run = ready(config)
    config_lib.check_workdir(workdir, config, run.steps)
    folder = pathlib.Path(workdir) / "checkpoints"
    with Checkpoints(folder, config.training.keep_checkpoints) as checkpoints:
        wanted = _wanted(checkpoints, folder, step)
        state, damage = _restored(config, run, checkpoints, wanted)
        for text in damage:
            warnings.warn(f"{text}; step {int(state.step)} is used.", stacklevel=2)
        return run, state


def _wanted(checkpoints: Checkpoints, folder: pathlib.Path, step: int | str) -> int | None:
    """The step that ``step`` means; None is the newest."""
    best, kept = checkpoints.best(), checkpoints.steps()
    if step == "newest" and kept:
        return None
    wanted = best.step if best and step == "best" else step
    if isinstance(wanted, int) and wanted in kept:
        return wanted
    there = ", ".join(map(str, kept)) or "there is none"
    raise StorageError(
        f"step must be newest, best (on validation) or a checkpoint in {folder} ({there}), got "
        f"{step!r}."
    )


def ready(config: ConfigDict) -> Run:
    """Devices, data set and method of a configuration."""
    options = config.parallel
    mapper = parallel.create(
        options.mapper, options.devices, options.platform, options.cohort_devices
    )
    config_lib.check(config, mapper.data_devices)
    return prepare(config, load_dataset(config), mapper)


def judge(config: ConfigDict, run: Run) -> Judge:
    """What judges the run's networks."""
    devices, dataset = run.mapper.data_devices, run.dataset
    most = max(map(len, (dataset.train, dataset.validation, dataset.test)))
    batch_size = min(config.evaluation.batch_size, most)
    return Judge(
        dataset,
        batch_size=-(-batch_size // devices) * devices,
        neighbours=config.evaluation.knn_neighbours,
        train_rows=config.evaluation.knn_rows,
        load=functools.partial(load_rows, side=config.data.image_size),
        classifies=run.method.classifies,
    )


def _restored(
    config: ConfigDict, run: Run, checkpoints: Checkpoints, step: int | None = None
) -> tuple[TrainState, list[str]]:
    """The state of a step, or the newest unharmed, or the one at step 0; and what is damaged.

    The workdir need not be there for other processes than the writer, which gives them the state.
    """
    found = checkpoints.restore(run.like, step)
    if not processes.agree(found.state is not None):
        return initial_state(config, run), found.damage
    host = blank_host(run.like) if found.state is None else plain(found.state)
    state = typed(processes.share(host), run.like)
    return run.mapper.place(state, run.layout), found.damage


def _finished(folder: pathlib.Path, config: ConfigDict, steps: int) -> dict[str, Any] | None:
    """The summary of a run that has nothing left to do: test is not read again.

    None where there is none of these steps and this evaluation, or where it is damaged.
    """
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        same = summary["steps"] == steps and summary["evaluation"] == config.evaluation.to_dict()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return summary if same else None


def _changes(path: pathlib.Path, now: dict[str, Any]) -> list[str]:
    """What is another than at the start before, by ``log.jsonl``."""
    there = last_start(path)
    if there is None:
        return []
    before, after = (
        {"devices": x.get("devices"), "python": x.get("python"), **x.get("versions", {})}
        for x in (there, now)
    )
    return [
        f"{name} ({before.get(name)} before, {value} now)"
        for name, value in after.items()
        if before.get(name) != value
    ]


def _circumstances(config: ConfigDict, run: Run, state: TrainState) -> dict[str, Any]:
    """What a colleague needs to know to do the same again."""
    dataset = run.dataset
    return {
        "command": shlex.join(sys.orig_argv),
        "step": int(state.step),
        "steps": run.steps,
        "steps_per_epoch": run.steps_per_epoch,
        "parameters": cohort.parameter_counts(state.params),
        "dataset": {
            "name": dataset.name,
            "train": len(dataset.train),
            **({} if dataset.unlabelled is None else {"unlabelled": len(dataset.unlabelled)}),
            "validation": len(dataset.validation),
            "test": len(dataset.test),
            "classes": dataset.num_classes,
            "notice": dataset.notice,
        },
        "devices": _devices(run),
        "versions": {"mcl_jax": mcl_jax.__version__} | {x: metadata.version(x) for x in _LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _devices(run: Run) -> str:
    devices, together = run.mapper.devices, processes.count()
    several = f" of {together} processes" if together > 1 else ""
    spread = f", networks in {run.mapper.cohort} parts" if run.mapper.cohort > 1 else ""
    return f"{len(devices)} {devices[0].device_kind}{several}{spread}"


def _leave_arrays(session: Session, state: TrainState) -> None:
    """Writes what the method leaves besides a checkpoint."""
    run, test = session.run, session.run.dataset.test
    params, extras = processes.whole((state.params, state.extras))
    if not processes.is_writer():
        return
    some = np.linspace(0, len(test) - 1, min(_SHOWN, len(test))).astype(int)
    images = load_rows(test, some, session.config.data.image_size)
    for name, arrays in run.method.leaves(params, extras, images).items():
        with atomic.open_to_replace(session.workdir / name, "wb") as file:
            np.savez_compressed(file, **dict[str, Any](arrays))


def _summary(session: Session, state: TrainState) -> dict[str, Any]:
    """The figures of a finished run, test among them."""
    config, run, clock = session.config, session.run, session.clock
    figures = session.judge.full(predictor(run, state), session.keep_outputs(int(state.step)))
    random = predictor(run, initial_state(config, run, drawn=True))
    best = session.checkpoints.best()
    return {
        "name": config.name,
        "dataset": config.data.source,
        "train_rows": len(run.dataset.train),
        "seed": config.seed,
        "steps": int(state.step),
        "seconds": clock.seconds(),
        "images_per_second": clock.images_per_second(),
        **figures,
        "baselines": session.judge.baselines(random),
        "best": best and best._asdict(),
        "evaluation": config.evaluation.to_dict(),
        "devices": _devices(run),
        "versions": {"mcl_jax": mcl_jax.__version__, "jax": jax.__version__},
    }
