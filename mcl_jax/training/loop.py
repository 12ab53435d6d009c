"""A run from its start to its summary: train, log, judge on validation, keep checkpoints."""

import functools
import json
import pathlib
import platform
import shlex
import sys
import time
import warnings
from importlib import metadata
from typing import Any

import jax
from ml_collections import ConfigDict

import mcl_jax
from mcl_jax import config as config_lib
from mcl_jax import data
from mcl_jax.evaluation import Judge
from mcl_jax.report import Recorder, last_start, write_json
from mcl_jax.training import parallel
from mcl_jax.training.checkpoint import Checkpoints, StorageError
from mcl_jax.training.clock import Clock
from mcl_jax.training.exclusive import exclusive
from mcl_jax.training.feed import load_rows
from mcl_jax.training.run import Run, initial_state, predictor, prepare
from mcl_jax.training.state import TrainState
from mcl_jax.training.train import Session, train

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def train_and_evaluate(
    config: ConfigDict, workdir: str | pathlib.Path, *, profile_steps: int = 0
) -> dict[str, Any]:
    """Runs a configuration to its end, from its newest checkpoint if there is one.

    Between two steps it saves and leaves on Ctrl-C (KeyboardInterrupt) and on SIGTERM or a
    preemption notice (SystemExit with code 143); a second Ctrl-C leaves at once.

    Args:
        config: `mcl_jax.config.default` with changes.
        workdir: gets ``config.json``, ``metrics.jsonl``, ``log.jsonl``, ``outputs.npz``,
            ``checkpoints/``, ``tensorboard/`` and ``summary.json``.
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
    run = ready(config)
    workdir = pathlib.Path(workdir)
    kept = workdir / "checkpoints", config.training.keep_checkpoints
    with exclusive(workdir) as folder, Checkpoints(*kept) as checkpoints:
        config_lib.claim(folder, config, run.steps)
        if checkpoints.latest_step() == run.steps:
            finished = _finished(folder / "summary.json", config, run.steps)
            if finished:
                return finished
        state, damage = _restored(config, run, checkpoints)
        start = int(state.step)
        if damage:
            checkpoints.set_aside_after(start)
        with Recorder(folder, config, start=start, steps=run.steps) as recorder:
            circumstances = _circumstances(config, run, state)
            changes = _changes(folder / "log.jsonl", circumstances) if start else []
            recorder.event("started", **circumstances)
            for text in damage:
                recorder.warn(f"{text}; going on from step {start}.")
            if changes:
                recorder.warn(
                    f"the run goes on with other {', '.join(changes)}; it will not end bit for bit "
                    f"where an unbroken one ends."
                )
            clock = Clock(began, recorder.kept[-1]["seconds"] if recorder.kept else 0.0)
            session = Session(
                config, run, judge(config, run), checkpoints, recorder, clock, folder, profile_steps
            )
            state = train(session, state)
            summary = _summary(session, state)
            write_json(folder / "summary.json", summary)
            recorder.event("finished", step=summary["steps"], seconds=summary["seconds"])
    return summary


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
    mapper = parallel.create(options.mapper, options.devices, options.platform)
    config_lib.check(config, len(mapper.devices))
    dataset = data.load(
        config.data.name,
        validation_size=config.data.validation_size,
        train_size=config.data.train_size or None,
        seed=config.data.seed,
        data_dir=config.data.data_dir or None,
    )
    return prepare(config, dataset, mapper)


def judge(config: ConfigDict, run: Run) -> Judge:
    """What judges the run's networks."""
    devices, dataset = len(run.mapper.devices), run.dataset
    most = max(map(len, (dataset.train, dataset.validation, dataset.test)))
    batch_size = min(config.evaluation.batch_size, most)
    return Judge(
        dataset,
        batch_size=-(-batch_size // devices) * devices,
        neighbours=config.evaluation.knn_neighbours,
        train_rows=config.evaluation.knn_rows,
        load=functools.partial(load_rows, side=config.data.image_size),
    )


def _restored(
    config: ConfigDict, run: Run, checkpoints: Checkpoints, step: int | None = None
) -> tuple[TrainState, list[str]]:
    """The state of a step, or the newest unharmed, or the one at step 0; and what is damaged."""
    found = checkpoints.restore(run.like, step)
    if found.state is None:
        return initial_state(config, run), found.damage
    return run.mapper.place(found.state, run.method.specs), found.damage


def _finished(path: pathlib.Path, config: ConfigDict, steps: int) -> dict[str, Any] | None:
    """The summary of a run that has nothing left to do: test is not read again.

    None where there is none of these steps and this evaluation, or where it is damaged.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
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
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return {
        "command": shlex.join(sys.orig_argv),
        "step": int(state.step),
        "steps": run.steps,
        "steps_per_epoch": run.steps_per_epoch,
        "parameters": parameters // config.method.networks,
        "dataset": {
            "name": dataset.name,
            "train": len(dataset.train),
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
    devices = run.mapper.devices
    return f"{len(devices)} {devices[0].device_kind}"


def _summary(session: Session, state: TrainState) -> dict[str, Any]:
    """The figures of a finished run, test among them."""
    config, run, clock = session.config, session.run, session.clock
    figures = session.judge.full(predictor(run, state), session.keep_outputs(int(state.step)))
    random = predictor(run, initial_state(config, run))
    best = session.checkpoints.best()
    return {
        "name": config.name,
        "dataset": config.data.name,
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
