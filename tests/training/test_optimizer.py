"""SGD of stacked parameters is that of each network, and PyTorch's formula."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from mcl_jax.config import ConfigError
from mcl_jax.training import optimizer


def options(**changes):
    config = tiny.config().optimizer
    config.update(changes)
    return config


def rates(**changes):
    """Learning rates of ten epochs of ten steps."""
    schedule = optimizer.learning_rate(options(**changes), 100, 10)
    return np.array([float(schedule(step)) for step in range(100)])


def test_cosine_falls_from_the_peak_to_zero():
    expected = 0.05 * (1 + np.cos(np.pi * np.arange(100) / 100))
    np.testing.assert_allclose(rates(schedule="cosine"), expected, rtol=1e-5, atol=1e-8)


def test_cosine_by_epoch_is_constant_within_one():
    """The authors' schedule: 0.5 (1 + cos(pi epoch / epochs)) at every step of an epoch."""
    expected = 0.05 * (1 + np.cos(np.pi * np.repeat(np.arange(10), 10) / 10))
    found = rates(schedule="cosine", per_epoch=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_steps_drop_at_their_epochs():
    found = rates(schedule="step", milestones=(3.0, 6.0), gamma=0.1)
    expected = np.repeat([0.1, 0.01, 0.001], [30, 30, 40])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_warm_up_rises_from_zero_and_milestones_count_from_the_start():
    found = rates(schedule="step", milestones=(3.0,), warmup_epochs=2.0)
    np.testing.assert_allclose(found[:20], 0.1 * np.arange(20) / 20, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found[20:30], 0.1, rtol=1e-5)
    np.testing.assert_allclose(found[30:], 0.01, rtol=1e-5)


def test_constant_stays():
    np.testing.assert_allclose(rates(schedule="constant"), 0.1, rtol=1e-6)


def stacked(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "conv": {"kernel": jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)},
        "norm": {"scale": jnp.asarray(rng.normal(size=(2, 4)), jnp.float32)},
    }


def run(transform, params, gradients):
    state = transform.init(params)
    for gradient in gradients:
        deltas, state = transform.update(gradient, state, params)
        params = optax.apply_updates(params, deltas)
    return params


@pytest.mark.parametrize("nesterov", [True, False])
def test_it_is_pytorchs_formula(nesterov):
    transform = optimizer.create(options(schedule="constant", nesterov=nesterov), 10, 10)
    gradients = [stacked(seed) for seed in (1, 2, 3)]
    found = run(transform, stacked(), gradients)
    for group, name in (("conv", "kernel"), ("norm", "scale")):
        value = np.asarray(stacked()[group][name], np.float64)
        trace = np.zeros_like(value)
        for gradient in gradients:
            decayed = np.asarray(gradient[group][name]) + 5e-4 * value
            trace = 0.9 * trace + decayed
            value = value - 0.1 * (decayed + 0.9 * trace if nesterov else trace)
        np.testing.assert_allclose(found[group][name], value, rtol=1e-5)


def test_what_is_excluded_by_name_does_not_decay():
    transform = optimizer.create(
        options(schedule="constant", weight_decay=0.1, decay_exclude=("scale$",)), 10, 10
    )
    still = jax.tree.map(jnp.zeros_like, stacked())
    found = run(transform, stacked(), [still])
    np.testing.assert_array_equal(found["norm"]["scale"], stacked()["norm"]["scale"])
    assert np.all(np.abs(found["conv"]["kernel"]) < np.abs(stacked()["conv"]["kernel"]))


def test_clipping_is_that_of_each_network_alone():
    scaled = jax.tree.map(
        lambda x: x * jnp.array([10.0, 0.01]).reshape(2, *[1] * (x.ndim - 1)), stacked()
    )
    shared = jax.tree.map(lambda x: x[0], scaled)
    gradient = {
        "networks_0_to_1": scaled,
        "networks_2_to_3": {"shared": shared, "members": stacked()},
        "networks_4_to_5": jax.tree.map(lambda x: optax.MaskedNode(), scaled),
    }
    clip = optimizer.clip_per_network(1.0)
    found = clip.update(gradient, clip.init(gradient))[0]

    def check(alone, clipped):
        expected = optax.clip_by_global_norm(1.0).update(alone, optax.EmptyState())[0]
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(clipped), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)
        return optax.tree.norm(alone) > 1

    for network in range(2):
        pair = (scaled, found["networks_0_to_1"])
        assert check(*jax.tree.map(lambda x, a=network: x[a], pair)) == (network == 0)
    assert check(shared, found["networks_2_to_3"]["shared"])
    pair = (stacked(), found["networks_2_to_3"]["members"])
    for network in range(2):
        assert check(*jax.tree.map(lambda x, a=network: x[a], pair))
    assert jax.tree.leaves(found["networks_4_to_5"]) == []


def test_clipping_bounds_the_gradient_that_momentum_sees():
    transform = optimizer.create(
        options(schedule="constant", momentum=0.0, nesterov=False, weight_decay=0.0, clip_norm=0.5),
        10,
        10,
    )
    start, gradient = {"networks_0_to_1": stacked()}, {"networks_0_to_1": stacked(1)}
    found = run(transform, start, [gradient])
    moved = jax.tree.map(lambda a, b: (a - b)[0], found, start)
    np.testing.assert_allclose(optax.tree.norm(moved), 0.1 * 0.5, rtol=1e-4)


def test_warm_up_rises_at_every_step_even_where_the_rest_moves_by_epoch():
    found = rates(schedule="cosine", per_epoch=True, warmup_epochs=2.0)
    np.testing.assert_allclose(found[:20], 0.1 * np.arange(20) / 20, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found[20:30], 0.1, rtol=1e-5)
    assert found[30] < found[29]


def test_milestones_at_one_step_multiply():
    found = rates(schedule="step", milestones=(3.0, 3.01), gamma=0.1)
    np.testing.assert_allclose(found[35], 0.001, rtol=1e-5)


@pytest.mark.parametrize("warm", [0, 3])
def test_pycontrasts_cosine_has_a_floor_and_counts_epochs_from_one(warm):
    """The authors': lr_e of e = 1 ... E, and warm-up to its value in the last epoch of warm-up."""
    options = {"warmup_epochs": float(warm), "warmup_from": 0.01}
    found = rates(schedule="pycontrast", learning_rate=0.06, **options)
    low = 0.06 * 0.1**3
    by_epoch = low + (0.06 - low) * (1 + np.cos(np.pi * np.arange(1, 11) / 10)) / 2
    expected = np.repeat(by_epoch, 10)
    if warm:
        rise = np.arange(10 * warm) / (10 * warm)
        expected[: 10 * warm] = 0.01 + (by_epoch[warm - 1] - 0.01) * rise
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found[-1], low, rtol=1e-5)


def test_warm_up_rises_from_where_it_is_told():
    found = rates(schedule="step", milestones=(3.0,), warmup_epochs=2.0, warmup_from=0.01)
    np.testing.assert_allclose(found[:20], 0.01 + 0.09 * np.arange(20) / 20, rtol=1e-5)


def test_adam_is_pytorchs_formula():
    """Decay joins the gradient; moments are corrected for their start at zero."""
    made = options(schedule="constant", name="adam", beta1=0.5, beta2=0.999, learning_rate=1e-3)
    gradients = [stacked(seed) for seed in (1, 2, 3)]
    found = run(optimizer.create(made, 10, 10), stacked(), gradients)["conv"]["kernel"]
    value = np.asarray(stacked()["conv"]["kernel"], np.float64)
    mean, square = np.zeros_like(value), np.zeros_like(value)
    for step, gradient in enumerate(gradients, start=1):
        decayed = np.asarray(gradient["conv"]["kernel"]) + 5e-4 * value
        mean, square = 0.5 * mean + 0.5 * decayed, 0.999 * square + 0.001 * decayed**2
        scale = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        value = value - 1e-3 * mean / (1 - 0.5**step) / scale
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_some_parameters_have_a_constant_rate(name):
    """The others, and clipping over all, are as without."""
    changes = {"schedule": "cosine", "name": name, "clip_norm": 0.1, "warmup_epochs": 1.0}
    gradients = [stacked(seed) for seed in (1, 2, 3)]
    found = run(
        optimizer.create(options(constant=("^norm",), **changes), 4, 2), stacked(), gradients
    )
    moving = run(optimizer.create(options(**changes), 4, 2), stacked(), gradients)
    changes |= {"schedule": "constant", "warmup_epochs": 0.0}
    constant = run(optimizer.create(options(**changes), 4, 2), stacked(), gradients)
    np.testing.assert_allclose(found["conv"]["kernel"], moving["conv"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(found["norm"]["scale"], constant["norm"]["scale"], rtol=1e-6)
    assert not np.allclose(found["norm"]["scale"], moving["norm"]["scale"])


def test_a_constant_rate_of_no_parameter_is_refused():
    made = optimizer.create(options(constant=("^norm", "predictr")), 4, 2)
    with pytest.raises(ConfigError) as caught:
        made.init(stacked())
    assert str(caught.value) == (
        "optimizer.constant must hold patterns of parameters that there are, got 'predictr', "
        "which matches none."
    )
