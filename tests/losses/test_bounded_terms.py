"""The terms in bounded memory are those of the whole matrix of logits."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from reference import FAST_TO_COMPILE, assert_close, run, unit
from test_terms import CASES, WEIGHTS, B, D, K, case

from mcl_jax import losses, regions

AXIS = "keys"
M = 2  # networks whose keys are split
Arrays = dict[str, Any]


def total(arrays: Arrays, options: dict[str, Any], **more: Any) -> jax.Array:
    """The weighed terms; a temperature and pair weights may stand among the arrays."""
    terms = losses.mcl_terms(**({**options, **more} | arrays))
    return sum(w * x for w, x in zip(WEIGHTS, terms, strict=True))


def value_and_gradients(arrays: Arrays, options: dict[str, Any], **more: Any) -> Any:
    f = jax.value_and_grad(lambda arrays: total(arrays, options, **more))
    return run(f, arrays)


def differentiable(name: str, networks: int) -> tuple[Arrays, dict[str, Any]]:
    """A case, with everything that has a gradient among the arrays."""
    arrays, options = case(name, networks)
    weights = np.random.default_rng(8).uniform(0.2, 2, (networks, networks))
    temperature = np.asarray(options.pop("temperature"))
    return arrays | {"temperature": temperature, "pair_weights": weights}, options


@pytest.mark.parametrize(
    ("name", "networks", "chunk_size"),
    [(name, 3, 3) for name in CASES] + [("in batch", 1, 2), ("queue", 2, "auto")],
)
def test_chunks_are_the_whole(name: str, networks: int, chunk_size: int | str) -> None:
    """Values, and gradients to queries, keys, own keys, temperature and weights of pairs."""
    arrays, options = differentiable(name, networks)
    options.pop("pair_weights", None)
    expected = value_and_gradients(arrays, options)
    assert_close(value_and_gradients(arrays, options, chunk_size=chunk_size), expected, 1e-12)


@pytest.mark.parametrize("networks", [1, 3])
def test_without_soft_terms(networks: int) -> None:
    arrays, options = case("queue and masks", networks)
    f = functools.partial(losses.mcl_terms, **options)
    expected = run(lambda x: f(**x), arrays)
    for chunk_size in (None, 2):
        terms = run(lambda x, c=chunk_size: f(**x, soft_temperature=None, chunk_size=c), arrays)
        assert_close((terms.vcl, terms.icl), (expected.vcl, expected.icl), 1e-12)
        assert terms.soft_vcl == terms.soft_icl == 0


@pytest.mark.parametrize("name", ["in batch", "queue and masks"])
def test_single_precision_at_a_low_temperature(name: str) -> None:
    """Within 1e-5 of float64, with logits that overflow an exponential."""
    arrays, options = case(name, 2)
    options |= {"temperature": 0.01, "soft_temperature": 1.0}
    expected = value_and_gradients(arrays, options)
    f = jax.value_and_grad(lambda arrays: total(arrays, options, chunk_size=3))
    assert_close(run(f, arrays, dtype="float32"), expected, 1e-5)


@pytest.mark.parametrize("name", ["pair by pair", "queue and everything"])
def test_half_precision_is_computed_in_float32(name: str) -> None:
    arrays, options = case(name, 2)
    narrow = {name: jnp.asarray(x, jnp.bfloat16) for name, x in arrays.items()}
    wide = {name: np.asarray(x, np.float64) for name, x in narrow.items()}
    terms = jax.jit(lambda x: losses.mcl_terms(**x, **options, chunk_size=3))(narrow)
    assert {x.dtype for x in terms} == {jnp.dtype(jnp.float32)}
    assert_close(terms, run(lambda x: losses.mcl_terms(**x, **options), wide), 1e-5)
    gradients = jax.jit(jax.grad(lambda x: total(x, options, chunk_size=3)))(narrow)
    assert {x.dtype for x in gradients.values()} == {jnp.dtype(jnp.bfloat16)}
    assert_close(
        jax.tree.map(lambda x: np.asarray(x, np.float64), gradients),
        run(jax.grad(lambda x: total(x, options)), wide),
        2.0**-8,
    )


def test_equal_networks_teach_each_other_nothing() -> None:
    z = np.broadcast_to(unit(0, B, D), (3, B, D))
    f = functools.partial(losses.mcl_terms, own_keys=z, temperature=0.1, chunk_size=4)
    keys = np.broadcast_to(unit(1, K, D), (3, K, D))
    terms, gradients = run(lambda z: (f(z, keys), jax.jacrev(lambda z: f(z, keys))(z)), z)
    assert terms.soft_vcl == terms.soft_icl == 0
    np.testing.assert_allclose(gradients.soft_vcl, 0, atol=1e-12)
    np.testing.assert_allclose(gradients.soft_icl, 0, atol=1e-12)


def test_jit_is_eager_and_vmap_is_a_loop() -> None:
    queries, keys = unit(0, 3, 2, B, D), unit(1, 3, 2, K, D)
    positives = np.random.default_rng(2).random((3, B, K)) < 0.5

    def f(queries: jax.Array, keys: jax.Array, positives: jax.Array) -> jax.Array:
        arrays = {"queries": queries, "keys": keys, "positives": positives}
        return total(arrays, {"temperature": 0.2}, chunk_size=3)

    g = jax.value_and_grad(f, argnums=(0, 1))
    batched = run(jax.vmap(g), queries, keys, positives)
    for i in range(3):
        expected = run(g, queries[i], keys[i], positives[i])
        assert_close(jax.tree.map(lambda x, i=i: x[i], batched), expected, 1e-12)
    with jax.enable_x64(True), jax.disable_jit():
        eager = f(queries[0], keys[0], positives[0])
    assert_close(eager, batched[0][0], 1e-12)


def variables(jaxpr: Any) -> list[Any]:
    """Every value that a program and its inner programs compute."""
    found = [v for eqn in jaxpr.eqns for v in eqn.outvars if hasattr(v.aval, "size")]
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            inner = getattr(inner, "jaxpr", inner)
            found += variables(inner) if hasattr(inner, "eqns") else []
    return found


@pytest.mark.parametrize("queue", [True, False])
def test_the_logits_are_never_held(queue: bool) -> None:
    """Nothing as large as the logits of all keys is computed, forward or backward."""
    M, anchors, keys, chunk_size = 3, 8, 640, 16

    def f(queries: jax.Array, keys: jax.Array, chunk_size: int | None) -> jax.Array:
        columns = jnp.arange(keys.shape[1])
        mask = {} if queue else {"positives": columns % anchors == jnp.arange(anchors)[:, None]}
        own = {"own_keys": queries} if queue else {}
        arrays = {"queries": queries, "keys": keys, **mask, **own}
        return total(arrays, {"temperature": 0.1}, chunk_size=chunk_size)

    def largest(chunk_size: int | None) -> int:
        args = unit(0, M, anchors, D), unit(1, M, keys, D)
        g = jax.value_and_grad(functools.partial(f, chunk_size=chunk_size), argnums=(0, 1))
        return max(v.aval.size for v in variables(jax.make_jaxpr(g)(*args).jaxpr))

    assert largest(None) >= M * M * anchors * keys
    inputs = max(M * keys * D, anchors * keys)
    assert largest(chunk_size) <= max(inputs, M * M * anchors * max(chunk_size, D))


def test_memory_does_not_grow_with_the_keys() -> None:
    def temporary(keys: int) -> int:
        q, k = (jax.ShapeDtypeStruct((2, x, 32), jnp.float32) for x in (64, keys))
        mask = jax.ShapeDtypeStruct((64, keys), jnp.bool_)
        f = jax.value_and_grad(
            lambda q, k, positives: total(
                {"queries": q, "keys": k, "own_keys": q, "positives": positives},
                {"temperature": 0.1},
                chunk_size=128,
            )
        )
        compiled = jax.jit(f, compiler_options=FAST_TO_COMPILE).lower(q, k, mask).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(8192) == temporary(1024)


def test_chunks_of_keys_for_each_anchor_are_small() -> None:
    """The keys of a chunk are [M, B, chunk, D], more numbers than its logits."""
    q, k = (jax.ShapeDtypeStruct((1, *x, 512), jnp.float32) for x in ((8,), (8, 4096)))
    f = functools.partial(losses.mcl_terms, own_keys=None, temperature=0.1, chunk_size="auto")
    positives = jax.ShapeDtypeStruct((8, 4096), jnp.bool_)
    jaxpr = jax.make_jaxpr(lambda *args: f(*args))(q, k, positives).jaxpr
    chunks = [v.aval.shape for v in variables(jaxpr) if v.aval.shape[-1:] == (512,)]
    assert max(shape[-2] for shape in chunks if len(shape) == 4 and shape != k.shape) < 1024


def test_derivatives_of_derivatives() -> None:
    """In reverse mode they are, of every term, those of the whole matrix."""
    arrays, options = case("queue", 2)

    def hessians(arrays: Arrays, chunk_size: int | None) -> losses.MCLTerms:
        def f(queries: jax.Array) -> losses.MCLTerms:
            moved = arrays | {"queries": queries}
            return losses.mcl_terms(**moved, **options, chunk_size=chunk_size)

        return jax.jacrev(jax.jacrev(f))(arrays["queries"])

    expected = run(lambda x: hessians(x, None), arrays)
    assert_close(run(lambda x: hessians(x, 3), arrays), expected, 1e-12)


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["queries", "keys"])
def test_what_is_not_finite_is_seen(name: str, number: float) -> None:
    arrays, options = case("queue", 2)
    arrays[name] = arrays[name].copy()
    arrays[name][0, 0, 0] = number
    terms = run(lambda x: losses.mcl_terms(**x, **options, chunk_size=3), arrays)
    assert not np.any(np.isfinite(terms))


def test_keys_that_do_not_count_may_be_anything() -> None:
    arrays, options = case("queue", 2)
    mask = np.arange(K) > 0
    options |= {"candidates": mask, "soft_candidates": mask, "chunk_size": 3}
    expected = run(lambda x: losses.mcl_terms(**x, **options), arrays)
    arrays["keys"] = np.where(mask[:, None], arrays["keys"], np.nan)
    assert_close(run(lambda x: losses.mcl_terms(**x, **options), arrays), expected, 1e-12)


@pytest.mark.parametrize("chunk_size", ["auto", 2])
@pytest.mark.parametrize(("anchors", "keys"), [(0, 5), (3, 0)])
def test_without_anchors_or_keys(anchors: int, keys: int, chunk_size: int | str) -> None:
    def f(q: jax.Array, k: jax.Array, chunk_size: int | str | None) -> jax.Array:
        return total(
            {"queries": q, "keys": k, "own_keys": q}, {"temperature": 0.1}, chunk_size=chunk_size
        )

    args = unit(0, 2, anchors, D), unit(1, 2, keys, D)
    g = jax.value_and_grad(f, argnums=(0, 1))
    expected = run(functools.partial(g, chunk_size=None), *args)
    assert_close(run(functools.partial(g, chunk_size=chunk_size), *args)[0], expected[0], 1e-12)


RING = [(0.6, 0.5), (0.3, 0.0), (1.0, 0.2)]


@pytest.mark.parametrize("name", ["in batch", "queue", "keys for each anchor"])
def test_regions_as_bounds_are_regions_as_masks(name: str) -> None:
    """Candidates are the region and the positives, in the hard terms and in the soft ones."""
    arrays, options = case(name, 2)
    positives = np.broadcast_to(
        options.pop("positives", False), (2, 2, B, K if name != "in batch" else B)
    )
    for key in ("candidates", "soft_candidates"):
        options.pop(key, None)
    pool = ~positives

    def whole(arrays: Arrays, outer: Any, inner: Any) -> jax.Array:
        scores = losses.cross_network_logits(arrays["queries"], arrays["keys"], 1.0)
        kept = regions.ring(scores, outer, inner, pool=pool) | positives
        return total(arrays, options, positives=positives, candidates=kept, soft_candidates=kept)

    def bounded(arrays: Arrays, outer: Any, inner: Any, given: bool) -> jax.Array:
        q, k = arrays["queries"], arrays["keys"]
        bounds = regions.score_bounds(q, k, outer, inner, pool=pool, chunk_size=2)
        masks = {"positives": positives} if given or name != "queue" else {}
        if given:
            masks |= {"candidates": pool | positives, "soft_candidates": pool | positives}
        return total(arrays, options, **masks, region=bounds, soft_region=bounds, chunk_size=3)

    # Each is one function, which is compiled once for all rings.
    masked, *narrowed = map(
        jax.value_and_grad,
        (whole, *(functools.partial(bounded, given=given) for given in (True, False))),
    )
    for outer, inner in RING:
        outer, inner = np.float32(outer), np.float32(inner)
        expected = run(masked, arrays, outer, inner)
        for f in narrowed:
            assert_close(run(f, arrays, outer, inner), expected, 1e-12)


def device_total(
    params: jax.Array, keys: jax.Array, masks: dict[str, jax.Array], axis_name: str | None
) -> jax.Array:
    """Anchors split over the devices and gathered; keys, and the masks' columns, stay split."""
    queries = losses.l2_normalize(params)
    own = queries[..., ::-1]
    if axis_name is not None:
        queries, own = (lax.all_gather(x, axis_name, axis=1, tiled=True) for x in (queries, own))
    pool = masks["candidates"]
    bounds = regions.score_bounds(queries, keys, 0.7, 0.3, pool=pool, keys_axis_name=axis_name)
    arrays = {"queries": queries, "own_keys": own, "keys": losses.l2_normalize(keys), **masks}
    options = {"temperature": 0.2, "region": bounds, "keys_axis_name": axis_name}
    mean = total(arrays, options, chunk_size=3)
    sums = total(arrays, options, chunk_size=2, numerator="log_sum", soft_region=bounds)
    return mean + sums


def device_step(
    params: jax.Array, keys: jax.Array, masks: dict[str, jax.Array], axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Value, and gradients of the device's own queries and keys."""
    value, (dparams, dkeys) = jax.value_and_grad(device_total, argnums=(0, 1))(
        params, keys, masks, axis_name
    )
    return value, dparams, dkeys


@functools.cache
def on_one_device() -> Any:
    """Queries, keys and masks, and what one device makes of them."""
    anchors, number = 8, 40
    params, keys = (
        np.random.default_rng(i).normal(size=(M, n, D)).astype(np.float32)
        for i, n in enumerate((anchors, number))
    )
    rng = np.random.default_rng(2)
    masks = {name: rng.random((anchors, number)) < 0.5 for name in ("positives", "candidates")}
    masks["candidates"][:, :8] = False  # on eight devices, one has no candidate at all
    masks["candidates"][:, 8] = True
    masks["soft_candidates"] = rng.random((M, M, anchors, number)) < 0.5
    args = jax.tree.map(jnp.asarray, (params, keys, masks))
    alone = functools.partial(device_step, axis_name=None)
    return args, jax.jit(alone, compiler_options=FAST_TO_COMPILE)(*args)


@pytest.mark.parametrize(
    ("devices", "mapper"),
    [(n, "shard_map") for n in (1, 2, 4, 8)] + [(4, "unchecked"), (8, "pmap")],
)
def test_keys_split_over_devices(devices: int, mapper: str) -> None:
    """Same value, and same gradients of queries and keys, as on one device."""
    args, expected = on_one_device()
    f = functools.partial(device_step, axis_name=AXIS)
    # Without types of mapped axes each device's copy of the loss sends its own gradient.
    scale = 1 if mapper == "shard_map" else devices
    if mapper == "pmap":
        split = [x.reshape(M, devices, -1, D).swapaxes(0, 1) for x in args[:2]]
        columns = {
            name: np.moveaxis(x.reshape(*x.shape[:-1], devices, -1), -2, 0)
            for name, x in args[2].items()
        }
        value, *gradients = jax.pmap(f, axis_name=AXIS, devices=jax.devices()[:devices])(
            *split, columns
        )
        value = value[0]
        gradients = [x.swapaxes(0, 1).reshape(M, -1, D) for x in gradients]
    else:
        rows = P(None, AXIS)
        specs = {
            "positives": rows,
            "candidates": rows,
            "soft_candidates": P(None, None, None, AXIS),
        }
        mapped = jax.shard_map(
            f,
            mesh=Mesh(np.array(jax.devices()[:devices]), (AXIS,)),
            in_specs=(rows, rows, specs),
            out_specs=(P(), rows, rows),
            check_vma=mapper == "shard_map",
        )
        value, *gradients = jax.jit(mapped, compiler_options=FAST_TO_COMPILE)(*args)
    assert_close((value, *(x / scale for x in gradients)), expected, 1e-5)


Q = jnp.ones((2, 4, 3))
BOUNDS = losses.ScoreBounds(*(jnp.zeros((2, 2, 4), d) for d in ("f4", "i4", "f4", "i4")))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"chunk_size": 0},
            ValueError,
            'chunk_size must be None, "auto" or a whole number above 0, got 0.',
        ),
        (
            {"chunk_size": "big"},
            ValueError,
            "chunk_size must be None, \"auto\" or a whole number above 0, got 'big'.",
        ),
        (
            {"keys_axis_name": "cohort"},
            ValueError,
            "keys_axis_name must be an axis that the function is mapped over, got 'cohort'.",
        ),
        (
            {"keys_axis_name": "data", "axis_name": "data"},
            ValueError,
            "axis_name and keys_axis_name must differ, got 'data' and 'data': where anchors and",
        ),
        (
            {"region": jnp.ones((2, 2, 4, 4), bool)},
            TypeError,
            "region must be ScoreBounds, got ",
        ),
        (
            {"soft_region": jax.tree.map(lambda x: x[..., :3], BOUNDS)},
            ValueError,
            "soft_region must broadcast to (2, 2, 4), got shape (2, 2, 3).",
        ),
        (
            {"chunk_size": 2, "candidates": jnp.ones((4, 5), bool)},
            ValueError,
            "candidates must broadcast to (2, 2, 4, 4), got shape (4, 5).",
        ),
        (
            {"chunk_size": 2, "pair_weights": jnp.ones(2)},
            ValueError,
            "pair_weights must have shape (2, 2), got (2,).",
        ),
        (
            {"chunk_size": 2, "soft_temperature": -1.0},
            ValueError,
            "soft_temperature must be above 0, got -1.0.",
        ),
    ],
)
def test_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        losses.mcl_terms(Q, Q, own_keys=Q, temperature=0.1, **options)


def test_the_soft_temperature_has_no_derivative() -> None:
    f = functools.partial(losses.mcl_terms, Q, Q, own_keys=Q, temperature=0.1, chunk_size=2)
    with pytest.raises(ValueError, match="soft_temperature must not be differentiated where chunk"):
        jax.grad(lambda T: f(soft_temperature=T).soft_icl)(3.0)
