"""Regions of a configuration and how they shrink."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mcl_jax import annealing, regions
from mcl_jax import config as config_lib
from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.losses.bounds import within
from mcl_jax.methods import Setting, negatives


def region(per_epoch=4, **changes):
    config = config_lib.default("instance_discrimination")
    config.update_from_flattened_dict({f"method.{name}": x for name, x in changes.items()})
    config_lib.check(config)
    setting = Setting(4, (0.5,), (0.2,), Axes(), 1, optax.sgd(0.1), steps_per_epoch=per_epoch)
    return negatives.region(config, setting)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", annealing.constant(0.2)),
        ("linear", annealing.linear(20, end=0.2)),
        ("step", annealing.step(20, end=0.2)),
        ("exponential", annealing.exponential(end=0.2)),
    ],
)
def test_the_outer_fraction_follows_the_steps(kind, expected):
    chosen = region(region="ball", outer=0.2, annealing=kind, annealing_epochs=5.0)
    state, seen = chosen.init(), []
    for _ in range(25):
        seen.append(float(chosen.outer(state)))
        state = chosen.after(state, jnp.float32(1))
    assert seen == pytest.approx([float(expected(step)) for step in range(25)])
    assert list(chosen.metrics(state)) == [] if kind == "constant" else ["outer"]


def test_the_outer_fraction_follows_the_loss():
    chosen = region(region="ring", outer=0.98, annealing="adaptive")
    state, seen = chosen.init(), []
    for loss in (3.0, 2.0, 1.0, 1.0, 5.0):
        seen.append(float(chosen.metrics(state)["outer"]))
        state = chosen.after(state, jnp.float32(loss))
    assert seen == pytest.approx([1, 1, 0.99, 0.98, 0.98])
    assert float(chosen.outer(state)) == pytest.approx(0.99)


def test_a_region_is_the_one_of_that_name():
    chosen = {
        kind: region(region=kind, outer=0.4, inner=0.5) for kind in ("all", "ball", "ring", "cave")
    }
    pool = jnp.arange(20) != 3

    @jax.jit
    def found(scores):
        # Of keys that are axes, queries' coordinates are the scores.
        queries, keys = scores[0], jnp.eye(20)[None]
        by_bounds = {
            kind: within(scores, chosen[kind].bounds((), queries, keys, pool=pool)) & pool
            for kind in ("ball", "ring", "cave")
        }
        ball = regions.ball(scores, 0.4, pool=pool)
        # What neighbours there are, a method knows: it takes them out of a cave's ball.
        ring = regions.ring(scores, 0.4, 0.5, pool=pool)
        return {"ball": ball, "ring": ring, "cave": ball}, by_bounds

    scores = jax.random.normal(jax.random.key(0), (1, 1, 5, 20))
    expected, by_bounds = found(scores)
    for kind, mask in expected.items():
        assert 0 < mask.sum() < mask.size
        assert np.array_equal(by_bounds[kind], mask)
    assert chosen["all"].bounds((), scores[0], scores[0]) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"outer": 1.5}, "method.outer must be at most 1, got 1.5."),
        (
            {"annealing": "linear"},
            "method.annealing is for a method.region other than all, got linear.",
        ),
        (
            {"region": "ball", "annealing": "step", "annealing_epochs": 1.0},
            "method.annealing step wants more method.annealing_epochs: steps must be at least 10, "
            "got 4.",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        region(**changes)
