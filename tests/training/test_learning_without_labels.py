"""Runs whose training rows have labels in part."""

import dataclasses
import re

import jax
import numpy as np
import pytest
import tiny

from mcl_jax import config as config_lib
from mcl_jax.config import ConfigError
from mcl_jax.data import UNLABELLED, Split
from mcl_jax.training import parallel
from mcl_jax.training.loop import judge
from mcl_jax.training.run import predictor, prepare


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def half_labelled(rows=32, shade=255):
    """The tiny data set with as many rows again that have no labels, all of one shade."""
    held = tiny.dataset(rows)
    plain = np.full((rows, 8, 8, 1), shade, np.uint8)
    more = Split(np.full(rows, UNLABELLED, np.int32), images=plain)
    return dataclasses.replace(held, unlabelled=more)


def test_rows_without_labels_are_learned_from_and_judge_nobody():
    statistics = {"data__mean": (0.5,), "data__std": (0.3,)}
    config = tiny.config("simclr", training__steps=4, evaluation__knn_neighbours=5, **statistics)
    dataset = half_labelled()
    run, state, metrics = tiny.run_steps(config, dataset, 4)
    assert run.steps_per_epoch == 64 // 16
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metrics))
    black = tiny.run_steps(config, half_labelled(shade=0), 4)[1]
    same = jax.tree.map(np.array_equal, state.params, black.params)
    assert not all(jax.tree.leaves(same))  # their pixels are seen
    labelled = run._replace(dataset=dataclasses.replace(dataset, unlabelled=None))
    figures = [judge(config, x).full(predictor(x, state)) for x in (run, labelled)]
    assert figures[0]["test"] == figures[1]["test"]


def test_classifiers_of_learned_views_see_labelled_rows_alone():
    changes = {"data__labelled_batch": 8, "data__labelled": 8, "data__batch_size": 24}
    config = tiny.config("learned_views", views__recipe="imagenet", **changes)
    dataset = tiny.dataset(32)
    colour = {
        name: Split(part.labels, images=np.repeat(part.images, 3, axis=-1))
        for name, part in vars(half_labelled()).items()
        if isinstance(part, Split)
    }
    dataset = dataclasses.replace(dataset, **colour)
    config_lib.check(config, 1)
    run = prepare(config, dataset, parallel.create("shard_map", 1))
    for step in range(6):
        rows = np.asarray(run.sampler(jax.random.key(0), step)).reshape(8, 3)
        assert (dataset.pool.labels[rows[:, 2]] >= 0).all()
    seen = np.concatenate([run.sampler(jax.random.key(0), step) for step in range(4)])
    assert seen.max() >= 32


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            tiny.config(),
            "data.unlabelled is for methods that learn without labels, got supervised_mcl.",
        ),
        (
            tiny.config("simclr", data__sampler="per_class"),
            "data.unlabelled wants data.sampler=shuffled, got per_class, which draws rows of a "
            "class.",
        ),
    ],
)
def test_what_wants_labels_is_refused(config, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        prepare(config, half_labelled(), parallel.create("shard_map", 1))


def test_classifiers_want_labelled_rows_apart():
    config = tiny.config("learned_views", data__unlabelled=True)
    sentence = "data.unlabelled wants data.labelled_batch above 0 where method.class_weight is"
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        config_lib.check(config, 1)
