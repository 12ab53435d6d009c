"""A pair of encoders of moving digits: loss, determinism, who is refused."""

import jax
import numpy as np
import pytest

from mcl_jax.worlds import Factors, Settings, World, carry_out, load_world, training
from mcl_jax.worlds.experiment import shared_factors


@pytest.fixture(scope="module")
def world():
    return load_world()


def test_held_out_material_is_other_material_of_the_same_classes(world):
    for name in ("digits", "backgrounds"):
        rows = [np.asarray(getattr(part, name)) for part in (world.train, world.held_out)]
        flat = [{row.tobytes() for row in part} for part in rows]
        assert not flat[0] & flat[1]
    assert set(np.unique(world.held_out.digit_labels)) == set(range(len(world.digits)))
    assert set(np.unique(world.held_out.background_labels)) == set(range(len(world.backgrounds)))


def test_the_loss_is_infonce_in_both_directions(world):
    params = training.first_params(jax.random.key(0), world.train)
    pairs = training.draw_batch(jax.random.key(1), world.train, Factors(True, False, False), 6)
    loss, embedded = jax.jit(
        lambda params: (
            training.pair_loss(params, pairs, 0.5),
            [
                training.encode(params[name], frames)[1]
                for name, frames in (("first", pairs.first), ("second", pairs.second))
            ],
        )
    )(params)
    first, second = (np.asarray(x, np.float64) for x in embedded)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    scores = first @ second.T / 0.5
    rows, columns = (np.log(np.exp(scores).sum(axis)) for axis in (1, 0))
    expected = np.mean((rows + columns) / 2 - np.diag(scores))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_subset_has_one_name():
    assert shared_factors("digit+background+position") == (True, True, True)
    assert shared_factors("background") == (False, True, False)
    assert shared_factors("untrained") == (False, False, False)


def test_unknown_encoders_and_no_steps_are_refused():
    nothing = World(None, None, (), ())
    with pytest.raises(ValueError, match=r"encoder must be one of .*, got 'colour'"):
        carry_out(nothing, "colour", 0, Settings())
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        carry_out(nothing, "digit", 0, Settings(steps=0))
