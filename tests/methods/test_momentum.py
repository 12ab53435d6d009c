"""Momentum networks follow slowly, and give no gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax.methods import momentum


def test_they_move_by_a_share_of_the_way():
    slow, params = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.array([3.0, 2.0])}
    assert np.allclose(momentum.move(slow, params, 0.75)["w"], [1.5, -1.0])
    assert momentum.move(slow, params, 0.0)["w"].tolist() == [3.0, 2.0]
    gradient = jax.grad(lambda x: jnp.sum(momentum.move(slow, {"w": x}, 0.75)["w"]))
    assert not gradient(params["w"]).any()


def test_copies_of_frozen_networks_stay_to_the_last_bit():
    params = jax.random.normal(jax.random.key(0), (1000,))
    assert np.array_equal(momentum.move(params, params, 0.999), params)
