"""What goes with a data set and with a machine, beside what the tests of the command try."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mcl_jax.config import ConfigError
from mcl_jax.data import Dataset, Split
from mcl_jax.training import fit, parallel


class Rows:
    """Images of mixed sizes, decoded on the way."""

    def __len__(self):
        return 64

    def __getitem__(self, row):
        return np.zeros([8 + row % 5, 9, 3], np.uint8)


def streamed() -> Dataset:
    split = Split((np.arange(64) % 4).astype(np.int32), rows=Rows())
    return Dataset("streamed", split, split, split, ("a", "b", "c", "d"), "made up")


GOOD = {"data__image_size": 8, "data__mean": (0.5,) * 3, "data__std": (1.0,) * 3}


def test_what_streams_is_fine_with_size_and_statistics():
    fit.check_dataset(tiny.config(**GOOD), streamed())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"data__image_size": 0},
            "data.image_size must be given for tfds:x, whose images are streamed.",
        ),
        (
            {"data__mean": (), "data__std": ()},
            "data.mean and data.std must be given for tfds:x, whose images are streamed.",
        ),
        (
            {"training__steps_per_dispatch": 5},
            "training.steps_per_dispatch must be 1 for tfds:x, whose images are streamed, got 5.",
        ),
        (
            {"data__mean": (0.5,), "data__std": (1.0,)},
            "data.mean and data.std must have 3 numbers each for tfds:x, whose images are in "
            "colour, got 1.",
        ),
    ],
)
def test_what_streams_wants_size_and_statistics(changes, sentence):
    config = tiny.config(**{"data__source": "tfds:x", **GOOD, **changes})
    with pytest.raises(ConfigError) as raised:
        fit.check_dataset(config, streamed())
    assert str(raised.value) == sentence


def test_without_hard_contrast_no_positives_are_wanted():
    data = tiny.dataset(rows=32, classes=32)
    with pytest.raises(ConfigError, match=r"no positives, .*; method\.weights\.icl must be 0 then"):
        fit.check_dataset(tiny.config(method__weights__vcl=0.0), data)
    fit.check_dataset(tiny.config(method__weights__vcl=0.0, method__weights__icl=0.0), data)


@pytest.mark.parametrize(("count", "has"), [(1, "1.0 MiB"), (4, "256.0 KiB")])
def test_a_state_that_is_larger_than_the_memory_is_refused(count, has, monkeypatch):
    monkeypatch.setattr(fit.os, "sysconf", lambda name: 1024)  # a megabyte in pages of a kilobyte
    mapper, train = parallel.create("shard_map", count), tiny.dataset().train
    images = train.images.nbytes
    fits = {"w": jax.ShapeDtypeStruct(((2**20 // count - images) // 4,), jnp.float32)}
    fit.check_memory(fits, train, mapper)
    more = {"w": jax.ShapeDtypeStruct((2**20 // count // 4,), jnp.float32)}
    with pytest.raises(ConfigError, match=f"but a device has {has}; fewer method"):
        fit.check_memory(more, train, mapper)
    if count > 1:  # split over the devices it is half as much for each
        half = dataclasses.replace(mapper, cohort=2)
        more = {"w": jax.ShapeDtypeStruct(((2**20 // count - images) // 2,), jnp.float32)}
        fit.check_memory(more, train, half)


def test_where_nobody_knows_the_memory_nothing_is_refused(monkeypatch):
    def unknown(name):
        raise ValueError

    monkeypatch.setattr(fit.os, "sysconf", unknown)
    state = {"w": jax.ShapeDtypeStruct((10**15,), jnp.float32)}
    fit.check_memory(state, tiny.dataset().train, parallel.create("shard_map", 1))


def test_a_platform_is_looked_for():
    assert parallel.create("shard_map", 2, "cpu").devices == tuple(jax.devices()[:2])
    with pytest.raises(ConfigError) as raised:
        parallel.create("shard_map", 0, "tpu")
    assert str(raised.value) == (
        "parallel.platform tpu is not there: JAX sees only cpu; pip install 'jax[tpu]' makes them "
        "visible on a TPU machine."
    )
    with pytest.raises(ConfigError) as raised:
        parallel.create("shard_map", 0, "gpu")
    assert str(raised.value) == (
        "parallel.platform gpu is not there: JAX sees only cpu; pip install 'jax[cuda13]' makes "
        "NVIDIA's visible."
    )


def test_another_platform_than_the_preferred_one_becomes_the_default(monkeypatch):
    class Device:
        platform, id, process_index = "cpu", 0, 0

    chosen, devices = [], {None: [jax.devices()[0]], "gpu": [Device(), Device()]}
    monkeypatch.setattr(parallel.jax, "devices", lambda platform=None: devices[platform])
    monkeypatch.setattr(parallel.jax.config, "update", lambda name, value: chosen.append(value))
    assert parallel.create("shard_map", 0, "gpu").devices == tuple(devices["gpu"])
    assert chosen == [devices["gpu"][0]]


@pytest.mark.parametrize("error", [RuntimeError("Unknown backend"), AssertionError()])
def test_a_platform_of_the_environment_that_is_not_there_is_told_of(error, monkeypatch):
    def none():
        raise error

    monkeypatch.setattr(parallel.jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ConfigError, match="no device with JAX_PLATFORMS=cuda in the environment;"):
        parallel.create("shard_map", 0)
