"""The evaluation of a run: its networks judged by every protocol, on its data or on other."""

import functools
import pathlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import mcl_jax
from mcl_jax import data
from mcl_jax.atomic import write_json
from mcl_jax.config import ConfigError
from mcl_jax.data import DataError, Dataset, Split
from mcl_jax.evaluation import PARTS, adapted, evaluate
from mcl_jax.evaluation.shared import shared_information
from mcl_jax.training.feed import load_rows
from mcl_jax.training.fine_tuning import FineTuning, check_suits, fine_tuned
from mcl_jax.training.loop import judge, restore
from mcl_jax.training.run import Run, initial_state, predictor
from mcl_jax.training.source import image_shape

VIEWS = "views"


class Wanted(NamedTuple):
    """What of a run is to be evaluated, and on what.

    Attributes:
        step: ``"newest"``, ``"best"`` on validation, or the step of a checkpoint.
        source: another data set for features to be judged on; empty is the run's own.
        parts: some of `mcl_jax.evaluation.PARTS` and ``views``; empty is all but ``views``.
        rows: at most so many training rows are used; 0 is ``evaluation.knn_rows``.
        fine_tuning: how all weights are trained on, or None.
        like: the evaluation of a run with the same fields of ``data`` and ``evaluation``, where
            baselines without networks are taken from.
    """

    step: int | str = "newest"
    source: str = ""
    parts: Sequence[str] = ()
    rows: int = 0
    fine_tuning: FineTuning | None = None
    like: dict[str, Any] | None = None


def _tell_nobody(text: str) -> None:
    del text


def evaluate_run(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    wanted: Wanted = Wanted(),  # noqa: B008  it cannot change
    tell: Callable[[str], None] = _tell_nobody,
) -> dict[str, Any]:
    """Evaluates the networks of a run and keeps the figures in its workdir.

    Args:
        config: the run's configuration.
        workdir: gets ``evaluation.json``, or ``evaluation-SOURCE.json`` for another data set.
        wanted: what is evaluated.
        tell: is told what comes next.

    Returns:
        What the file holds: what `mcl_jax.evaluation.evaluate` gives, with ``name``, ``step``,
        ``source``, ``trained_on``, ``adapted`` (the images' shapes where they had to change),
        ``seconds``, ``devices`` and ``versions``; and for the part ``views`` what
        `mcl_jax.evaluation.shared.shared_information` gives, as ``shared``.

    Raises:
        ConfigError, DataError: the configuration or the data set cannot be used, or a part does
            not apply.
        StorageError, OSError: nothing is saved, there is no such checkpoint, or a file cannot be
            read or written.
    """
    began = time.perf_counter()
    run, state = restore(config, workdir, step=wanted.step)
    source = wanted.source or config.data.source
    own = source == config.data.source
    dataset = run.dataset if own else _other(config, source)
    shape = image_shape(config, run.dataset.train)
    given = _checked_shape(dataset.test, shape)
    if wanted.fine_tuning is not None:
        check_suits(config, run, dataset, source)
    check_parts(wanted.parts, config, run, source)
    parts = wanted.parts or PARTS
    found = {
        "name": config.name,
        "source": source,
        "trained_on": config.data.source,
        "step": int(state.step),
        "networks": config.method.networks,
        "adapted": None if given == shape else [list(given), list(shape)],
        **evaluate(
            predictor(run, state),
            dataset,
            parts=[part for part in parts if part != VIEWS],
            random_network=predictor(run, initial_state(config, run, drawn=True)),
            classifies=own and run.method.classifies,
            batch_size=judge(config, run).batch_size,
            train_rows=wanted.rows or config.evaluation.knn_rows,
            load=functools.partial(_load, shape=shape),
            like=wanted.like,
            tell=tell,
        ),
        "parts": list(parts),
        "seconds": time.perf_counter() - began,
        "devices": f"{len(run.mapper.devices)} {run.mapper.devices[0].device_kind}",
        "versions": {"mcl_jax": mcl_jax.__version__, "jax": jax.__version__},
    }
    if VIEWS in parts:
        tell("what the two views share")
        found |= _shared(found, config, run, shape)
    folder = pathlib.Path(workdir)
    path = folder / file_name("" if own else source)
    write_json(path, found)
    if wanted.fine_tuning is not None:
        tell("fine-tuning, from scratch and from the run")
        found["figures"]["fine_tuned"] = fine_tuned(
            config, run, state, dataset, folder, wanted.fine_tuning, source
        )
        write_json(path, found | {"seconds": time.perf_counter() - began})
    return found


def file_name(source: str) -> str:
    """The file that an evaluation on a data set is kept in; empty is the run's own.

    Example:
        >>> file_name(""), file_name("tfds:cifar10")
        ('evaluation.json', 'evaluation-tfds-cifar10.json')
    """
    name = re.sub(r"[^A-Za-z0-9._]+", "-", source).strip("-")
    return f"evaluation-{name}.json" if source else "evaluation.json"


def check_parts(parts: Sequence[str], config: ConfigDict, run: Run, source: str) -> None:
    """Raises ConfigError where there is not what parts of an evaluation judge.

    Args:
        parts: as `Wanted` has them.
        config: of the run.
        run: its method and data.
        source: of the images that features are judged on.
    """
    own = source == config.data.source
    if VIEWS in parts and not own:
        raise ConfigError(
            f"part views is of the views that a run learned from, of {config.data.source}, got "
            f"--source={source}."
        )
    if VIEWS in parts and run.method.pair is None:
        raise ConfigError(
            f"part views wants a method that contrasts views of an image; positives of "
            f"{config.method.name} are other images, or its views are still learned."
        )
    if "classifier" in parts and not (own and run.method.classifies):
        raise ConfigError(
            "part classifier wants networks with a classifier for the data set's classes, and "
            + (f"{config.method.name} trains none." if own else f"{source} has others.")
        )


def _shared(
    found: dict[str, Any], config: ConfigDict, run: Run, shape: tuple[int, int, int]
) -> dict[str, Any]:
    """The reading of the run's views, of its seed, and notes with the sentences that say it."""
    assert run.method.pair is not None
    shared = shared_information(
        run.method.pair,
        run.dataset.pool,
        run.dataset.test,
        seed=config.seed,
        load=functools.partial(load_rows, side=shape[0], margin=1),
    )
    said = [f"What the two views share: {shared['views']['words']}"]
    said.append(f"Of their colours alone: {shared['colours']['words']}")
    if shared["shortcut"]:
        said.append(f"Warning: {shared['shortcut']}")
    return {"shared": shared, "notes": [*found["notes"], *said]}


def _other(config: ConfigDict, source: str) -> Dataset:
    """Another data set, whole; probes choose on a part of its training rows."""
    tfds = source.startswith("tfds:")
    try:
        return data.load(
            source,
            validation_size=0,
            seed=config.data.seed,
            data_dir=(config.data.data_dir or None) if tfds else None,
            memory_limit=config.data.memory_limit << 20,
            corrupt=config.data.corrupt,
        )
    except DataError as error:
        raise ConfigError(re.sub(r"^source\b", "--source", str(error))) from error


def _checked_shape(split: Split, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """H, W, c of the images as the run's networks would get them but for channels and size."""
    image = split.image(0)
    try:
        adapted(image[None], shape)
    except DataError as error:
        raise ConfigError(f"--{error}") from error
    if split.streams:  # of any size, and cut to one
        return (*shape[:2], image.shape[-1])
    return image.shape


def _load(split: Split, rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Images of any data set as the run's networks expect them."""
    return adapted(load_rows(split, rows, shape[0]), shape)
