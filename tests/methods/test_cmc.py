"""Contrastive multiview coding is the contrast across two networks that see their own channels."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))

import bank_equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mcl_jax import losses
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch

CMC = {
    "method__negatives": 0,
    "method__weights__vcl": 0.0,
    "method__weights__soft_vcl": 0.0,
    "method__weights__soft_icl": 0.0,
    "views__channels": "lab",
}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def test_the_loss_is_that_of_the_paper():
    _, objective, queries, bank, batch = bank_equations.objective_of(
        "instance_discrimination", channels=3, **CMC
    )
    loss, (_, metrics) = bank_equations.step(objective, queries, bank, batch)
    with jax.enable_x64(True):
        own = losses.same_class(batch.index, jnp.arange(20))
        expected = losses.cmc(jnp.asarray(queries), bank[:, :20], own, temperature=0.07)
    np.testing.assert_allclose(loss, expected, rtol=1e-9)
    assert metrics["soft_icl"] == metrics["soft_vcl"] == 0
    np.testing.assert_allclose(metrics["mutual_information"].shape, (2, 2))


def test_each_network_sees_its_channels_in_training_and_in_prediction():
    made, *_ = bank_equations.objective_of("instance_discrimination", channels=3, **CMC)
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (4, 8, 8, 3)), jnp.uint8)
    rows = jnp.arange(4)
    batch = Batch(images, rows, rows, rows)
    gray = jnp.broadcast_to(images[..., :1], images.shape)

    @jax.jit
    def run(key):
        params, extras = made.init(key, batch)
        both = jnp.concatenate([images, gray])
        return params, made.predict(params, extras, both).embeddings

    params, embeddings = run(jax.random.key(0))
    kernels = [x["encoder"]["conv1"]["kernel"].shape[3] for x in params.values()]
    assert kernels == [1, 2]
    said, of_gray = embeddings[:, :4], embeddings[:, 4:]
    # Of gray images the second network sees nothing: all are one to it.
    np.testing.assert_allclose(of_gray[1], jnp.broadcast_to(of_gray[1, :1], (4, 5)), atol=1e-3)
    assert np.ptp(said[1], axis=0).max() > 1e-3
    assert np.ptp(of_gray[0], axis=0).max() > 1e-3


def test_channels_are_divided_among_an_even_number_of_networks():
    with pytest.raises(
        ConfigError, match=r"views.channels wants an even number of method.networks"
    ):
        bank_equations.objective_of("instance_discrimination", 3, channels=3, **CMC)
