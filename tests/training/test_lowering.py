"""The step of every configuration is compiled for CPU, CUDA and TPU as far as that goes here."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import config as config_lib
from mcl_jax.data import Dataset, Split
from mcl_jax.training import parallel
from mcl_jax.training import state as states
from mcl_jax.training.feed import Resident
from mcl_jax.training.run import abstract_batch, prepare

CONFIGS = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))
SHAPES = {
    "fashion_mnist": (10, (28, 28, 1)),
    "photographs": (14, (32, 32, 3)),
    "tfds:cifar10": (10, (32, 32, 3)),
    "tfds:cifar100": (100, (32, 32, 3)),
    "parquet:tiny-imagenet": (200, (64, 64, 3)),
    "tfds:stl10": (10, (96, 96, 3)),
    "tfds:imagenet2012": (1000, (500, 375, 3)),
}
PLATFORMS = ("cpu", "cuda", "tpu")


def get_config(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


class Rows:
    """A streamed set's images, all the same one."""

    def __init__(self, count, shape):
        self.count, self.shape = count, shape

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        return np.zeros(self.shape, np.uint8)


def blank_dataset(config):
    """As many classes and images of the same shape as the real set, enough for its method."""
    classes, shape = SHAPES[config.data.source]
    rows = max(2 * classes, 2 * config.data.batch_size, config.method.get("background", 0))
    labels = (np.arange(rows) % classes).astype(np.int32)
    if config.data.image_size:
        split = Split(labels, rows=Rows(len(labels), shape))
    else:
        split = Split(labels, images=np.zeros((len(labels), *shape), np.uint8))
    names = tuple(map(str, range(classes)))
    return Dataset(config.data.source, split, split, split, names, "")


# Tracing the encoder takes most of the time: of configurations that share one, the first keeps it.
NAMES = [get_config(path).model.name for path in CONFIGS]
KEPT = dict(reversed([*zip(NAMES, CONFIGS, strict=True)]))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_step_lowers_for_every_platform(path):
    config = get_config(path)
    if path not in KEPT.values():
        config.model.update({"name": "tiny_resnet", "width": 1.0, "stem": ""})
    dataset = blank_dataset(config)
    mapper = parallel.create("shard_map", 1)
    config_lib.check(config, 1)
    run = prepare(config, dataset, mapper)
    batch = abstract_batch(config, dataset)
    state = jax.eval_shape(
        lambda key, batch: states.create(run.method, key, batch),
        jax.eval_shape(lambda: jax.random.key(0)),
        batch,
    )
    data = batch
    if not dataset.train.streams:
        resident = Resident(dataset.train.images, dataset.train.labels, run.sampler)
        data = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), resident
        )
    exported = jax.export.export(run.step, platforms=PLATFORMS)(state, data)
    assert exported.platforms == PLATFORMS
    assert len(exported.mlir_module_serialized) > 0
