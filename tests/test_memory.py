import collections
import doctest
import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mcl_jax import memory
from mcl_jax.axes import gather

M, K, D = 2, 5, 3
RNG = np.random.default_rng(0)


def vectors(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize("shape", [(2, 64, 16), (1, 1, 3)])
def test_queue_and_bank_start_as_random_unit_vectors(shape: tuple[int, int, int]) -> None:
    key = jax.random.key(0)
    queue, bank = memory.init_queue(key, *shape), memory.init_bank(key, *shape)
    assert queue.cursor.dtype == jnp.int32
    assert queue.cursor.shape == ()
    assert queue.cursor == 0
    for x in (queue.keys, bank):
        assert x.shape == shape
        assert x.dtype == jnp.float32
        np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1), 1, rtol=1e-6)
        assert len(np.unique(x)) == x.size
    other = memory.init_bank(jax.random.key(1), *shape)
    assert not np.any(other == bank)


def test_vectors_are_uniform_on_the_sphere() -> None:
    bank = np.asarray(memory.init_bank(jax.random.key(0), 1, 20_000, 4)[0], np.float64)
    np.testing.assert_allclose(bank.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(bank.T @ bank / len(bank), np.eye(4) / 4, atol=0.02)
    # A projected cube has heavier corners: the fourth moment of a coordinate tells them apart.
    np.testing.assert_allclose((bank**4).mean(axis=0), 3 / (4 * 6), atol=0.005)


def oldest_first(queue: memory.Queue) -> np.ndarray:
    return np.roll(queue.keys, -int(queue.cursor), axis=1)


@pytest.mark.parametrize(
    "batches",
    [(1, 1, 1, 1, 1, 1), (2, 2, 2, 2), (3, 4, 3), (5, 5), (2, 5, 1), (7, 3), (12, 1), (0, 2)],
)
def test_enqueue_is_a_deque(batches: tuple[int, ...]) -> None:
    start = RNG.normal(size=(M, K, D)).astype(np.float32)
    queue = memory.Queue(start, np.int32(0))
    expected = collections.deque(np.moveaxis(start, 1, 0), maxlen=K)
    push = jax.jit(memory.enqueue)
    for size in batches:
        keys = RNG.normal(size=(M, size, D)).astype(np.float32)
        queue = push(queue, keys)
        expected.extend(np.moveaxis(keys, 1, 0))
        assert 0 <= int(queue.cursor) < K
        np.testing.assert_array_equal(oldest_first(queue), np.stack(expected, axis=1))


def test_the_nearest_key_is_that_of_the_largest_cosine() -> None:
    keys, queries = RNG.normal(size=(M, K, D)), RNG.normal(size=(M, 4, D))
    found = memory.nearest(memory.Queue(jnp.asarray(keys), jnp.int32(0)), jnp.asarray(queries))
    for a in range(M):
        for i in range(4):
            cosines = keys[a] @ queries[a, i] / np.linalg.norm(keys[a], axis=1)
            np.testing.assert_array_equal(found[a, i], np.float32(keys[a, np.argmax(cosines)]))


def test_nothing_learns_through_neighbours() -> None:
    keys, queries = vectors(M, K, D), vectors(M, 4, D)

    def total(keys: jax.Array, queries: jax.Array) -> jax.Array:
        return jnp.sum(memory.nearest(memory.Queue(keys, jnp.int32(0)), queries))

    assert not any(np.any(x) for x in jax.grad(total, (0, 1))(keys, queries))


def test_rows_go_to_the_places_from_the_cursor_on() -> None:
    queue = memory.Queue(jnp.zeros((1, 4, 1)), jnp.int32(3))
    queue = memory.enqueue(queue, jnp.array([[[1.0], [2.0]]]))
    np.testing.assert_array_equal(queue.keys[0, :, 0], [2, 0, 0, 1])
    assert queue.cursor == 1


def test_enqueue_in_place_of_a_donated_queue() -> None:
    queue = memory.init_queue(jax.random.key(0), M, K, D)
    keys = vectors(M, 3, D)
    expected = memory.enqueue(queue, keys)
    pushed = jax.jit(memory.enqueue, donate_argnums=0)(queue, keys)
    assert queue.keys.is_deleted()
    jax.tree.map(np.testing.assert_array_equal, pushed, expected)


def test_a_queue_keeps_its_dtypes_through_a_scan() -> None:
    queue = memory.init_queue(jax.random.key(0), M, K, D)
    batches = vectors(4, M, 3, D).astype(jnp.bfloat16)
    scanned, _ = jax.lax.scan(lambda q, keys: (memory.enqueue(q, keys), None), queue, batches)
    for keys in batches:
        queue = memory.enqueue(queue, keys)
    jax.tree.map(np.testing.assert_array_equal, scanned, queue)


def moved(bank: Any, index: Any, embeddings: Any, momentum: float) -> np.ndarray:
    """Row by row in the order of the batch, every occurrence from the old bank."""
    out = np.array(bank, np.float64)
    for m in range(len(bank)):
        for i, row in enumerate(index):
            x = momentum * np.float64(bank[m, row]) + (1 - momentum) * np.float64(embeddings[m, i])
            out[m, row] = x / np.linalg.norm(x)
    return out


@pytest.mark.parametrize("momentum", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("index", [(4, 0, 7), (3,), (2, 5, 2, 2, 5, 0), (1, 1)])
def test_update_bank_against_loops(index: tuple[int, ...], momentum: float) -> None:
    bank, embeddings = memory.init_bank(jax.random.key(0), M, 8, D), vectors(M, len(index), D)
    updated = jax.jit(memory.update_bank)(bank, jnp.array(index), embeddings, momentum)
    assert updated.dtype == bank.dtype
    np.testing.assert_allclose(updated, moved(bank, index, embeddings, momentum), atol=1e-6)
    others = np.setdiff1d(np.arange(8), index)
    np.testing.assert_array_equal(updated[:, others], bank[:, others])


def test_no_row_of_the_bank_is_written_twice() -> None:
    """Which of two writes wins is left to the backend, so the program itself is looked at."""
    bank, embeddings = memory.init_bank(jax.random.key(0), M, 8, D), vectors(M, 6, D)
    index = jnp.array([2, 5, 2, 2, 5, 0])
    program = jax.make_jaxpr(memory.update_bank)(bank, index, embeddings, 0.5)
    (scatter,) = (eqn for eqn in program.eqns if eqn.primitive.name == "scatter")
    until = program.jaxpr.replace(outvars=[scatter.invars[1]])
    (places,) = jax.core.eval_jaxpr(until, program.consts, bank, index, embeddings, 0.5)
    assert places.shape == (6, 1)
    assert len(np.unique(places)) == 6
    inside = {row: i for i, row in enumerate(places[:, 0].tolist()) if row < 8}
    assert inside == {2: 3, 5: 4, 0: 5}


def test_update_of_a_donated_bank() -> None:
    bank, embeddings = memory.init_bank(jax.random.key(0), M, 8, D), vectors(M, 2, D)
    expected = memory.update_bank(bank, jnp.array([1, 6]), embeddings, 0.5)
    update = jax.jit(memory.update_bank, donate_argnums=0)
    np.testing.assert_allclose(
        update(bank, jnp.array([1, 6]), embeddings, 0.5), expected, atol=1e-7
    )
    assert bank.is_deleted()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_bank_keeps_its_dtype(dtype: Any) -> None:
    bank, embeddings = memory.init_bank(jax.random.key(0), M, 8, D).astype(dtype), vectors(M, 2, D)
    updated = memory.update_bank(bank, jnp.array([1, 6]), embeddings, 0.5)
    assert updated.dtype == dtype
    np.testing.assert_allclose(np.float64(updated), moved(bank, (1, 6), embeddings, 0.5), atol=2e-2)


def test_no_gradient_reaches_embeddings() -> None:
    queue = memory.init_queue(jax.random.key(0), M, K, D)
    bank, embeddings = queue.keys, vectors(M, 2, D)
    for f in (
        lambda x: jnp.sum(memory.enqueue(queue, x).keys ** 3),
        lambda x: jnp.sum(memory.update_bank(bank, jnp.array([1, 3]), x, 0.5) ** 3),
    ):
        np.testing.assert_array_equal(jax.grad(f)(embeddings), 0)


def over_devices(
    f: Callable[..., Any], devices: int, check: bool | None, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
    """Maps over an axis "data" by `shard_map`, or by `pmap` where check is None.

    Specs are given as for `shard_map`; an argument is split along axis 1 or not at all.
    """
    chosen = jax.devices()[:devices]
    if check is not None:
        mesh = jax.make_mesh((devices,), ("data",), (jax.sharding.AxisType.Auto,), devices=chosen)
        return jax.jit(
            jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=check)
        )
    mapped = jax.pmap(
        f, "data", in_axes=tuple(None if s == P() else 0 for s in in_specs), devices=chosen
    )

    def split(x: Any, spec: Any) -> Any:
        return x if spec == P() else np.stack(np.split(np.asarray(x), devices, axis=1))

    def join(x: Any, spec: Any) -> Any:
        if spec == P():
            np.testing.assert_array_equal(x, np.broadcast_to(x[0], x.shape))
            return x[0]
        return np.concatenate(x, axis=1)

    def run(*args: Any) -> Any:
        return jax.tree.map(join, mapped(*map(split, args, in_specs)), out_specs)

    return run


ROWS = P(None, "data")
MAPPINGS = [(1, True), (2, False), (4, True), (8, True), (8, False), (2, None), (8, None)]
on_devices = pytest.mark.parametrize(("devices", "check"), MAPPINGS)


@on_devices
def test_a_queue_on_many_devices_is_that_of_one(devices: int, check: bool | None) -> None:
    """Batches that wrap around, meet in the middle of a part, and are larger than the queue."""
    keys = vectors(M, 16, D)
    batches = [vectors(M, size, D) for size in (8, 8, 24, 8)]
    odd = vectors(M, 3, D)

    def push(axis_name: str | None, keys: jax.Array, odd: jax.Array, *batches: jax.Array) -> Any:
        queue = memory.Queue(keys, jnp.int32(13))
        for batch in batches:
            queue = memory.enqueue(queue, gather(batch, axis_name, axis=1), axis_name=axis_name)
            queue = memory.enqueue(queue, odd, axis_name=axis_name)
        return queue.keys, queue.cursor

    expected = jax.jit(lambda *args: push(None, *args))(keys, odd, *batches)
    split = over_devices(
        lambda *args: push("data", *args), devices, check, (ROWS, P(), *[ROWS] * 4), (ROWS, P())
    )
    jax.tree.map(np.testing.assert_array_equal, split(keys, odd, *batches), expected)
    assert expected[1] == (13 + 48 + 4 * 3) % 16


@on_devices
def test_a_bank_on_many_devices_is_that_of_one(devices: int, check: bool | None) -> None:
    bank, embeddings = memory.init_bank(jax.random.key(0), M, 16, D), vectors(M, 24, D)
    index = jnp.asarray(RNG.integers(0, 16, (1, 24)))
    read = jnp.array([[0, 15, 7], [8, 8, 3]])

    def update(axis_name: str | None, bank: Any, index: Any, embeddings: Any) -> Any:
        index, embeddings = gather(index[0], axis_name), gather(embeddings, axis_name, axis=1)
        for part in (slice(0, 10), slice(10, 24)):
            bank = memory.update_bank(
                bank, index[part], embeddings[:, part], 0.5, axis_name=axis_name
            )
        return bank, memory.read_rows(bank, read, axis_name=axis_name)

    expected = jax.jit(lambda *args: update(None, *args))(bank, index, embeddings)
    split = over_devices(
        lambda *args: update("data", *args), devices, check, (ROWS, ROWS, ROWS), (ROWS, P())
    )
    jax.tree.map(np.testing.assert_array_equal, split(bank, index, embeddings), expected)
    assert len(np.unique(index)) < 24
    np.testing.assert_array_equal(expected[1], expected[0][:, read])


def assert_uniform(drawn: Any, values: Any) -> None:
    """Chi-square of the counts, five deviations wide; nothing else is drawn."""
    counts = collections.Counter(np.ravel(drawn).tolist())
    assert set(counts) <= set(values)
    expected = np.size(drawn) / len(values)
    statistic = sum((counts[value] - expected) ** 2 / expected for value in values)
    freedom = len(values) - 1
    assert abs(statistic - freedom) <= 5 * np.sqrt(2 * freedom)


def test_uniform_draws() -> None:
    key = jax.random.key(1)
    shared = memory.draw_uniform(key, 50, 20_000)
    assert (shared.shape, shared.dtype) == ((20_000,), jnp.int32)
    assert_uniform(shared, range(50))
    own = jnp.array([0, 3, 9])
    sets = memory.draw_uniform(key, 10, (3, 9_000), own=own)
    for i, row in enumerate(own.tolist()):
        assert_uniform(sets[i], sorted(set(range(10)) - {row}))
    # Anchors do not share what they draw.
    assert np.mean(sets[0] == sets[1]) < 0.2
    other = memory.draw_uniform(jax.random.key(2), 50, 20_000)
    assert np.mean(other == shared) < 0.05


ROW_LABELS = np.array([2, 0, 2, 5, 0, 2, 5, 2, 5, 5, -1, 2])


def test_draws_of_other_classes() -> None:
    classes = memory.sort_by_class(ROW_LABELS)
    np.testing.assert_array_equal(ROW_LABELS[classes.rows], np.sort(ROW_LABELS))
    np.testing.assert_array_equal(classes.labels, np.sort(ROW_LABELS))
    labels = jnp.array([2, 0, 5, -1, 3, 9, -7])  # of three classes there is no row
    draw = jax.jit(memory.draw_other_classes, static_argnums=3)
    rows, candidates = draw(jax.random.key(0), labels, classes, 6_000)
    assert rows.dtype == jnp.int32
    assert candidates.shape == rows.shape == (7, 6_000)
    assert candidates.all()
    for i, label in enumerate(labels.tolist()):
        assert_uniform(rows[i], np.flatnonzero(label != ROW_LABELS).tolist())


def test_draws_of_the_same_class() -> None:
    classes, own = memory.sort_by_class(ROW_LABELS), jnp.array([0, 11, 5, 4, 10])
    draw = jax.jit(memory.draw_same_class, static_argnums=4)
    rows, candidates = draw(jax.random.key(0), jnp.asarray(ROW_LABELS)[own], own, classes, 6_000)
    assert rows.dtype == jnp.int32
    assert candidates.all(axis=1).tolist() == [True] * 4 + [False]  # row 10 is alone
    assert not candidates[-1].any()
    for i, row in enumerate(own[:-1].tolist()):
        others = set(np.flatnonzero(ROW_LABELS[row] == ROW_LABELS).tolist()) - {row}
        assert_uniform(rows[i], sorted(others))


def test_shared_draws_come_with_the_keys_of_other_classes() -> None:
    labels = jnp.array([2, 0, 3])
    rows, candidates = memory.draw_other_classes(
        jax.random.key(0), labels, memory.sort_by_class(ROW_LABELS), 6_000, shared=True
    )
    assert_uniform(rows, range(12))
    np.testing.assert_array_equal(candidates, ROW_LABELS[rows] != labels[:, None])


def test_an_anchor_of_the_only_class_has_no_candidate_where_that_is_traced() -> None:
    classes = memory.sort_by_class(np.ones(5, int))
    draw = jax.jit(memory.draw_other_classes, static_argnums=3)
    rows, candidates = draw(jax.random.key(0), jnp.array([1, 0]), classes, 4)
    assert rows.min() >= 0
    assert rows.max() < 5
    assert candidates.tolist() == [[False] * 4, [True] * 4]


@pytest.mark.parametrize("check", [True, False])
def test_each_device_draws_for_its_own_anchors(check: bool) -> None:
    classes = memory.sort_by_class(ROW_LABELS)
    labels = jnp.asarray(ROW_LABELS[None, :8])

    def draw(axis: Any, labels: jax.Array) -> Any:
        key = jax.random.fold_in(jax.random.key(0), axis)
        drawn = memory.draw_other_classes(key, labels[0], classes, 50)
        return drawn.rows[None], drawn.candidates[None]

    split = over_devices(
        lambda x: draw(jax.lax.axis_index("data"), x), 4, check, (ROWS,), (ROWS, ROWS)
    )
    rows, candidates = split(labels)
    expected = [draw(i, labels[:, 2 * i : 2 * i + 2]) for i in range(4)]
    np.testing.assert_array_equal(rows, np.concatenate([x[0] for x in expected], axis=1))
    assert candidates.all()


KEY = jax.random.key(0)
QUEUE = memory.Queue(jnp.ones((M, K, D)), jnp.int32(0))
BANK, INDEX, X = QUEUE.keys, jnp.array([0, 1]), jnp.ones((M, 2, D))
CLASSES = memory.RowsByClass(jnp.arange(4), jnp.ones(4, int))
KEYS = "keys must be [M, B, D] with M = 2 and D = 3, got shape "
SHAPES = "index must be [B] and embeddings [M, B, D] with M = 2 and D = 3, got shapes "


@pytest.mark.parametrize(
    ("f", "args", "error", "message"),
    [
        (memory.init_queue, (KEY, 0, 1, 1), ValueError, "networks must be at least 1, got 0."),
        (memory.init_queue, (KEY, 1, 0, 1), ValueError, "size must be at least 1, got 0."),
        (memory.init_bank, (KEY, 1, -1, 1), ValueError, "rows must be at least 1, got -1."),
        (memory.init_bank, (KEY, 1, 1, 0), ValueError, "dim must be at least 1, got 0."),
        (memory.enqueue, (QUEUE, X[0]), ValueError, KEYS + "(2, 3)."),
        (memory.enqueue, (QUEUE, X[:1]), ValueError, KEYS + "(1, 2, 3)."),
        (memory.enqueue, (QUEUE, X[..., :2]), ValueError, KEYS + "(2, 2, 2)."),
        (
            memory.enqueue,
            (QUEUE, X.astype(int)),
            TypeError,
            "keys must have a floating dtype, got int32.",
        ),
        (
            memory.update_bank,
            (BANK[0], INDEX, X, 0.5),
            ValueError,
            "bank must have axes [M, N, D], got shape (5, 3).",
        ),
        (
            memory.update_bank,
            (BANK, INDEX.astype(float), X, 0.5),
            TypeError,
            "index must be integer, got float32.",
        ),
        (
            memory.update_bank,
            (BANK, INDEX, X.astype(int), 0.5),
            TypeError,
            "embeddings must have a floating dtype, got int32.",
        ),
        (memory.update_bank, (BANK, INDEX[:1], X, 0.5), ValueError, SHAPES + "(1,) and (2, 2, 3)."),
        (
            memory.update_bank,
            (BANK, INDEX[None], X[:, None], 0.5),
            ValueError,
            SHAPES + "(1, 2) and (2, 1, 2, 3).",
        ),
        (
            memory.update_bank,
            (BANK, INDEX, X, 1.5),
            ValueError,
            "momentum must be a scalar from 0 to 1, got 1.5.",
        ),
        (
            memory.read_rows,
            (BANK[0], INDEX),
            ValueError,
            "bank must have axes [M, N, D], got shape (5, 3).",
        ),
        (memory.read_rows, (BANK, X), TypeError, "index must be integer, got float32."),
        (memory.draw_uniform, (KEY, 0, 3), ValueError, "rows must be at least 1, got 0."),
        (
            functools.partial(memory.draw_uniform, own=INDEX),
            (KEY, 1, (2, 3)),
            ValueError,
            "rows must be at least 2 for one's own to be left out, got 1.",
        ),
        (
            functools.partial(memory.draw_uniform, own=INDEX),
            (KEY, 5, 3),
            ValueError,
            "shape must be (B, K) for own [B] of shape (2,), got (3,).",
        ),
        (
            functools.partial(memory.draw_uniform, own=INDEX),
            (KEY, 5, (3, 3)),
            ValueError,
            "shape must be (B, K) for own [B] of shape (2,), got (3, 3).",
        ),
        (
            functools.partial(memory.draw_uniform, own=INDEX * 1.0),
            (KEY, 5, (2, 3)),
            TypeError,
            "own must be integer, got float32.",
        ),
        (memory.sort_by_class, (X,), TypeError, "row_labels must be integer, got float32."),
        (
            memory.sort_by_class,
            (INDEX[None],),
            ValueError,
            "row_labels must have axes [N], got shape (1, 2).",
        ),
        (memory.sort_by_class, (INDEX[:0],), ValueError, "N must be at least 1, got 0."),
        (
            memory.draw_other_classes,
            (KEY, X, CLASSES, 3),
            TypeError,
            "labels must be integer, got float32.",
        ),
        (
            memory.draw_other_classes,
            (KEY, INDEX[None], CLASSES, 3),
            ValueError,
            "labels must have axes [B], got shape (1, 2).",
        ),
        (
            memory.draw_other_classes,
            (KEY, INDEX, CLASSES, 0),
            ValueError,
            "number must be at least 1, got 0.",
        ),
        (
            memory.draw_other_classes,
            (KEY, INDEX, CLASSES, 3),
            ValueError,
            "classes must have a row of another class than every anchor's, got 4 rows of class 1 "
            "alone, that of anchor 1.",
        ),
        (
            memory.nearest,
            (memory.init_queue(jax.random.key(0), 2, 3, 4), jnp.zeros((2, 1, 5))),
            ValueError,
            "queries must be [M, B, D] with M = 2 and D = 4, got shape (2, 1, 5).",
        ),
        (
            memory.draw_same_class,
            (KEY, INDEX, X[0, 0], CLASSES, 1),
            TypeError,
            "own must be integer, got float32.",
        ),
        (
            memory.draw_same_class,
            (KEY, INDEX, INDEX[:1], CLASSES, 1),
            ValueError,
            "own must be of shape (2,), that of labels, got (1,).",
        ),
    ],
)
def test_refuses(f: Any, args: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        f(*args)


def test_examples() -> None:
    results = doctest.testmod(memory)
    assert results.attempted > 0
    assert results.failed == 0
