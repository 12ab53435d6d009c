"""Readings of mutual information: against loops, by their properties, and where it is known.

For x and y in R^d with a correlation of rho in every dimension, I = -d/2 log(1 - rho^2). The
tolerances there are standard errors of the draws.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from mcl_jax import losses, regions
from mcl_jax import mutual_information as mi

Array = np.ndarray
B, K, D = 6, 5, 8
DTYPES = {"float64": 1e-9, "float32": 1e-5}
READINGS = {
    "info_nce": mi.info_nce,
    "vince": mi.vince,
    "donsker_varadhan": mi.donsker_varadhan,
    "nwj": mi.nwj,
}


def log_sum_exp(x: Array) -> float:
    return float(np.max(x) + np.log(np.sum(np.exp(x - np.max(x)))))


def loop(name: str, joint: Array, marginal: Array) -> float:
    """A reading of one batch, [B] and [B, K], by its equation."""
    if name in ("info_nce", "vince"):
        rows = zip(joint, marginal, strict=True)
        denominators = [log_sum_exp(np.array([t, *u])) - np.log(len(u) + 1) for t, u in rows]
        return float(np.mean(joint - denominators))
    if name == "donsker_varadhan":
        return float(np.mean(joint) - log_sum_exp(marginal.ravel()) + np.log(marginal.size))
    return float(np.mean(joint) - np.mean(np.exp(marginal - 1)))


def run(f: Callable[..., Any], *args: Any, dtype: str = "float64") -> Any:
    """Calls the jitted `f` with arrays of `dtype` and returns NumPy arrays."""
    with jax.enable_x64(dtype == "float64"):
        return jax.tree.map(np.asarray, jax.jit(f)(*(np.asarray(x, dtype) for x in args)))


def draws(*shape: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return 3 * rng.normal(size=shape[:-1]) + 1, 3 * rng.normal(size=shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", READINGS)
def test_readings_are_their_equations(name, dtype):
    joint, marginal = draws(2, 3, B, K)
    found = run(READINGS[name], joint, marginal, dtype=dtype)
    expected = [[loop(name, joint[i, j], marginal[i, j]) for j in range(3)] for i in range(2)]
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=DTYPES[dtype], atol=DTYPES[dtype])


@pytest.mark.parametrize("name", READINGS)
def test_transformations_of_functions(name):
    f = READINGS[name]
    joint, marginal = (jnp.asarray(x, jnp.float32) for x in draws(3, B, K))
    together = f(joint, marginal)
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(joint, marginal), together, rtol=1e-5)
    one_by_one = [f(t, u) for t, u in zip(joint, marginal, strict=True)]
    np.testing.assert_allclose(one_by_one, together, rtol=1e-5)


@pytest.mark.parametrize("name", READINGS)
def test_gradients_are_those_of_the_equations(name):
    (joint, marginal), (joint_step, marginal_step) = draws(B, K), draws(B, K, seed=1)
    gradients = run(jax.grad(READINGS[name], argnums=(0, 1)), joint, marginal)
    slope = np.sum(gradients[0] * joint_step) + np.sum(gradients[1] * marginal_step)
    ends = [loop(name, joint + h * joint_step, marginal + h * marginal_step) for h in (1e-6, -1e-6)]
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_the_order_of_rows_and_of_draws_does_not_matter():
    joint, marginal = draws(B, K)
    rows, columns = np.array([2, 0, 5, 1, 4, 3]), np.array([1, 4, 0, 2, 3])
    for f in READINGS.values():
        moved = run(f, joint[rows], marginal[rows][:, columns])
        assert moved == pytest.approx(run(f, joint, marginal), rel=1e-12)


def test_a_critic_that_says_nothing_reads_nothing():
    joint, marginal = np.full(B, 0.7), np.full((B, K), 0.7)
    for name in ("info_nce", "vince", "donsker_varadhan"):
        assert run(READINGS[name], joint, marginal) == pytest.approx(0, abs=1e-12)
    assert run(mi.nwj, joint, marginal) < 0
    assert run(mi.nwj, joint * 0 + 1, marginal * 0 + 1) == pytest.approx(0, abs=1e-12)


def test_what_may_be_added_to_a_critic():
    joint, marginal = draws(B, K)
    of_x = np.linspace(-5, 5, B)
    shifted = run(mi.info_nce, joint + of_x, marginal + of_x[:, None])
    assert shifted == pytest.approx(run(mi.info_nce, joint, marginal), rel=1e-9)
    shifted = run(mi.donsker_varadhan, joint + 3, marginal + 3)
    assert shifted == pytest.approx(run(mi.donsker_varadhan, joint, marginal), rel=1e-9)


def test_nwj_is_below_donsker_varadhan_and_meets_it_at_the_right_constant():
    joint, marginal = draws(40, B, K)
    upper = run(mi.donsker_varadhan, joint, marginal)
    assert np.all(run(mi.nwj, joint, marginal) <= upper)
    log_mean = np.array([log_sum_exp(u.ravel()) - np.log(u.size) for u in marginal])
    right = (1 - log_mean)[:, None]
    met = run(mi.nwj, joint + right, marginal + right[..., None])
    np.testing.assert_allclose(met, upper, rtol=1e-9)


def test_info_nce_reads_no_more_than_its_number_of_candidates():
    joint, marginal = draws(40, B, K)
    assert np.all(run(mi.info_nce, 10 * joint, 10 * marginal) <= np.log(K + 1))
    assert run(mi.info_nce, np.full(B, 50.0), np.zeros((B, K))) == pytest.approx(np.log(K + 1))


def test_lower_bound_is_the_reading_of_a_loss():
    joint, marginal = draws(B, K)
    logits = np.concatenate([marginal[:, :2], joint[:, None], marginal[:, 2:]], axis=1)
    own = np.arange(K + 1) == 2
    reading = run(lambda x: mi.lower_bound(jnp.mean(losses.info_nce(x, own)), K + 1), logits)
    assert reading == pytest.approx(loop("info_nce", joint, marginal), rel=1e-9)
    of_many = mi.lower_bound(jnp.array([0.0, 1.0]), jnp.asarray(K))
    np.testing.assert_allclose(of_many, np.log(K) - np.array([0, 1]), rtol=1e-6)


def test_joint_and_marginal_part_a_batch():
    scores = np.random.default_rng(0).normal(size=(2, 3, B, B))
    joint, marginal = run(mi.joint_and_marginal, scores)
    for i, j in np.ndindex(2, 3):
        for row in range(B):
            assert joint[i, j, row] == scores[i, j, row, row]
            others = [scores[i, j, row, k] for k in range(B) if k != row]
            np.testing.assert_array_equal(marginal[i, j, row], others)


@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize("temperature", [0.01, 1e-4, 10.0])
def test_values_and_gradients_are_finite(name, temperature):
    # Cosines over a low temperature: exp(1 / 0.01) is no float32.
    cosines = np.array([-1.0, 0.0, 0.5, 1.0])
    joint, marginal = np.repeat(cosines, 4), np.tile(cosines, 4)[:, None].repeat(3, axis=1)
    f = jax.value_and_grad(READINGS[name], argnums=(0, 1))
    for flip in (1, -1):
        found = run(f, joint / temperature, flip * marginal / temperature, dtype="float32")
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", READINGS)
def test_half_precision_is_computed_in_float32(name, dtype):
    joint, marginal = (jnp.asarray(x, dtype) for x in draws(B, K))
    found = READINGS[name](joint, marginal)
    assert found.dtype == jnp.float32
    wide = READINGS[name](joint.astype(jnp.float32), marginal.astype(jnp.float32))
    np.testing.assert_allclose(found, wide, rtol=1e-6)


# Pairs of networks


def unit(*shape: int, seed: int = 0) -> Array:
    x = np.random.default_rng(seed).normal(size=shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def pairwise(queries: Array, keys: Array) -> Any:
    return run(functools.partial(mi.pairwise_bounds, temperature=0.2), queries, keys)


def test_pairwise_bounds_read_every_ordered_pair():
    queries, keys = unit(3, B, 4), unit(3, B, 4, seed=1)
    found = pairwise(queries, keys)
    for a, b in np.ndindex(3, 3):
        scores = queries[a] @ keys[b].T / 0.2
        joint, marginal = run(mi.joint_and_marginal, scores)
        assert found[a, b] == pytest.approx(loop("info_nce", joint, marginal), rel=1e-9)


def test_the_order_of_networks_orders_rows_and_columns():
    queries, keys = unit(3, B, 4), unit(3, B, 4, seed=1)
    order = np.array([2, 0, 1])
    before, after = pairwise(queries, keys), pairwise(queries[order], keys[order])
    np.testing.assert_allclose(after, before[np.ix_(order, order)], rtol=1e-12)


@pytest.mark.parametrize("mapper", ["shard_map", "pmap"])
def test_pairwise_bounds_of_rows_on_many_devices(mapper):
    queries, keys = (jnp.asarray(unit(2, 16, 4, seed=s), jnp.float32) for s in (0, 1))

    def local(queries: jax.Array, keys: jax.Array) -> jax.Array:
        keys = jax.lax.all_gather(keys, "data", axis=1, tiled=True)
        return mi.pairwise_bounds(queries, keys, temperature=0.2, axis_name="data")

    if mapper == "pmap":
        by_device = jax.pmap(local, "data", in_axes=1, out_axes=None)
        found = by_device(*(x.reshape(2, 8, 2, 4) for x in (queries, keys)))
    else:
        mesh = Mesh(np.array(jax.devices()), ("data",))
        rows = P(None, "data")
        mapped = jax.shard_map(local, mesh=mesh, in_specs=(rows, rows), out_specs=P())
        found = jax.jit(mapped)(queries, keys)
    expected = mi.pairwise_bounds(queries, keys, temperature=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_on_the_rows_it_was_fitted_on_a_critic_shows_anything():
    # Embeddings of independent x and y, turned so that the rows seen go together.
    x, y = np.random.default_rng(0).normal(size=(2, 8, 64, 96))
    turned = x @ np.linalg.pinv(x[0]) @ np.linalg.pinv(y[0]).T
    seen, *unseen = (pairwise(6 * turned[i, None], y[i, None])[0, 0] for i in range(8))
    assert seen > np.log(64) - 1e-6
    assert np.max(unseen) < 0


# Gaussians of known mutual information


class Gaussian(NamedTuple):
    """Scores of the best critic, log p(y | x) / p(y): joint [N], marginal [N, K]."""

    information: float
    joint: Array
    marginal: Array


def gaussian(information: float, rows: int, negatives: int, dim: int = D, seed: int = 0):
    rng = np.random.default_rng(seed)
    squared = 1 - np.exp(-2 * information / dim)
    x, noise = rng.normal(size=(2, rows, dim)).astype("float32")
    y = np.sqrt(squared) * x + np.sqrt(1 - squared) * noise
    others = rng.standard_normal((rows, negatives, dim), "float32")

    def critic(x: Array, y: Array) -> Array:
        squares = np.sum((y - np.sqrt(squared) * x) ** 2 / (1 - squared) - y**2, axis=-1)
        return information - squares / 2

    return Gaussian(information, critic(x, y), critic(x[:, None], others))


def row_readings(f: Callable, joint: Array, negatives: Array) -> Array:
    """[N] readings of one row each: independent, so that their spread gives the error."""
    return np.asarray(f(joint[:, None], negatives[:, None]))


def mean_and_error(x: Array) -> tuple[float, float]:
    return float(np.mean(x)), float(np.std(x) / np.sqrt(len(x)))


@pytest.mark.parametrize("information", [1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("negatives", [15, 127])
def test_info_nce_is_below_the_information_and_below_its_maximum(information, negatives):
    found = gaussian(information, 4000, negatives)
    mean, error = mean_and_error(row_readings(mi.info_nce, found.joint, found.marginal))
    assert error < 0.03
    # With f = p(y | x) / p(y) the loss of tightness is at most Var f / 2 K = (e^2I - 1) / 2 K.
    assert mean > information - (np.exp(2 * information) - 1) / (2 * negatives) - 4 * error
    assert mean < information + 4 * error
    assert mean < np.log(negatives + 1)
    if np.exp(information) > negatives / 4:
        assert mean < information - 10 * error


def test_the_gap_of_info_nce_closes_with_its_negatives():
    found = gaussian(2.0, 1500, 256)
    means = [
        mean_and_error(row_readings(mi.info_nce, found.joint, found.marginal[:, :k]))[0]
        for k in (4, 16, 64, 256)
    ]
    assert np.all(np.diff(means) > 0)
    assert means[-1] == pytest.approx(2.0, abs=0.15)


def test_pairwise_bounds_of_gaussian_embeddings():
    # rho / (1 - rho^2) (<x, y> - rho / 2 (|x|^2 + |y|^2)) is an inner product of embeddings.
    rng, information = np.random.default_rng(0), 1.5
    rho = np.sqrt(1 - np.exp(-2 * information / D))
    x, noise = rng.normal(size=(2, 8, 256, D))
    y = rho * x + np.sqrt(1 - rho**2) * noise
    one = np.ones((8, 256, 1))
    square_x, square_y = (-rho / 2 * np.sum(z**2, axis=-1, keepdims=True) for z in (x, y))
    queries = np.concatenate([x, square_x, one], axis=-1)
    keys = np.concatenate([y, one, square_y], axis=-1)
    f = functools.partial(mi.pairwise_bounds, temperature=float((1 - rho**2) / rho))
    batches = run(jax.vmap(f), np.stack([queries, keys], 1), np.stack([queries, keys], 1))
    mean, error = mean_and_error(batches[:, 0, 1])
    assert error < 0.05
    assert abs(mean - information) < 0.05 + 4 * error  # Var f / 2 K = 0.04


def test_donsker_varadhan_of_many_draws_is_the_information_and_of_few_is_more():
    found = gaussian(1.0, 40_000, 3)
    assert mi.donsker_varadhan(found.joint, found.marginal) == pytest.approx(1.0, abs=0.03)
    few = found.joint.reshape(-1, 2), found.marginal[:, :1].reshape(-1, 2, 1)
    mean, error = mean_and_error(np.asarray(mi.donsker_varadhan(*few)))
    assert mean > 1 + 20 * error


def test_nwj_of_few_draws_is_the_information_on_average():
    found = gaussian(0.5, 40_000, 3)
    few = found.joint.reshape(-1, 2), found.marginal.reshape(-1, 2, 3)
    for shift, expected in ((1, 0.5), (0, 0.5 - np.exp(-1))):  # 1 + log p(y|x)/p(y) is the best
        mean, error = mean_and_error(np.asarray(mi.nwj(few[0] + shift, few[1] + shift)))
        assert error < 0.01
        assert mean == pytest.approx(expected, abs=4 * error)
    mean, error = mean_and_error(np.asarray(mi.nwj(few[0] / 2 + 1, few[1] / 2 + 1)))
    assert mean < 0.5 - 10 * error


# Negatives from a region


class Regions(NamedTuple):
    """Draws of K from all keys and from a region, [N, K]; the condition on rings, of each row."""

    all_keys: Array
    ball: Array
    ring: Array
    condition: Array


def draw_regions(pool: Array, draws: int, outer: float, inner: float) -> Regions:
    """Each row's pool [N, P], by rank; a draw of a ball lies at a like place among fewer."""
    rng = np.random.default_rng(0)
    rows, size = pool.shape
    ranked = -np.sort(-pool, axis=1)
    count = int(outer * size)
    dropped = int(inner * count)
    ranks = rng.permuted(np.tile(np.arange(size), (rows, 1)), axis=1)[:, :draws]
    take = functools.partial(np.take_along_axis, ranked, axis=1)
    ring = dropped + rng.permuted(np.tile(np.arange(count - dropped), (rows, 1)), axis=1)
    f = np.exp(ranked)
    condition = f[:, dropped:count].mean(axis=1) >= f.mean(axis=1)
    return Regions(take(ranks), take(ranks * count // size), take(ring[:, :draws]), condition)


@pytest.mark.parametrize("information", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_negatives_from_a_ball_never_raise_a_reading(information, temperature):
    pool = gaussian(information, 1000, 400)
    drawn = draw_regions(pool.marginal / temperature, 40, 0.2, 0.1)
    joint = pool.joint / temperature
    everywhere = row_readings(mi.info_nce, joint, drawn.all_keys)
    ball = row_readings(mi.vince, joint, drawn.ball)
    assert np.all(ball <= everywhere + 1e-5)  # of every row, whatever the critic
    for reading in (everywhere, ball):
        mean, error = mean_and_error(reading)
        assert mean < information + 4 * error
    mean, error = mean_and_error(everywhere - ball)
    assert mean > 10 * error


def test_where_the_condition_holds_a_ring_reads_less_than_all_keys():
    pool = gaussian(0.2, 3000, 400, dim=1)
    drawn = draw_regions(pool.marginal, 40, 0.5, 0.1)
    assert np.mean(drawn.condition) > 0.9
    held = drawn.condition
    everywhere = row_readings(mi.info_nce, pool.joint, drawn.all_keys)
    ring = row_readings(mi.vince, pool.joint, drawn.ring)
    mean, error = mean_and_error((everywhere - ring)[held])
    assert mean > 10 * error
    mean, error = mean_and_error(ring)
    assert mean < 0.2 - 10 * error


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_where_it_fails_a_ring_may_read_more_than_there_is(temperature):
    # A sharp critic: of much information, or of a low temperature.
    information = 3.0 if temperature == 1.0 else 0.5
    pool = gaussian(information, 1000, 1000)
    drawn = draw_regions(pool.marginal / temperature, 80, 0.5, 0.5)
    assert np.mean(drawn.condition) < 0.1
    everywhere = row_readings(mi.info_nce, pool.joint / temperature, drawn.all_keys)
    ring = row_readings(mi.vince, pool.joint / temperature, drawn.ring)
    mean, error = mean_and_error(ring - everywhere)
    assert mean > 10 * error
    if temperature == 1.0:
        mean, error = mean_and_error(ring)
        assert mean > information + 5 * error


def below_in_second_order(p: Array, q: Array) -> bool:
    """Whether the integral of q's distribution function is nowhere above that of p's."""
    points = np.union1d(p, q)
    integral = [np.mean(np.maximum(points[:, None] - x, 0), axis=1) for x in (p, q)]
    return bool(np.all(integral[1] <= integral[0] + 1e-9))


@pytest.mark.parametrize(("outer", "inner"), [(0.3, 0.2), (0.6, 0.4), (0.4, 0.3)])
def test_the_condition_on_rings_is_second_order_dominance_and_decides_for_every_positive(
    outer, inner
):
    # One negative drawn from a finite pool of 50: every key is one, so that means are exact.
    rng, pools = np.random.default_rng(0), 40
    scores = rng.uniform(0.1, 3, (pools, 1)) * rng.normal(size=(pools, 50))
    inside = np.asarray(regions.ring(jnp.asarray(scores, jnp.float32), outer, inner))
    ring = scores[inside].reshape(pools, -1)
    condition = np.mean(np.exp(ring), axis=1) >= np.mean(np.exp(scores), axis=1)
    assert 4 < np.sum(condition) < 36
    pairs = zip(np.exp(scores), np.exp(ring), strict=True)
    np.testing.assert_array_equal([below_in_second_order(p, q) for p, q in pairs], condition)

    positives = np.linspace(-20, 25, 46)

    def mean_readings(f: Callable, keys: Array) -> Array:
        shape = (pools, len(positives), keys.shape[1])
        negatives = np.broadcast_to(keys[:, None], shape)[..., None]
        return run(f, np.broadcast_to(positives[:, None], shape), negatives)

    lower = mean_readings(mi.vince, ring) <= mean_readings(mi.info_nce, scores) + 1e-14
    np.testing.assert_array_equal(np.all(lower, axis=1), condition)


SHAPES = "joint must be [..., B] and marginal [..., B, K], none of them empty, got shapes "


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: mi.lower_bound(jnp.ones(()), 0),
            ValueError,
            "num_candidates must be a scalar of at least 1, got 0.",
        ),
        (
            lambda: mi.lower_bound(jnp.ones(()), float("nan")),
            ValueError,
            "num_candidates must be a scalar of at least 1, got nan.",
        ),
        (
            lambda: mi.lower_bound(jnp.ones(()), jnp.ones(3)),
            ValueError,
            "num_candidates must be a scalar of at least 1, got [1. 1. 1.].",
        ),
        (
            lambda: mi.lower_bound(jnp.ones((), int), 4),
            TypeError,
            "loss must have a floating dtype, got int32.",
        ),
        (
            lambda: mi.joint_and_marginal(jnp.ones((3, 4))),
            ValueError,
            "scores must be [..., B, B] with B at least 2, got shape (3, 4).",
        ),
        (
            lambda: mi.joint_and_marginal(jnp.ones((1, 1))),
            ValueError,
            "scores must be [..., B, B] with B at least 2, got shape (1, 1).",
        ),
        (
            lambda: mi.joint_and_marginal(jnp.ones((2, 2), int)),
            TypeError,
            "scores must have a floating dtype, got int32.",
        ),
        (
            lambda: mi.info_nce(jnp.ones(3), jnp.ones((4, 3))),
            ValueError,
            SHAPES + "(3,) and (4, 3).",
        ),
        (lambda: mi.nwj(jnp.ones(()), jnp.ones(3)), ValueError, SHAPES + "() and (3,)."),
        (
            lambda: mi.donsker_varadhan(jnp.ones(3), jnp.ones((3, 0))),
            ValueError,
            SHAPES + "(3,) and (3, 0).",
        ),
        (
            lambda: mi.vince(jnp.ones(3), jnp.ones((4, 3))),
            ValueError,
            SHAPES.replace("marginal", "conditional") + "(3,) and (4, 3).",
        ),
        (
            lambda: mi.info_nce(jnp.ones(3, int), jnp.ones((3, 3))),
            TypeError,
            "joint must have a floating dtype, got int32.",
        ),
        (
            lambda: mi.vince(jnp.ones(3), jnp.ones((3, 3), int)),
            TypeError,
            "conditional must have a floating dtype, got int32.",
        ),
        (
            lambda: mi.pairwise_bounds(jnp.ones((2, 4, 3)), jnp.ones((2, 5, 3)), temperature=1.0),
            ValueError,
            "keys must have the rows of the queries of all devices, 1 times 4, at least one, "
            "got 5.",
        ),
        (
            lambda: mi.pairwise_bounds(
                jnp.ones((2, 4, 3)), jnp.ones((2, 4, 4, 3)), temperature=1.0
            ),
            ValueError,
            "keys must have axes [M, B, D], got shape (2, 4, 4, 3).",
        ),
        (
            lambda: mi.pairwise_bounds(jnp.ones((2, 4, 3)), jnp.ones((2, 4, 3)), temperature=0.0),
            ValueError,
            "temperature must be above 0, got 0.0.",
        ),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
