import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mcl_jax import regions
from mcl_jax.losses import ScoreBounds, cross_network_logits
from mcl_jax.losses.bounds import within

Array = np.ndarray
RNG = np.random.default_rng(0)
NAN, INF = np.nan, np.inf
B, K = 4, 30  # unlike, so that neither is taken for the other
SMOOTH = RNG.normal(size=(B, K)).astype(np.float32)
TIED = RNG.integers(-2, 2, size=(B, K)).astype(np.float32)
POOL = RNG.random((B, K)) < 0.6


def ranks(outer: float, inner: float, size: int) -> range:
    """The ranks of a ring in a pool, in exact arithmetic of the decimals."""
    count = max(1, int(Fraction(str(outer)) * size)) if size else 0
    return range(max(0, min(int(Fraction(str(inner)) * count), count - 1)), count)


def ring(scores: Any, outer: float, inner: float = 0.0, pool: Any = None) -> Array:
    """Row by row a stretch of the keys, sorted by descending score and place."""
    scores = np.asarray(scores)
    out = np.zeros(scores.shape, bool)
    pool = np.broadcast_to(True if pool is None else pool, scores.shape) & ~np.isnan(scores)
    for row in np.ndindex(scores.shape[:-1]):
        keys = sorted(np.flatnonzero(pool[row]), key=lambda k: (-scores[row][k], k))
        out[row][[keys[rank] for rank in ranks(outer, inner, len(keys))]] = True
    return out


def fast_jit(f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """What is run once need not be fast."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0}, **options)


jitted_ring = fast_jit(regions.ring)
jitted_ball = fast_jit(regions.ball)


@pytest.mark.parametrize("pool", [None, POOL, POOL[0]], ids=["all", "rows", "shared"])
@pytest.mark.parametrize("scores", [SMOOTH, TIED], ids=["smooth", "tied"])
def test_ball_and_ring_are_stretches_of_the_sorted_keys(scores: Array, pool: Any) -> None:
    for outer in (0.01, 0.1, 0.35, 0.5, 1.0):
        expected = ring(scores, outer, pool=pool)
        np.testing.assert_array_equal(jitted_ball(scores, outer, pool=pool), expected)
        for inner in (0.0, 0.1, 0.5, 0.99):
            expected = ring(scores, outer, inner, pool)
            np.testing.assert_array_equal(jitted_ring(scores, outer, inner, pool=pool), expected)


def test_it_is_the_number_of_keys_that_is_divided() -> None:
    scores = RNG.normal(size=(2, 3, 5, 200)).astype(np.float32)
    np.testing.assert_array_equal(jitted_ball(scores, 0.1).sum(axis=-1), 20)
    np.testing.assert_array_equal(jitted_ring(scores, 0.1, 0.1).sum(axis=-1), 18)


def test_jit_and_vmap_change_nothing() -> None:
    plain = regions.ring(TIED, 0.4, 0.25, pool=POOL)
    np.testing.assert_array_equal(plain, ring(TIED, 0.4, 0.25, POOL))
    rows = jax.vmap(lambda x, pool: regions.ring(x, 0.4, 0.25, pool=pool))(TIED, POOL)
    np.testing.assert_array_equal(rows, plain)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_dtypes(dtype: str) -> None:
    with jax.enable_x64(dtype == "float64"):
        # In float64 the rows differ where float32 would see ties.
        scores = jnp.asarray(1 + SMOOTH.astype(np.float64) * 1e-12 if dtype == "float64" else TIED)
        actual = fast_jit(regions.ring)(scores.astype(dtype), 0.4, 0.25)
        np.testing.assert_array_equal(actual, ring(scores, 0.4, 0.25))


@pytest.mark.parametrize("concrete", [True, False])
def test_products_that_rounding_puts_below_an_integer(concrete: bool) -> None:
    """Every per cent of every pool of up to 120 keys, against exact arithmetic."""
    sizes, percents = np.arange(1, 121), np.arange(1, 101)
    pools = np.arange(120) < sizes[:, None]
    scores = np.zeros((120, 120), np.float32)
    expected = np.maximum(1, percents[:, None] * sizes // 100)

    def count(outer: Any) -> Any:
        return jnp.sum(regions.ball(scores, outer, pool=pools), axis=-1)

    if concrete:
        some = [7, 29, 58, 64, 70, 100]
        for p in some:
            np.testing.assert_array_equal(
                fast_jit(count, static_argnums=0)(p / 100), expected[p - 1]
            )
    else:
        counts = fast_jit(lambda outers: jax.lax.map(count, outers))(percents / 100)
        np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("size", [65536, 1_281_167])
def test_fractions_of_large_pools(size: int) -> None:
    scores = np.zeros((1, size), np.float32)
    for outer in (0.1, 0.3, 0.64, 1.0):
        inside = jitted_ring(scores, outer, 0.1)[0]  # traced in float32
        expected = ranks(outer, 0.1, size)
        np.testing.assert_array_equal(np.flatnonzero(inside), expected)  # all tie


def test_annealed_fractions_compile_once() -> None:
    traces = []

    @jax.jit
    def anneal(outer: Any, inner: Any) -> Any:
        traces.append(outer)
        return regions.ring(SMOOTH, outer, inner), regions.score_bounds(
            jnp.ones((1, 2, 3)), jnp.ones((1, 4, 3)), outer, inner
        )

    for outer, inner in ((1.0, 0.0), (0.5, 0.1), (0.1, 0.9)):
        np.testing.assert_array_equal(anneal(outer, inner)[0], ring(SMOOTH, outer, inner))
    assert len(traces) == 1


def test_odd_scores() -> None:
    scores = np.array([[NAN, 0.0, -0.0, 0.0, INF, -INF, -NAN, 1e-45, -3e38]], np.float32)
    scores[0, 7] = 1e-30
    order = [4, 7, 1, 2, 3, 8, 5]
    for count in range(1, 8):
        inside = jitted_ball(scores, count / 7)[0]
        assert set(np.flatnonzero(inside)) == set(order[:count])
    assert not jitted_ball(np.full((2, 3), NAN), 1.0).any()


def test_order_of_the_keys_only_matters_to_ties() -> None:
    shuffle = RNG.permutation(K)
    whole = jitted_ring(SMOOTH, 0.5, 0.25, pool=POOL)
    moved = jitted_ring(SMOOTH[:, shuffle], 0.5, 0.25, pool=POOL[:, shuffle])
    np.testing.assert_array_equal(moved, whole[:, shuffle])


def test_ring_is_a_ball_without_a_ball() -> None:
    outer, inner = jitted_ball(TIED, 0.5), jitted_ball(TIED, 0.2)
    np.testing.assert_array_equal(jitted_ring(TIED, 0.5, 0.4), outer & ~inner)


def test_cave_is_a_ball_without_neighbours() -> None:
    neighbours = RNG.random((B, K)) < 0.3
    expected = ring(TIED, 0.5, pool=POOL) & ~neighbours
    for cave in (regions.cave, fast_jit(regions.cave)):
        np.testing.assert_array_equal(cave(TIED, 0.5, neighbours, pool=POOL), expected)
    # Those outside the ball take nothing away, and those inside are not made up for.
    np.testing.assert_array_equal(regions.cave(TIED, 0.5, ~ring(TIED, 0.5)), ring(TIED, 0.5))


def test_views_of_neighbours_join_the_own_key() -> None:
    own = np.eye(B, K, dtype=bool)
    views = regions.neighbour_views(SMOOTH, own, 0.1, pool=~own)
    np.testing.assert_array_equal(views, ring(SMOOTH, 0.1, pool=~own) | own)
    assert views.sum() == B * (1 + 2)


def test_nothing_is_differentiated() -> None:
    def total(x: jax.Array) -> jax.Array:
        bounds = regions.score_bounds(x[None], x[None], 0.5, 0.3)
        return jnp.sum(regions.ring(x, 0.5, 0.3) * 1.0) + sum(jnp.sum(b * 1.0) for b in bounds)

    np.testing.assert_array_equal(jax.grad(total)(SMOOTH), 0)


def test_a_traced_row_without_keys_is_empty() -> None:
    pool = POOL & (np.arange(B) != 2)[:, None]
    for mask in (
        jitted_ring(TIED, 0.4, 0.1, pool=pool),
        fast_jit(regions.cave)(TIED, 0.4, ~pool, pool=pool | True),
    ):
        assert not mask[2].any()
    np.testing.assert_array_equal(
        jitted_ring(TIED, 0.4, 0.1, pool=pool), ring(TIED, 0.4, 0.1, pool)
    )
    assert not fast_jit(regions.cave)(TIED, 0.4, np.ones(K, bool)).any()


# Products of small integers are exact in any order of the sums, and tie often.
M, D = 2, 3
QUERIES = RNG.integers(-2, 3, size=(M, 5, D)).astype(np.float32)
SHARED = RNG.integers(-2, 3, size=(M, 16, D)).astype(np.float32)
OWN = RNG.integers(-2, 3, size=(M, 5, 16, D)).astype(np.float32)
POOLS = {
    "all": None,
    "keys": RNG.random(16) < 0.6,
    "rows": RNG.random((5, 16)) < 0.6,
    "pairs": RNG.random((M, M, 1, 16)) < 0.6,
    "column": np.ones((5, 1), bool),
    "full": RNG.random((M, M, 5, 16)) < 0.6,
}


def in_bounds(bounds: ScoreBounds, queries: Array, keys: Array, pool: Any) -> Array:
    inside = within(cross_network_logits(queries, keys, 1.0), bounds)
    return np.asarray(inside if pool is None else inside & pool)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("keys", [SHARED, OWN], ids=["shared", "own"])
def test_bounds_enclose_the_ring(keys: Array, pool: Any) -> None:
    scores = cross_network_logits(QUERIES, keys, 1.0)
    find = fast_jit(lambda *a: regions.score_bounds(*a, pool=pool, chunk_size=2))
    for outer, inner in ((1.0, 0.0), (0.5, 0.25), (0.2, 0.9), (0.01, 0.0)):
        bounds = find(QUERIES, keys, outer, inner)  # 5 anchors, no multiple of 2
        assert [x.shape for x in bounds] == [(M, M, 5)] * 4
        assert [x.dtype for x in bounds] == [jnp.float32, jnp.int32] * 2
        expected = ring(scores, outer, inner, pool)
        np.testing.assert_array_equal(in_bounds(bounds, QUERIES, keys, pool), expected)


@pytest.mark.parametrize("keys", [SHARED, OWN], ids=["shared", "own"])
def test_bounds_do_not_depend_on_the_chunks(keys: Array) -> None:
    find = fast_jit(regions.score_bounds, static_argnames="chunk_size")
    whole = find(QUERIES, keys, 0.5, 0.25, pool=POOLS["full"])
    for size in (1, 2, 5):
        chunked = find(QUERIES, keys, 0.5, 0.25, pool=POOLS["full"], chunk_size=size)
        jax.tree.map(np.testing.assert_array_equal, chunked, whole)


def test_bounds_are_halfway_to_the_next_score_or_at_a_tie() -> None:
    keys = np.array([[[4.0], [1.0], [2.0], [2.0], [0.5], [2.0]]], np.float32)
    one = np.ones((1, 1, 1), np.float32)
    # The order of the keys is 0, 2, 3, 5, 1, 4.
    for outer, inner, expected in (
        (4 / 6, 1 / 4, (3.0, 2, 1.5, 5)),
        (3 / 6, 2 / 3, (2.0, 3, 2.0, 3)),
        (1.0, 0.0, (INF, 0, -INF, 4)),
        (5 / 6, 4 / 5, (1.5, 1, 0.75, 1)),
    ):
        bounds = fast_jit(regions.score_bounds)(one, keys, outer, inner)
        assert tuple(x.item() for x in bounds) == expected


def test_bounds_between_numbers_with_none_between() -> None:
    near = np.float32([1.0, np.nextafter(np.float32(1), np.float32(2)), INF, -INF])
    bounds = regions.score_bounds(np.ones((1, 1, 1), np.float32), near[None, :, None], 0.5)
    assert within(near[None], ScoreBounds(*(x[0, 0] for x in bounds))).tolist() == [
        [False, True, True, False]
    ]


def test_bounds_hold_where_scores_are_summed_anew() -> None:
    queries, keys = RNG.normal(size=(M, 5, 64)), RNG.normal(size=(M, 40, 64))
    bounds = fast_jit(regions.score_bounds)(queries.astype("f4"), keys.astype("f4"), 0.5, 0.2)
    exact = np.einsum("aid,bkd->abik", queries.astype("f4"), keys.astype("f4"), dtype=np.float64)
    np.testing.assert_array_equal(within(exact, bounds), ring(exact, 0.5, 0.2))


def test_bounds_of_bfloat16_are_of_sums_in_float32() -> None:
    queries, keys = (x.astype(jnp.bfloat16) for x in (QUERIES + 0.125, SHARED - 0.125))
    bounds = fast_jit(regions.score_bounds)(queries, keys, 0.5, 0.25)
    assert bounds.upper.dtype == jnp.float32
    expected = ring(cross_network_logits(queries, keys, 1.0), 0.5, 0.25)
    np.testing.assert_array_equal(in_bounds(bounds, queries, keys, None), expected)


def test_a_traced_pool_without_keys_lets_nothing_in() -> None:
    pool = POOLS["rows"] & (np.arange(5) != 3)[:, None]
    bounds = fast_jit(regions.score_bounds)(QUERIES, SHARED, 0.5, pool=pool)
    scores = cross_network_logits(QUERIES, SHARED, 1.0)
    assert not within(scores, bounds)[:, :, 3].any()
    assert not within(
        np.array([[INF, -INF, 0.0]]), ScoreBounds(*(x[0, 0, 3:4] for x in bounds))
    ).any()


def test_few_anchors_are_met_at_a_time() -> None:
    """No array of the program holds more scores than a tile."""
    queries, keys = jnp.ones((2, 64, 4)), jnp.ones((2, 50, 4))

    def largest(**options: Any) -> int:
        find = lambda q, k: regions.score_bounds(q, k, 0.5, 0.1, **options)  # noqa: E731
        text = str(jax.make_jaxpr(find)(queries, keys))
        shapes = re.findall(r"[a-z]+\d*\[([\d,]+)\]", text)
        return max(int(np.prod([int(x) for x in shape.split(",")])) for shape in shapes)

    assert largest() == 2 * 2 * 64 * 50
    assert largest(chunk_size=3) == 2 * 2 * 3 * 50


def sharded(devices: int, check: bool | None) -> Callable[..., Any]:
    """The bounds with keys split over devices: by `shard_map`, or by `pmap` where check is None."""

    def find(queries: Any, keys: Any, pool: Any) -> Any:
        return regions.score_bounds(queries, keys, 0.5, 0.25, pool=pool, keys_axis_name="keys")

    if check is None:
        mapped = jax.pmap(find, "keys", in_axes=(None, 0, 0), devices=jax.devices()[:devices])

        def run(queries: Array, keys: Array, pool: Array) -> Any:
            parts = (np.stack(np.split(x, devices, axis=1)) for x in (keys, pool))
            found = mapped(queries, *parts)
            for x in found:
                np.testing.assert_array_equal(x, np.broadcast_to(x[0], x.shape))
            return jax.tree.map(lambda x: x[0], found)

        return run
    mesh = jax.make_mesh(
        (devices,), ("keys",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )
    specs = (P(), P(None, "keys"), P(None, "keys"))
    mapped = jax.shard_map(find, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=check)
    return fast_jit(mapped)


@pytest.mark.parametrize(
    ("devices", "check"),
    [(1, True), (2, False), (2, True), (4, True), (8, False), (8, True), (1, None), (8, None)],
)
def test_bounds_of_keys_on_many_devices(devices: int, check: bool | None) -> None:
    pool = POOLS["rows"]
    expected = fast_jit(regions.score_bounds)(QUERIES, SHARED, 0.5, 0.25, pool=pool)
    actual = sharded(devices, check)(QUERIES, SHARED, pool)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("check", [True, False])
def test_bounds_of_anchors_and_keys_on_devices_of_their_own(check: bool) -> None:
    auto = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.make_mesh((2, 4), ("data", "keys"), auto)
    queries = QUERIES[:, :4]

    def find(queries: Any, keys: Any) -> Any:
        return regions.score_bounds(queries, keys, 0.5, 0.25, keys_axis_name="keys")

    mapped = jax.shard_map(
        find,
        mesh=mesh,
        in_specs=(P(None, "data"), P(None, "keys")),
        out_specs=P(None, None, "data"),
        check_vma=check,
    )
    expected = fast_jit(regions.score_bounds)(queries, SHARED, 0.5, 0.25)
    jax.tree.map(np.testing.assert_array_equal, fast_jit(mapped)(queries, SHARED), expected)


X = jnp.zeros((2, 3))
NONE = jnp.zeros((2, 3), bool)
ONE = jnp.zeros((1, 2, 3))
HALF = jnp.array([[True, False, False], [False, False, False]])


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda: regions.ball(X.astype(int), 0.5), TypeError, "scores must have a floating dtype"),
        (lambda: regions.ball(X[:, :0], 0.5), ValueError, "1 key or more, got shape (2, 0)."),
        (lambda: regions.ball(X[0, 0], 0.5), ValueError, "[..., K] of 1 key or more, got shape ()"),
        (lambda: regions.ball(X, 0.0), ValueError, "outer must be in (0, 1], got 0.0."),
        (lambda: regions.ball(X, jnp.array(1.5)), ValueError, "outer must be in (0, 1], got 1.5."),
        (lambda: regions.ball(X, NAN), ValueError, "outer must be in (0, 1], got nan."),
        (
            lambda: regions.ball(X, jnp.ones(2)),
            ValueError,
            "outer must be a scalar, got shape (2,)",
        ),
        (lambda: regions.ring(X, 0.5, 1.0), ValueError, "inner must be in [0, 1), got 1.0."),
        (lambda: regions.ring(X, 0.5, -0.1), ValueError, "inner must be in [0, 1), got -0.1."),
        (lambda: regions.ball(X, 1.0, pool=X), TypeError, "pool must be boolean, got float32."),
        (lambda: regions.ball(X, 1.0, pool=NONE.T), ValueError, "pool must broadcast to (2, 3)"),
        (
            lambda: regions.ring(X, 1.0, 0.1, pool=HALF),
            ValueError,
            "pool must leave a key in every row, got none in row 1.",
        ),
        (
            lambda: regions.ball(X, 1.0, pool=NONE[0]),
            ValueError,
            "pool must leave a key in every row, got none.",
        ),
        (
            lambda: regions.ball(X[None], 1.0, pool=HALF[None]),
            ValueError,
            "pool must leave a key in every row, got none in row [0, 1].",
        ),
        (
            lambda: regions.cave(X, 0.4, ~NONE[0] & jnp.array([[False], [True]])),
            ValueError,
            "neighbours must leave a key of the ball in every row, got none in row 1.",
        ),
        (lambda: regions.cave(X, 0.4, X), TypeError, "neighbours must be boolean, got float32."),
        (
            lambda: regions.neighbour_views(X, NONE, 0.0),
            ValueError,
            "inner must be in (0, 1], got 0.0.",
        ),
        (
            lambda: regions.neighbour_views(X, X, 0.1),
            TypeError,
            "own must be boolean, got float32.",
        ),
        (lambda: regions.score_bounds(X, ONE, 0.5), ValueError, "queries must have axes [M, B, D]"),
        (
            lambda: regions.score_bounds(ONE, ONE[..., :2], 0.5),
            ValueError,
            "keys must be [M, K, D] or [M, B, K, D] for queries [M, B, D] of shape (1, 2, 3), got",
        ),
        (
            lambda: regions.score_bounds(ONE, ONE, 0.5, pool=HALF[:, :2]),
            ValueError,
            "pool must leave a key in every row, got none in row 1.",
        ),
        (
            lambda: regions.score_bounds(ONE, ONE, 0.5, pool=HALF),
            ValueError,
            "pool must broadcast to (1, 1, 2, 2), got shape (2, 3).",
        ),
        (
            lambda: regions.score_bounds(ONE, ONE[:, :0], 0.5),
            ValueError,
            "1 key or more, got shape (1, 1, 0).",
        ),
        (
            lambda: regions.score_bounds(ONE, ONE, 0.5, chunk_size=0),
            ValueError,
            'chunk_size must be "auto" or 1 or more, got 0.',
        ),
        (lambda: regions.score_bounds(ONE, ONE, 0.5, 1.0), ValueError, "inner must be in [0, 1)"),
    ],
)
def test_refuses(f: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        f()
