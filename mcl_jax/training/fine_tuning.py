"""All weights of a run's networks trained on, on labels, beside the same from scratch."""

import pathlib
import re
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from mcl_jax import cohort, interop
from mcl_jax import config as config_lib
from mcl_jax.config import ConfigError
from mcl_jax.data import Dataset
from mcl_jax.evaluation.figures import ACCURACY, Figure
from mcl_jax.evaluation.panel import Panel
from mcl_jax.evaluation.subjects import RANDOM
from mcl_jax.training.loop import train_and_evaluate
from mcl_jax.training.run import Run
from mcl_jax.training.source import channel_statistics
from mcl_jax.training.state import TrainState


class FineTuning(NamedTuple):
    """How long, on how many labels, and how fast.

    Attributes:
        epochs: passes over the labelled rows.
        rows: labelled training rows, class-balanced; 0 takes those that the run trained on, or all
            of another data set.
        learning_rate: at its peak, with a cosine schedule.
    """

    epochs: int = 10
    rows: int = 0
    learning_rate: float = 0.05


def fine_tuned(
    config: ConfigDict,
    run: Run,
    state: TrainState,
    dataset: Dataset,
    workdir: pathlib.Path,
    options: FineTuning,
    source: str,
) -> dict[str, Any]:
    """Trains every network alone by cross-entropy, from its weights and from none.

    Encoder and classifier learn, the latter from what is drawn; there is no contrast. Both runs
    are whole ones in folders of ``WORKDIR/fine_tuned``, and go on where they were broken off.

    Args:
        config: of the run.
        run: made ready.
        state: whose networks are trained on.
        dataset: whose labels they learn.
        workdir: of the run.
        options: how.
        source: what the data set is called.

    Returns:
        The figure, as `mcl_jax.evaluation.evaluate` gives its own.

    Raises:
        ConfigError, DataError: so many rows cannot be learned from.
    """
    rows = options.rows or len(dataset.train)
    kind = f"{source}-{rows}-rows-{options.epochs}-epochs-{options.learning_rate:g}"
    name = f"step-{int(state.step)}-" + re.sub(r"[^A-Za-z0-9._]+", "-", kind)
    folder = workdir / "fine_tuned" / name
    folder.mkdir(parents=True, exist_ok=True)
    tuned = _config(config, run, dataset, options, source)
    drawn = train_and_evaluate(tuned, folder / "scratch")
    tuned.model.weights = _members(state, config.method.networks, folder)
    learned = train_and_evaluate(tuned, folder / "tuned")
    several = config.method.networks > 1
    panel = Panel(
        learned["test"]["accuracy"],
        None,
        learned["test"]["ensemble_accuracy"] if several else None,
        {RANDOM: drawn["test"]["accuracy"]},
    )
    protocol = (
        f"all weights, cross-entropy on {rows:,} rows for {options.epochs} epochs at "
        f"{options.learning_rate:g}, cosine; averaged: mean of logits; random network: the same "
        f"training from scratch"
    )
    return Figure("fine-tuned", protocol, ACCURACY, panel).plain()


def check_suits(config: ConfigDict, run: Run, dataset: Dataset, source: str) -> None:
    """Stops before anything is trained where the networks cannot be shown these images.

    Args:
        config: of the run.
        run: made ready.
        dataset: whose labels are to be learned.
        source: what it is called.

    Raises:
        ConfigError: the networks or the images do not suit.
    """
    if config.views.get("channels"):
        raise ConfigError(
            "--finetune shows every network whole images, but views.channels "
            f"{config.views.channels} has shown each a part of the channels."
        )
    if config.views.get("frequency"):
        raise ConfigError(
            "--finetune shows every network whole images, but views.frequency "
            f"{config.views.frequency} has shown each a part of the frequencies."
        )
    wanted, given = (x.train.image(0).shape[-1] for x in (run.dataset, dataset))
    if wanted != given:
        raise ConfigError(
            f"--finetune wants images of {wanted} channels, as the networks were trained on, got "
            f"{given} in {source}."
        )


def _members(state: TrainState, networks: int, folder: pathlib.Path) -> tuple[str, ...]:
    """Writes the encoders, without their classifiers; returns the files."""
    variables = {"params": state.params, "batch_stats": state.extras["batch_stats"]}
    files = []
    for number in range(networks):
        member = jax.tree.map(lambda x: np.asarray(x)[None], cohort.select(variables, number))
        for classifier in interop.CLASSIFIERS:
            member["params"]["encoder"].pop(classifier, None)
        file = folder / f"network_{number}.npz"
        alone = {
            collection: {"network_0": {"encoder": tree["encoder"]}}
            for collection, tree in member.items()
            if "encoder" in tree
        }
        cohort.save_member(file, alone, 0)
        files.append(str(file))
    return tuple(files)


def _config(
    config: ConfigDict, run: Run, dataset: Dataset, options: FineTuning, source: str
) -> ConfigDict:
    """A supervised run without contrast, of the same networks."""
    tuned = config_lib.default("supervised_mcl")
    for section in ("model", "data", "evaluation", "parallel"):
        tuned[section].update(config[section])
    tuned.name, tuned.seed = f"{config.name}-fine-tuned", config.seed
    tuned.method.networks = config.method.networks
    tuned.method.weights.update(dict.fromkeys(tuned.method.weights, 0.0))
    tuned.model.update({"weights": (), "shared_stages": 0})
    tuned.views.update(
        {"recipe": "imagenet" if dataset.train.streams else "cifar", "flip": config.views.flip}
    )
    height, width, _ = dataset.train.image(0).shape
    tuned.views.padding = max(1, min(height, width) // 8)
    _set_data(tuned, config, run, dataset, options, source)
    tuned.optimizer.update({"learning_rate": options.learning_rate, "warmup_epochs": 0.0})
    tuned.training.update({"epochs": options.epochs, "steps": 0})
    tuned.training.update({"eval_every_epochs": 0, "checkpoint_every_epochs": options.epochs})
    tuned.logging.tensorboard = False
    return tuned


def _set_data(
    tuned: ConfigDict,
    config: ConfigDict,
    run: Run,
    dataset: Dataset,
    options: FineTuning,
    source: str,
) -> None:
    """The labelled rows, in any order, seen as the networks saw theirs."""
    mean, std = channel_statistics(config, run.dataset.pool)
    rows = options.rows or len(dataset.train)
    devices = run.mapper.data_devices
    batch = min(config.data.batch_size, rows // devices * devices)
    tuned.data.update({"sampler": "shuffled", "batch_size": batch, "mean": mean, "std": std})
    tuned.data.unlabelled = False
    if options.rows:
        tuned.data.train_size = options.rows
    if source != config.data.source:
        tuned.data.update({"source": source, "validation_size": 0, "label_noise": 0.0})
        tuned.data.train_size = options.rows
        tuned.data.image_size = config.data.image_size if dataset.train.streams else 0
        if not source.startswith("tfds:"):
            tuned.data.data_dir = ""
    if dataset.train.streams and not tuned.data.image_size:
        tuned.data.image_size = run.dataset.train.image(0).shape[0]
    neighbours = min(config.evaluation.knn_neighbours, rows)
    tuned.evaluation.knn_neighbours = neighbours
