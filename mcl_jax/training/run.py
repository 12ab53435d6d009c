"""A run made ready: data set, method, sampler, schedule and the mapped step."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import config as config_lib
from mcl_jax import methods
from mcl_jax.cohort import Output
from mcl_jax.data import (
    Batch,
    Dataset,
    Sampler,
    balanced_rows,
    partly_labelled,
    per_class,
    shuffled,
    steps_per_epoch,
)
from mcl_jax.methods import Method, Setting
from mcl_jax.training import fit, optimizer
from mcl_jax.training import state as states
from mcl_jax.training.feed import (
    loader,
    resident_batches,
    resident_feed,
    streamed_batches,
    streamed_feed,
)
from mcl_jax.training.gradients import Differentiator
from mcl_jax.training.guard import make_inspection
from mcl_jax.training.parallel import Mapper
from mcl_jax.training.source import channel_statistics, image_shape
from mcl_jax.training.state import TrainState
from mcl_jax.training.step import make_step


class Run(NamedTuple):
    """What training needs besides the state.

    Attributes:
        dataset: with its splits.
        method: what is trained.
        mapper: devices and how the step is spread over them.
        sampler: draws the rows of a step.
        steps: of the whole run.
        steps_per_epoch: steps in one pass over the training rows.
        step: (state, data) to (state, metrics), compiled for all devices; donates the state.
        inspect: (state, data) to (state, what is finite of the step), for a step that failed.
        like: structure, shapes and dtypes of the state.
        layout: how the state lies over the mesh, as PartitionSpecs.
        create: (key, weights from files, given extras) to the state at step 0, on the devices.
        predict: (state, images [B, H, W, c]) to Output, compiled for all devices.
    """

    dataset: Dataset
    method: Method
    mapper: Mapper
    sampler: Sampler
    steps: int
    steps_per_epoch: int
    step: Callable[..., Any]
    inspect: Callable[..., Any]
    like: TrainState
    layout: TrainState
    create: Callable[..., TrainState]
    predict: Callable[..., Any]


def prepare(config: ConfigDict, dataset: Dataset, mapper: Mapper) -> Run:
    """Builds all parts of a run.

    Args:
        config: checked by `mcl_jax.config.check`.
        dataset: as `mcl_jax.data.load` gives it.
        mapper: the devices.

    Returns:
        The run; nothing is compiled or put on a device yet.

    Raises:
        ConfigError: a field does not go with the data set, or the state not into the memory.
    """
    fit.check_dataset(config, dataset)
    sampler = _sampler(config, dataset)
    per_epoch = steps_per_epoch(sampler)
    steps = config.training.steps or config.training.epochs * per_epoch
    if steps % config.training.steps_per_dispatch:
        raise config_lib.ConfigError(
            f"training.steps_per_dispatch must divide the steps of the run, {steps}, got "
            f"{config.training.steps_per_dispatch}."
        )
    mean, std = channel_statistics(config, dataset.pool)
    setting = Setting(
        num_classes=dataset.num_classes,
        mean=mean,
        std=std,
        axes=mapper.axes,
        devices=mapper.data_devices,
        optimizer=optimizer.create(config.optimizer, steps, per_epoch),
        image_shape=image_shape(config, dataset.pool),
        cropped=dataset.pool.streams,
        steps=steps,
        steps_per_epoch=per_epoch,
        labels=dataset.pool.labels,
    )
    method = methods.create(config, setting)
    if dataset.unlabelled is not None and method.classifies:
        raise config_lib.ConfigError(
            f"data.unlabelled is for methods that learn without labels, got {config.method.name}."
        )
    create = _creator(config, dataset, method)
    try:
        like = jax.eval_shape(create, jax.random.key(config.seed), None, {})
    except config_lib.ConfigError:
        raise
    except ValueError as error:  # images that the encoder cannot take
        raise config_lib.ConfigError(f"model.name {config.model.name}: {error}") from error
    fit.check_memory(like, dataset.pool, mapper)
    layout = states.layout(like, method.specs)
    streams, unroll = dataset.pool.streams, mapper.devices[0].platform == "cpu"
    feed = streamed_feed if streams else resident_feed(mapper.axes, mapper.data_devices)
    micro = config.training.micro_batches
    step = make_step(method, mapper.axes, feed, config.training.steps_per_dispatch, unroll, micro)
    inspection = make_inspection(Differentiator(method, mapper.axes, micro, unroll), feed)
    found = {"metrics": PartitionSpec(), "gradients": (layout.params,) * len(method.updates)}
    return Run(
        dataset,
        method,
        mapper,
        sampler,
        steps,
        per_epoch,
        step=mapper.map(
            step, layout, data_is_split=streams, keep_order=micro > 1 or config.model.remat
        ),
        inspect=mapper.map(inspection, layout, data_is_split=streams, results=found),
        like=like,
        layout=layout,
        create=_in_place(create, mapper, layout),
        predict=mapper.predictor(method.predict, layout),
    )


def abstract_batch(config: ConfigDict, dataset: Dataset) -> Batch:
    """Shapes and dtypes of a whole batch, [B, ...]."""
    size, shape = config.data.batch_size, image_shape(config, dataset.pool)
    return Batch(
        images=jax.ShapeDtypeStruct((size, *shape), jnp.uint8),
        labels=jax.ShapeDtypeStruct((size,), jnp.int32),
        index=jax.ShapeDtypeStruct((size,), jnp.int32),
        position=jax.ShapeDtypeStruct((size,), jnp.int32),
    )


def initial_state(config: ConfigDict, run: Run, *, drawn: bool = False) -> TrainState:
    """The state at step 0, on the devices.

    Args:
        config: of the run.
        run: made ready.
        drawn: whether to leave out weights from files, for a network that has learned nothing.

    Raises:
        ConfigError: a file of weights cannot be read, or is of another network.
    """
    weights = None if drawn else run.method.read()
    return run.create(jax.random.key(config.seed), weights, run.method.given())


def _creator(config: ConfigDict, dataset: Dataset, method: Method) -> Callable[..., TrainState]:
    """The state at step 0 as a function of the run's key, weights from files, given extras.

    It is traced once, for its shapes and for its values.
    """
    batch = abstract_batch(config, dataset)

    def create(key: jax.Array, weights: Any, given: Any) -> TrainState:
        blank = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), batch)
        return states.create(method, key, blank, weights, given)

    return jax.jit(create)


def _in_place(
    create: Callable[..., TrainState], mapper: Mapper, layout: TrainState
) -> Callable[..., TrainState]:
    """What creates the state where it is to lie."""
    # Compiling the many draws takes longer than drawing, unless XLA is told not to optimise.
    on_cpu = mapper.devices[0].platform == "cpu"
    options = {"xla_backend_optimization_level": 0} if on_cpu else None
    return jax.jit(
        lambda key, weights, given: create(key, weights, given),
        compiler_options=options,
        out_shardings=mapper.shardings(layout),
    )


def batches(config: ConfigDict, run: Run, state: TrainState) -> Iterator[Any]:
    """The data of each dispatch from the state's step on."""
    train = run.dataset.pool
    if not train.streams:
        return resident_batches(run.mapper, train, run.sampler)
    load = loader(config.data.image_size, run.method.crop)
    step, workers = int(state.step), config.data.workers
    return streamed_batches(run.mapper, train, run.sampler, state.key, step, load, workers)


def predictor(run: Run, state: TrainState) -> Callable[[np.ndarray], Output]:
    """The networks of a state as a function of uint8 images [B, H, W, c]."""
    return lambda images: run.predict(state, images)


def _sampler(config: ConfigDict, dataset: Dataset) -> Sampler:
    options = config.data
    pool = dataset.pool
    if options.get("labelled_batch"):
        labels, names = dataset.train.labels, dataset.class_names
        rows = balanced_rows(
            labels, options.labelled, "labelled", class_names=names, seed=options.seed
        )
        sizes = {"batch_size": options.batch_size, "labelled_batch": options.labelled_batch}
        return partly_labelled(rows, len(pool), **sizes)
    if options.sampler == "shuffled":
        return shuffled(len(pool), options.batch_size)
    if dataset.unlabelled is not None:
        raise config_lib.ConfigError(
            f"data.unlabelled wants data.sampler=shuffled, got {options.sampler}, which draws "
            f"rows of a class."
        )
    return per_class(
        dataset.train.labels,
        batch_size=options.batch_size,
        images_per_class=options.images_per_class,
        num_classes=dataset.num_classes,
    )
