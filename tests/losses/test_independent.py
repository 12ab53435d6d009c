"""Every objective against float64 NumPy written from the papers' equations (independent.py)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import independent
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import losses, memory, mutual_information, regions
from mcl_jax.losses.bounds import within

Array = np.ndarray

FAST_TO_COMPILE = {"xla_backend_optimization_level": 0}
GOLDEN = Path(__file__).parent.parent / "golden" / "mcl_reference.npz"
NETWORKS, BATCH, KEYS, DIM = 3, 7, 11, 5
NUMERATORS = ("mean_log", "log_sum")


def run(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function under jit in float64, as NumPy arrays."""
    with jax.enable_x64(True):
        compiled = jax.jit(function, compiler_options=FAST_TO_COMPILE)
        return jax.tree.map(np.asarray, compiled(*arguments))


def check(actual: Any, expected: Any, relative: float = 1e-9) -> None:
    """Same shape and float64, within the relative tolerance; masks and integers are equal."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=1e-12)


def check_all(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Two dictionaries, entry by entry, naming the one that differs."""
    assert actual.keys() == expected.keys()
    for name in expected:
        try:
            check(actual[name], expected[name])
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def check_gradient(actual: Array, function: Callable[[Array], float], x: Array) -> None:
    """A gradient against central differences of the NumPy, to 1e-6 of its largest entry."""
    expected = independent.gradient(function, x)
    assert actual.shape == expected.shape
    assert np.max(np.abs(expected)) > 1e-3
    assert np.max(np.abs(actual - expected)) <= 1e-6 * np.max(np.abs(expected))


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def unit(seed: int, *shape: int) -> Array:
    return independent.l2_normalize(normal(seed, *shape))


def coin(seed: int, *shape: int, chance: float = 0.5) -> Array:
    return np.random.default_rng(seed).random(shape) < chance


def problem(seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Logits, positives (some anchors without any), candidates (never none) and pair weights."""
    logits = 4.0 * normal(seed, NETWORKS, NETWORKS, BATCH, KEYS)
    positives = coin(seed + 1, *logits.shape, chance=0.3)
    positives[0, 0, 2] = positives[0, 1, 3] = positives[2, 1] = positives[1, 1] = False
    candidates = coin(seed + 2, *logits.shape, chance=0.6)
    candidates[..., -1] = True
    return logits, positives, candidates, np.abs(normal(seed + 3, NETWORKS, NETWORKS))


def supervised(labels: Array) -> tuple[Array, Array]:
    """Same class and not oneself; everyone but oneself."""
    others = ~np.eye(len(labels), dtype=bool)
    return (labels[:, None] == labels) & others, others


# --- the NumPy itself ---


def golden(setting: str) -> dict[str, Array]:
    with np.load(GOLDEN) as stored:
        return {
            name.split("/")[1]: stored[name] for name in stored.files if name.startswith(setting)
        }


def test_the_numpy_reproduces_the_authors_numbers_in_the_batch() -> None:
    stored = golden("inbatch_a")
    positives, others = supervised(stored["labels"])
    terms = independent.mcl_terms(
        stored["z"],
        stored["z"],
        positives,
        others,
        temperature=stored["tau"],
        soft_temperature=float(stored["T"]),
    )
    check_all(terms._asdict(), {name: stored[name] for name in terms._fields})


def test_the_numpy_reproduces_the_authors_numbers_with_a_bank() -> None:
    stored = golden("bank_a")
    index = np.concatenate([stored["pos"], stored["neg"]], axis=1)
    own = np.arange(index.shape[1]) == 0
    same_network = np.eye(2, dtype=bool)[:, :, None, None]
    candidates = ~(same_network & own)
    positives = candidates & (np.arange(index.shape[1]) < stored["pos"].shape[1])
    terms = independent.mcl_terms(
        stored["z"],
        stored["bank0"][:, index],
        np.broadcast_to(positives, (2, 2, *index.shape)),
        np.broadcast_to(candidates, (2, 2, *index.shape)),
        soft_candidates=np.broadcast_to(candidates, (2, 2, *index.shape)),
        temperature=float(stored["tau"]),
        soft_temperature=float(stored["T"]),
    )
    check_all(terms._asdict(), {name: stored[name] for name in terms._fields})
    bank = independent.update_bank(
        stored["bank0"], stored["pos"][:, 0], stored["z"], float(stored["momentum"])
    )
    check(bank, stored["bank1"])


def test_the_numpy_reproduces_the_authors_numbers_with_a_queue() -> None:
    stored = golden("queue_a")
    terms = independent.mcl_terms(
        stored["q"],
        stored["queue0"],
        own_keys=stored["k"],
        temperature=float(stored["tau"]),
        soft_temperature=float(stored["T"]),
    )
    check_all(terms._asdict(), {name: stored[name] for name in terms._fields})
    queue, cursor = independent.enqueue(stored["queue0"], 0, stored["k"])
    check(queue, stored["queue1"])
    assert (stored["ptr"] == cursor).all()


# --- similarity and masks ---


def test_l2_normalize() -> None:
    x = normal(0, 4, DIM)
    x[1] = 0.0
    check(run(losses.l2_normalize, x), independent.l2_normalize(x))
    slopes = run(jax.grad(lambda x: jnp.sum(losses.l2_normalize(x) * normal(1, 4, DIM))), x)
    assert np.isfinite(slopes).all()


def test_cross_network_logits() -> None:
    queries, shared, per_anchor = unit(0, 3, 7, 5), unit(1, 3, 11, 5), unit(2, 3, 7, 11, 5)
    found = run(
        lambda q, s, p: [losses.cross_network_logits(q, k, 0.07) for k in (s, p)],
        queries,
        shared,
        per_anchor,
    )
    check(found[0], independent.cross_network_logits(queries, shared, 0.07))
    check(found[1], independent.cross_network_logits(queries, per_anchor, 0.07))


def test_masks() -> None:
    labels, key_labels = np.array([0, 1, 2, 1]), np.array([1, 1, 0, 3, 2])
    found = run(
        lambda a, b: [
            losses.same_class(a),
            losses.same_class(a, b),
            losses.not_self(a),
            losses.not_self(a, b),
        ],
        labels,
        key_labels,
    )
    check(found[0], np.array([[i == k for k in labels] for i in labels]))
    check(found[1], np.array([[i == k for k in key_labels] for i in labels]))
    check(found[2], np.array([[i != k for k in labels] for i in labels]))
    check(found[3], np.array([[i != k for k in key_labels] for i in labels]))


# --- contrast ---


def test_info_nce() -> None:
    logits, positives, candidates, _ = problem()
    found = run(
        lambda s, p, c: {
            f"{form} {name}": losses.info_nce(s, p, mask, numerator=form)
            for form in NUMERATORS
            for name, mask in (("all", None), ("masked", c))
        },
        logits,
        positives,
        candidates,
    )
    check_all(
        found,
        {
            f"{form} {name}": independent.info_nce(logits, positives, mask, numerator=form)
            for form in NUMERATORS
            for name, mask in (("all", None), ("masked", candidates))
        },
    )
    assert (found["mean_log masked"][~positives.any(axis=-1)] == 0.0).all()


def test_vcl_and_icl() -> None:
    logits, positives, candidates, weights = problem(10)

    def variants(module: Any, s: Any, p: Any, c: Any, w: Any) -> dict[str, Any]:
        return {
            f"{name} {form}": getattr(module, name)(s, p, c, numerator=form, pair_weights=w)
            for name in ("vcl", "icl")
            for form in NUMERATORS
        } | {f"{name} plain": getattr(module, name)(s, p) for name in ("vcl", "icl")}

    found = run(lambda *a: variants(losses, *a), logits, positives, candidates, weights)
    check_all(found, variants(independent, logits, positives, candidates, weights))


def test_soft_vcl_and_soft_icl() -> None:
    logits, _, candidates, weights = problem(20)

    def variants(module: Any, s: Any, c: Any, w: Any) -> dict[str, Any]:
        return {
            f"{name} masked": getattr(module, name)(s, c, soft_temperature=2.0, pair_weights=w)
            for name in ("soft_vcl", "soft_icl")
        } | {f"{name} plain": getattr(module, name)(s) for name in ("soft_vcl", "soft_icl")}

    found = run(lambda *a: variants(losses, *a), logits, candidates, weights)
    check_all(found, variants(independent, logits, candidates, weights))


def test_without_any_positive_the_loss_and_its_gradient_are_zero() -> None:
    logits = problem(30)[0]
    positives = np.zeros(logits.shape, bool)
    for value, slope in run(
        lambda s: [
            jax.value_and_grad(lambda s, f=f: f(s, positives))(s) for f in (losses.vcl, losses.icl)
        ],
        logits,
    ):
        assert value == 0.0
        assert (slope == 0.0).all()


# --- the four terms ---


def check_terms(*arrays: Array, **masks: Any) -> None:
    """losses.mcl_terms against the NumPy, whole and with the keys a few at a time."""
    options = {"temperature": 0.2, "soft_temperature": 2.5}
    static = {name: value for name, value in masks.items() if isinstance(value, str)}
    traced = {name: value for name, value in masks.items() if not isinstance(value, str)}
    found = run(
        lambda a, t: [
            losses.mcl_terms(*a, **t, **static, **options, chunk_size=size)._asdict()
            for size in (None, 4)
        ],
        arrays,
        traced,
    )
    expected = independent.mcl_terms(*arrays, **masks, **options)._asdict()
    check_all(found[0], expected)
    check_all(found[1], expected)


def test_terms_supervised_in_the_batch() -> None:
    z = unit(0, NETWORKS, BATCH, DIM)
    positives, others = supervised(np.array([0, 1, 0, 2, 1, 0, 3]))
    check_terms(z, z, positives, others, pair_weights=np.abs(normal(1, NETWORKS, NETWORKS)))


def test_terms_in_the_form_of_a_queue() -> None:
    q, k, queue = (
        unit(seed, NETWORKS, rows, DIM) for seed, rows in ((0, BATCH), (1, BATCH), (2, KEYS))
    )
    check_terms(q, queue, own_keys=k)
    shape = (NETWORKS, NETWORKS, BATCH, KEYS)
    masks = [coin(seed, *shape) for seed in (3, 4, 5)]
    check_terms(
        q, queue, masks[0], masks[1], soft_candidates=masks[2], own_keys=k, numerator="log_sum"
    )


def test_terms_with_a_bank_and_keys_of_every_anchor() -> None:
    q, bank = unit(0, NETWORKS, BATCH, DIM), unit(1, NETWORKS, 30, DIM)
    index = np.random.default_rng(2).integers(0, 30, (BATCH, KEYS))
    candidates = ~(np.eye(NETWORKS, dtype=bool)[:, :, None, None] & (np.arange(KEYS) == 0))
    positives = np.broadcast_to(
        candidates & (np.arange(KEYS) < 3), (NETWORKS, NETWORKS, BATCH, KEYS)
    )
    check_terms(q, bank[:, index], positives, candidates, soft_candidates=candidates)


def test_terms_of_one_network() -> None:
    z = unit(0, 1, BATCH, DIM)
    positives, others = supervised(np.array([0, 1, 0, 2, 1, 0, 3]))
    check_terms(z, z, positives, others)


# --- class logits ---


def test_logit_distillation() -> None:
    logits = 3.0 * normal(0, NETWORKS, BATCH, 4)
    found = run(
        lambda s: [
            losses.logit_distillation(s, soft_temperature=2.0, students=who)
            for who in ("all", "last")
        ],
        logits,
    )
    check(found[0], independent.logit_distillation(logits, soft_temperature=2.0))
    check(found[1], independent.logit_distillation(logits, soft_temperature=2.0, students="last"))
    slope = run(jax.grad(losses.logit_distillation), logits)
    check_gradient(slope, lambda s: independent.logit_distillation(s, teachers=logits), logits)


def test_deep_mutual() -> None:
    logits = 3.0 * normal(0, NETWORKS, BATCH, 4)
    check(run(losses.deep_mutual, logits), independent.deep_mutual(logits))
    value, slope = run(
        jax.value_and_grad(lambda s: losses.deep_mutual(s, soft_temperature=2.0)), logits
    )
    check(value, independent.deep_mutual(logits, soft_temperature=2.0))
    check_gradient(
        slope, lambda s: independent.deep_mutual(s, soft_temperature=2.0, teachers=logits), logits
    )


# --- other objectives ---


@pytest.mark.parametrize("views", [1, 2])
def test_supcon(views: int) -> None:
    z, labels = unit(0, views, 6, DIM), np.array([0, 1, 0, 2, 1, 0])
    found = run(
        lambda z, y: {
            form: losses.supcon(z, y, temperature=0.2, form=form) for form in ("out", "in")
        },
        z,
        labels,
    )
    check_all(
        found,
        {form: independent.supcon(z, labels, temperature=0.2, form=form) for form in ("out", "in")},
    )


def test_nt_xent() -> None:
    first, second = unit(0, 6, DIM), unit(1, 6, DIM)
    found = run(lambda a, b: losses.nt_xent(a, b, temperature=0.2), first, second)
    check(found, independent.nt_xent(first, second, temperature=0.2))


def test_instance_discrimination() -> None:
    queries, bank, index = unit(0, BATCH, DIM), unit(1, 20, DIM), np.array([4, 19, 0, 4, 7, 8, 9])
    found = run(
        lambda q, b, i: losses.instance_discrimination(q, b, i, temperature=0.07),
        queries,
        bank,
        index,
    )
    check(found, independent.instance_discrimination(queries, bank, index, temperature=0.07))


def test_nce() -> None:
    positive, negatives = 3.0 * normal(0, 2, BATCH), 3.0 * normal(1, 2, BATCH, KEYS)

    def both(p: Any, n: Any) -> Any:
        return jax.value_and_grad(lambda p, n: jnp.sum(losses.nce(p, n, 5.0, 500)), argnums=(0, 1))(
            p, n
        )

    check(
        run(lambda p, n: losses.nce(p, n, 5.0, 500), positive, negatives),
        independent.nce(positive, negatives, 5.0, 500),
    )
    value, slopes = run(both, positive, negatives)
    check(value, np.sum(independent.nce(positive, negatives, 5.0, 500)))
    for slope, expected in zip(
        slopes, independent.nce_gradient(positive, negatives, 5.0, 500), strict=True
    ):
        check(slope, expected)


def test_running_partition() -> None:
    batches = [3.0 * normal(seed, BATCH, KEYS) for seed in range(9)]

    def readings(batches: list[Any]) -> dict[str, Any]:
        found = {}
        for momentum in (0.5, 0.75, 0.99):
            start = losses.init_partition()
            partition = start._replace(log_mean=start.log_mean.astype(jnp.float64))
            for number, logits in enumerate(batches, start=1):
                partition = losses.update_partition(partition, logits, momentum=momentum)
                found[f"{momentum} after {number}"] = losses.log_partition(partition, 50_000)
        return found

    expected = {
        f"{momentum} after {number}": independent.running_log_partition(
            batches[:number], 50_000, momentum=momentum
        )
        for momentum in (0.5, 0.75, 0.99)
        for number in range(1, 10)
    }
    check_all(run(readings, batches), expected)


def test_close_neighbours() -> None:
    random = np.random.default_rng(0)
    anchors, keys = random.integers(0, 3, (3, BATCH)), random.integers(0, 3, (3, KEYS))
    found = run(
        lambda a, k: {how: losses.close_neighbours(a, k, how) for how in ("union", "intersection")},
        anchors,
        keys,
    )
    check_all(
        found,
        {
            how: independent.close_neighbours(anchors, keys, how)
            for how in ("union", "intersection")
        },
    )


@pytest.mark.parametrize("combine", ["union", "intersection"])
def test_local_aggregation(combine: str) -> None:
    random = np.random.default_rng(0)
    assignments = random.integers(0, 3, (3, KEYS))
    index = random.permutation(KEYS)[:BATCH]
    own = np.arange(KEYS) == index[:, None]
    logits = 4.0 * normal(1, NETWORKS, BATCH, KEYS)
    close = independent.close_neighbours(assignments[:, index], assignments, combine)
    background = independent.ball(logits, 0.5) | own
    found = run(
        lambda s, a, i: losses.local_aggregation(
            s, losses.close_neighbours(a[:, i], a, combine), regions.ball(s, 0.5) | own
        ),
        logits,
        assignments,
        index,
    )
    check(found, independent.local_aggregation(logits, close, background))


def test_decoupled() -> None:
    logits, positives, candidates, _ = problem(40)
    candidates = candidates | ~positives
    found = run(
        lambda s, p, c: (
            {form: losses.decoupled(s, p, c, numerator=form) for form in NUMERATORS}
            | {"every key": losses.decoupled(s, p)}
        ),
        logits,
        positives,
        candidates,
    )
    expected = {
        form: independent.decoupled(logits, positives, candidates, numerator=form)
        for form in NUMERATORS
    }
    check_all(found, expected | {"every key": independent.decoupled(logits, positives)})


@pytest.mark.parametrize("prior", [0.0, 0.1, 0.6])
def test_debiased(prior: float) -> None:
    """A large prior drives the estimate under e^(-1/t) for some: both branches are held."""
    temperature = 0.5
    similarities, positives, candidates, _ = problem(50)
    logits = np.tanh(similarities / 4.0) / temperature
    single = np.broadcast_to(np.arange(KEYS) == 0, logits.shape)

    def variants(module: Any, s: Any, p: Any, c: Any) -> dict[str, Any]:
        return {
            "several": module.debiased(s, p, c, class_prior=prior, temperature=temperature),
            "every key": module.debiased(s, p, class_prior=prior, temperature=temperature),
            "one positive": module.debiased(s, single, class_prior=prior, temperature=temperature),
        }

    found = run(lambda *a: variants(losses, *a), logits, positives, candidates)
    check_all(found, variants(independent, logits, positives, candidates))


def test_cmc_in_the_batch() -> None:
    z, own = unit(0, 2, BATCH, DIM), np.eye(BATCH, dtype=bool)
    found = run(lambda z: losses.cmc(z, z, own, temperature=0.2), z)
    check(found, independent.cmc(z, z, own, temperature=0.2))
    logits = independent.cross_network_logits(z, z, 0.2)
    check(found, independent.icl(logits, np.broadcast_to(own, logits.shape)))


def test_cmc_with_queues() -> None:
    queries, own, queue = (
        unit(seed, 2, rows, DIM) for seed, rows in ((0, BATCH), (1, BATCH), (2, KEYS))
    )
    positives, candidates = coin(3, BATCH, KEYS), coin(4, BATCH, KEYS)

    def variants(module: Any, q: Any, k: Any, o: Any) -> dict[str, Any]:
        return {
            "own": module.cmc(q, k, own_keys=o, temperature=0.2),
            "masked": module.cmc(
                q, k, positives, candidates, own_keys=o, temperature=0.2, numerator="log_sum"
            ),
        }

    check_all(
        run(lambda *a: variants(losses, *a), queries, queue, own),
        variants(independent, queries, queue, own),
    )


def test_cosine_regression() -> None:
    predictions, targets = normal(0, 2, BATCH, DIM), normal(1, 2, BATCH, DIM)
    found = run(losses.cosine_regression, predictions, targets)
    check(found, independent.cosine_regression(predictions, targets))
    slopes = run(
        jax.grad(lambda p, t: jnp.sum(losses.cosine_regression(p, t)), argnums=(0, 1)),
        predictions,
        targets,
    )
    check_gradient(
        slopes[0], lambda p: float(np.sum(independent.cosine_regression(p, targets))), predictions
    )
    assert (slopes[1] == 0.0).all()


# --- regions ---


def region_scores(kind: str) -> Array:
    """Scores without ties, with many, and all alike."""
    if kind == "distinct":
        return normal(0, 2, BATCH, 20)
    return (
        np.random.default_rng(1)
        .integers(0, 4 if kind == "tied" else 1, (2, BATCH, 20))
        .astype(np.float64)
    )


def region_variants(module: Any, s: Any, pool: Any, outer: Any, inner: Any) -> dict[str, Any]:
    """Every region over the pool and over all keys."""
    neighbours, own = coin(3, *s.shape, chance=0.2), np.eye(*s.shape[-2:], dtype=bool)
    return {
        f"{name} {region}": value
        for name, where in (("all", None), ("pool", pool))
        for region, value in (
            ("ball", module.ball(s, outer, pool=where)),
            ("ring", module.ring(s, outer, inner, pool=where)),
            ("cave", module.cave(s, outer, neighbours, pool=where)),
            ("views", module.neighbour_views(s, own, outer, pool=where)),
        )
    }


FRACTIONS = [(o, i) for o in (0.01, 0.15, 0.35, 0.5, 0.7, 1.0) for i in (0.0, 0.1, 0.29, 0.5, 0.9)]


@pytest.mark.parametrize("kind", ["distinct", "tied", "equal"])
def test_regions(kind: str) -> None:
    """Fractions that are traced, pools of several sizes with an empty one, ties in every place."""
    scores, pool = region_scores(kind), coin(2, BATCH, 20)
    pool[0], pool[1, 1:] = False, False
    outer, inner = np.array(FRACTIONS).T
    found = run(
        lambda s, p, o, i: jax.lax.map(lambda f: region_variants(regions, s, p, *f), (o, i)),
        *(scores, pool, outer, inner),
    )
    for number, fractions in enumerate(FRACTIONS):
        expected = region_variants(independent, scores, pool, *fractions)
        check_all({name: value[number] for name, value in found.items()}, expected)


def test_regions_with_fractions_known_beforehand() -> None:
    scores, pool = region_scores("tied"), coin(2, BATCH, 20)
    pool[1, 1:], pool[1, 0] = False, True
    for fractions in ((0.15, 0.5), (0.7, 0.29), (0.01, 0.9)):
        found = run(lambda s, f=fractions: region_variants(regions, s, pool, *f), scores)
        check_all(found, region_variants(independent, scores, pool, *fractions))


def test_whole_numbers_of_keys_are_not_lost_to_rounding() -> None:
    assert 0.29 * 100 < 29
    scores = normal(0, 100)
    found = run(lambda s: [regions.ball(s, 0.29), regions.ring(s, 1.0, 0.29)], scores)
    assert [mask.sum() for mask in found] == [29, 71]


def test_score_bounds_describe_the_ring() -> None:
    """Inner products of small whole numbers, so that ties are ties to the last bit."""
    random = np.random.default_rng(0)
    queries, keys = (random.integers(-1, 2, (2, n, DIM)).astype(float) for n in (BATCH, 20))
    pool = coin(2, BATCH, 20)
    pool[0] = False
    scores = independent.cross_network_logits(queries, keys, 1.0)
    fractions = ((0.3, 0.0), (0.5, 0.4), (1.0, 0.1), (0.01, 0.9))

    def variants(s: Any, q: Any, k: Any, p: Any) -> dict[str, Any]:
        return {
            f"{f} {name}": within(s, regions.score_bounds(q, k, *f, pool=where), None) & kept
            for f in fractions
            for name, where, kept in (("all", None, True), ("pool", p, p))
        }

    expected = {
        f"{f} {name}": independent.ring(scores, *f, pool=where)
        for f in fractions
        for name, where in (("all", None), ("pool", pool))
    }
    check_all(run(variants, scores, queries, keys, pool), expected)


def test_vince_with_every_region() -> None:
    """InfoNCE whose candidates are region | positives; neighbour views with both numerators."""
    scores = independent.cross_network_logits(unit(0, 2, BATCH, DIM), unit(1, 2, 20, DIM), 1.0)
    own = np.broadcast_to(np.eye(BATCH, 20, dtype=bool), scores.shape)
    neighbours = coin(2, *scores.shape, chance=0.3)

    def variants(contrast: Any, region: Any, s: Any) -> dict[str, Any]:
        found = {}
        for name, kept in (
            ("ball", region.ball(s, 0.4, pool=~own)),
            ("ring", region.ring(s, 0.6, 0.3)),
            ("cave", region.cave(s, 0.5, neighbours, pool=~own)),
        ):
            found[name] = contrast.info_nce(s / 0.1, own, kept | own)
            close = region.neighbour_views(s, own, 0.2)
            for form in NUMERATORS:
                found[f"{name} neighbour views {form}"] = contrast.info_nce(
                    s / 0.1, close, kept | close, numerator=form
                )
        found["ring in icl"] = contrast.icl(s / 0.1, own, region.ring(s, 0.6, 0.3) | own)
        return found

    check_all(
        run(lambda s: variants(losses, regions, s), scores),
        variants(independent, independent, scores),
    )


def test_terms_with_a_region() -> None:
    """A candidate that is no positive stays only within the region."""
    q, own, queue = (unit(seed, 2, rows, DIM) for seed, rows in ((0, BATCH), (1, BATCH), (2, 20)))
    positives, candidates, soft = (coin(seed, 2, 2, BATCH, 20, chance=0.5) for seed in (3, 4, 5))
    positives, scores = (
        positives & coin(6, 2, 2, BATCH, 20, chance=0.3),
        independent.cross_network_logits(q, queue, 1.0),
    )
    ring, ball = independent.ring(scores, 0.6, 0.3), independent.ball(scores, 0.3)
    options = {"own_keys": own, "temperature": 0.2}
    found = run(
        lambda q, k: [
            losses.mcl_terms(
                q,
                k,
                positives,
                candidates,
                soft_candidates=soft,
                region=regions.score_bounds(q, k, 0.6, 0.3),
                soft_region=regions.score_bounds(q, k, 0.3),
                chunk_size=size,
                **options,
            )._asdict()
            for size in (None, 6)
        ],
        q,
        queue,
    )
    expected = independent.mcl_terms(
        q,
        queue,
        positives,
        candidates & (ring | positives),
        soft_candidates=soft & (ball | positives),
        **options,
    )
    check_all(found[0], expected._asdict())
    check_all(found[1], expected._asdict())


# --- memory ---


def test_update_bank() -> None:
    """Rows 4 and 0 stand several times: the last occurrence moves the bank as it was."""
    bank, embeddings = unit(0, NETWORKS, 9, DIM), unit(1, NETWORKS, BATCH, DIM)
    index = np.array([4, 0, 7, 4, 0, 1, 0])
    found = run(
        lambda b, i, z: [memory.update_bank(b, i, z, m) for m in (0.0, 0.5)],
        bank,
        index,
        embeddings,
    )
    for value, momentum in zip(found, (0.0, 0.5), strict=True):
        check(value, independent.update_bank(bank, index, embeddings, momentum))


@pytest.mark.parametrize("batch", [1, 4, 6, 10, 17])
def test_enqueue(batch: int) -> None:
    """Twice, from a cursor that wraps, batches smaller and larger than the queue and equal."""
    expected, cursor = unit(0, 2, 6, DIM), 5
    first, second = unit(1, 2, batch, DIM), unit(2, 2, batch, DIM)
    queue = memory.Queue(expected, np.asarray(cursor, np.int32))
    found = run(lambda q, a, b: memory.enqueue(memory.enqueue(q, a), b), queue, first, second)
    for keys in (first, second):
        expected, cursor = independent.enqueue(expected, cursor, keys)
    check(found.keys, expected)
    assert int(found.cursor) == cursor


# --- mutual information ---


def test_lower_bound() -> None:
    loss = np.abs(normal(0, BATCH))
    check(run(lambda x: mutual_information.lower_bound(x, 129), loss), np.log(129) - loss)


def test_readings() -> None:
    scores = 2.0 * normal(0, 2, 3, BATCH, BATCH)
    joint, marginal = independent.joint_and_marginal(scores)
    found = run(mutual_information.joint_and_marginal, scores)
    check(found[0], joint)
    check(found[1], marginal)
    names = ("info_nce", "vince", "donsker_varadhan", "nwj")
    found = run(
        lambda j, m: {name: getattr(mutual_information, name)(j, m) for name in names},
        joint,
        marginal,
    )
    reading = independent.info_nce_reading(joint, marginal)
    expected = {"info_nce": reading, "vince": reading}
    expected |= {
        name: getattr(independent, name)(joint, marginal) for name in ("donsker_varadhan", "nwj")
    }
    check_all(found, expected)


def test_pairwise_bounds() -> None:
    queries, keys = unit(0, NETWORKS, BATCH, DIM), unit(1, NETWORKS, BATCH, DIM)
    found = run(
        lambda q, k: mutual_information.pairwise_bounds(q, k, temperature=0.2), queries, keys
    )
    check(found, independent.pairwise_bounds(queries, keys, temperature=0.2))


# --- geometry ---


def test_alignment_and_uniformity() -> None:
    x, y = unit(0, 2, BATCH, DIM), unit(1, 2, BATCH, DIM)

    def variants(module: Any, x: Any, y: Any) -> dict[str, Any]:
        return {
            "alignment": module.alignment(x, y),
            "alignment 1.5": module.alignment(x, y, 1.5),
            "uniformity": module.uniformity(x),
            "uniformity 3": module.uniformity(x, 3.0),
        }

    check_all(run(lambda *a: variants(losses, *a), x, y), variants(independent, x, y))


def test_effective_rank() -> None:
    wide, low = normal(0, 20, DIM), normal(1, 20, 2) @ normal(2, 2, DIM)
    found = run(lambda w, s: [losses.effective_rank(w), losses.effective_rank(s)], wide, low)
    check(found[0], independent.effective_rank(wide))
    check(found[1], independent.effective_rank(low))


def test_linear_cka() -> None:
    x, y = normal(0, 20, DIM) + 1.0, normal(1, 20, 8)
    check(run(losses.linear_cka, x, y), independent.linear_cka(x, y))


# --- gradients ---


@pytest.mark.parametrize("term", ["vcl", "icl", "soft_vcl", "soft_icl"])
def test_gradients_of_the_four_terms_through_embeddings(term: str) -> None:
    """Queries and keys both move; what teaches does not."""
    x = normal(0, NETWORKS, 5, 4)
    positives, others = supervised(np.array([0, 1, 0, 2, 1]))
    positives, others = (
        np.broadcast_to(mask, (NETWORKS, NETWORKS, 5, 5)) for mask in (positives, others)
    )
    hard = term in ("vcl", "icl")

    def logits(module: Any, x: Any) -> Any:
        z = module.l2_normalize(x)
        return module.cross_network_logits(z, z, 0.3)

    def theirs(x: Any) -> Any:
        arguments = (positives, others) if hard else (others,)
        return getattr(losses, term)(logits(losses, x), *arguments)

    teachers = logits(independent, x)

    def ours(x: Array) -> float:
        if hard:
            return getattr(independent, term)(logits(independent, x), positives, others)
        return getattr(independent, term)(logits(independent, x), others, teachers=teachers)

    check_gradient(run(jax.grad(theirs), x), ours, x)


@pytest.mark.parametrize(
    ("numerator", "chunk_size"), [("mean_log", None), ("mean_log", 2), ("log_sum", 2)]
)
def test_gradient_of_the_terms_in_the_form_of_a_queue(
    numerator: str, chunk_size: int | None
) -> None:
    """With respect to queries, own keys and queue, by central differences of a weighted sum."""
    x = unit(0, 2, 3 + 3 + 5, 3)
    masks = [coin(seed, 2, 2, 3, 5) for seed in (1, 2, 3)]
    weights = {"vcl": 0.7, "soft_vcl": 1.1, "icl": 0.9, "soft_icl": 1.3}
    pair_weights = np.abs(normal(4, 2, 2))

    def loss(module: Any, x: Any, **more: Any) -> Any:
        terms = module.mcl_terms(
            x[:, :3],
            x[:, 6:],
            masks[0],
            masks[1],
            own_keys=x[:, 3:6],
            soft_candidates=masks[2],
            temperature=0.3,
            numerator=numerator,
            pair_weights=pair_weights,
            **more,
        )
        return sum(weight * getattr(terms, name) for name, weight in weights.items())

    slope = run(jax.grad(lambda x: loss(losses, x, chunk_size=chunk_size)), x)
    teachers = independent.all_logits(x[:, :3], x[:, 6:], 0.3, x[:, 3:6])
    check_gradient(slope, lambda x: loss(independent, x, teachers=teachers), x)


@pytest.mark.parametrize("form", ["out", "in"])
def test_gradient_of_supcon(form: str) -> None:
    x, labels = normal(0, 2, 5, 4), np.array([0, 1, 0, 2, 1])

    def loss(module: Any, x: Any) -> Any:
        return module.supcon(module.l2_normalize(x), labels, temperature=0.3, form=form)

    check_gradient(run(jax.grad(lambda x: loss(losses, x)), x), lambda x: loss(independent, x), x)


def test_gradient_of_nce() -> None:
    """Through both logits; the partition function is a constant."""
    logits = 2.0 * normal(0, 4, 9)
    slope = run(jax.grad(lambda s: jnp.sum(losses.nce(s[:, 0], s[:, 1:], 4.0, 300))), logits)
    check_gradient(
        slope, lambda s: float(np.sum(independent.nce(s[:, 0], s[:, 1:], 4.0, 300))), logits
    )


@pytest.mark.parametrize("prior", [0.1, 0.6])
def test_gradient_of_debiased(prior: float) -> None:
    similarities, positives, candidates, _ = problem(50)
    logits, positives, candidates = (
        np.tanh(similarities[0] / 4.0) / 0.5,
        positives[0],
        candidates[0],
    )

    def loss(module: Any, s: Any) -> Any:
        return module.debiased(s, positives, candidates, class_prior=prior, temperature=0.5).sum()

    slope = run(jax.grad(lambda s: loss(losses, s)), logits)
    check_gradient(slope, lambda s: float(loss(independent, s)), logits)
