"""Instance discrimination: twenty steps in NumPy, any mesh, each region and form, refusals."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))

import bank_equations
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import PartitionSpec as P
from test_equality import relative

from mcl_jax import config as config_lib
from mcl_jax import losses
from mcl_jax.config import ConfigError
from mcl_jax.methods import drawn_rows

STEPS, ROWS, EPOCH = 20, 60, 3
WEIGHTS = {"vcl": 1.0, "soft_vcl": 0.5, "icl": 2.0, "soft_icl": 0.25}


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patch:
        tiny.know_tiny_network(patch)
        yield


def config(**changes):
    """Rows drawn from caves that shrink: banks, clusters, annealing and draws at once."""
    return tiny.config(
        "instance_discrimination",
        model__norm="grouped",
        model__norm_groups=4,
        model__dtype="float64",
        method__negatives=7,
        method__region="cave",
        method__outer=0.3,
        method__annealing="linear",
        method__annealing_epochs=4.0,
        method__clusters=6,
        method__cluster_runs=2,
        **{f"method__weights__{name}": weight for name, weight in WEIGHTS.items()},
        **changes,
    )


def trained(folder=None, steps=STEPS, **changes):
    with jax.enable_x64(True):
        return tiny.trajectory(config(**changes), tiny.dataset(ROWS), steps, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("instance_discrimination")


@pytest.fixture(scope="module")
def one(folder):
    return trained(folder)


def test_twenty_steps_are_those_of_the_equations(one):
    run, states, metrics = one
    bank = np.array(states[0].extras["bank"])[:, :ROWS]
    clusters = np.array(states[0].extras["clusters"])[..., :ROWS]
    assert (clusters == np.arange(ROWS)).all()
    assert bank.dtype == np.float64
    with jax.enable_x64(True):
        embed = bank_equations.embedder(config(), run)
        numbers = jax.jit(lambda key: drawn_rows.numbers(key, jnp.arange(16), 7))
        for step, (before, after, said) in enumerate(
            zip(states, states[1:], metrics, strict=False)
        ):
            queries, index, key = embed(before.params, before.extras["batch_stats"], step)
            queries, index = np.asarray(queries), np.asarray(index)
            outer = float(np.float32(1) + np.float32(0.3 - 1) * np.float32(min(step / 12, 1)))
            terms = bank_equations.discrimination_terms(
                queries,
                bank,
                index,
                0.07,
                kind="cave",
                outer=outer,
                clusters=clusters,
                drawn=np.asarray(numbers(key)),
            )
            terms["loss"] = sum(WEIGHTS[name] * term for name, term in terms.items())
            for name, value in terms.items():
                assert relative(said[name], value) < 1e-9, (step, name)
            assert said["outer"] == pytest.approx(outer, rel=1e-6)
            bank = bank_equations.moved(bank, index, queries, 0.5)
            assert relative(after.extras["bank"][:, :ROWS], bank) < 1e-12
            if (step + 1) % EPOCH == 0:
                # k-means of our own bank: what the run clusters, and when.
                ours = before._replace(step=step + 1, key=jax.random.key(0), extras={"bank": bank})
                clusters = run.method.refresh(ours, None)["clusters"][..., :ROWS]
            assert np.array_equal(after.extras["clusters"][..., :ROWS], clusters)
    assert len(np.unique(clusters[0, 0])) == 6
    assert not np.array_equal(clusters[0, 0], clusters[0, 1])


@pytest.mark.parametrize(
    "changes",
    [
        {"parallel__devices": 4, "parallel__cohort_devices": 2, "training__micro_batches": 2},
        {"parallel__devices": 2, "parallel__mapper": "pmap"},
    ],
    ids=["mesh", "pmap"],
)
def test_any_devices_do_the_same(one, changes):
    _, states, metrics = one
    whole = "parallel__mapper" in changes
    steps = 4 if whole else STEPS
    run, found, said = trained(steps=steps, **changes)
    worst = jax.tree.map(relative, (found[-1], said), (states[steps], metrics[:steps]))
    assert max(jax.tree.leaves(worst)) < 1e-9
    assert ("data" in run.layout.extras["bank"]) != whole


def test_a_run_that_is_killed_ends_where_an_unbroken_one_does(one, folder):
    run, states, metrics = one
    with jax.enable_x64(True):
        found = tiny.resumed(run, folder, STEPS)
    same = jax.tree.map(np.array_equal, found, (states[-1], metrics[STEPS // 2 :]))
    assert all(jax.tree.leaves(same))


def judged(negatives=0, clusters=None, networks=2, order=None, **changes):
    """The metrics of a step, and the terms that NumPy finds."""
    if changes.get("method__region") != "all":
        changes = {"method__outer": 0.5, "method__inner": 0.25} | changes
    _, objective, queries, bank, batch = bank_equations.objective_of(
        "instance_discrimination", networks, method__negatives=negatives, **changes
    )
    order = np.arange(networks) if order is None else order
    queries, bank = queries[order], bank[order]
    more = {} if clusters is None else {"clusters": clusters[order]}
    loss, (extras, metrics) = bank_equations.step(objective, queries, bank, batch, **more)
    expected = bank_equations.discrimination_terms(
        queries,
        bank[:, :20],
        batch.index,
        0.07,
        kind=changes.get("method__region", "all"),
        outer=0.5,
        inner=0.25,
        clusters=None if clusters is None else clusters[order][..., :20],
        drawn=np.asarray(drawn_rows.numbers(jax.random.key(3), jnp.arange(6), negatives))
        if negatives
        else None,
    )
    assert relative(loss, sum(expected.values())) < 1e-9
    assert max(relative(metrics[name], x) for name, x in expected.items()) < 1e-9
    return expected, metrics, extras


@pytest.fixture(scope="module")
def clusters():
    """[M, H, N] for two networks, padded as on devices."""
    return np.random.default_rng(1).integers(0, 4, (2, 2, 64)).astype(np.int32)


@pytest.fixture(scope="module")
def of_regions(clusters):
    """What each region says with all of it, each term checked against NumPy."""
    kinds = {kind: {"method__region": kind} for kind in ("all", "ball", "ring", "cave")}
    kinds["cave"] |= {"clusters": clusters}
    return {kind: judged(**changes)[1] for kind, changes in kinds.items()}


def test_regions_are_ranks_of_the_papers(of_regions):
    found = [float(of_regions[kind]["vcl"]) for kind in ("all", "ball", "ring", "cave")]
    assert len(set(found)) == 4
    # Fewer negatives, the hardest kept: a ball is nearly the whole, and no more than it.
    assert found[1] < found[0]
    assert found[2] < found[1]
    assert found[3] < found[1]


def test_one_network_with_all_rows_is_the_papers_softmax(of_regions):
    _, metrics, extras = judged(networks=1)
    _, _, queries, bank, batch = bank_equations.objective_of("instance_discrimination", 1)
    with jax.enable_x64(True):
        expected = losses.instance_discrimination(
            jnp.asarray(queries[0]), jnp.asarray(bank[0, :20]), batch.index, temperature=0.07
        )
    assert relative(metrics["loss"], np.asarray(expected)) < 1e-9
    assert [float(metrics[x]) for x in ("icl", "soft_vcl", "soft_icl")] == [0, 0, 0]
    assert relative(extras["bank"], bank_equations.moved(bank, batch.index, queries, 0.5)) < 1e-12


def test_drawn_from_a_ball_the_bound_is_below_that_of_all_rows():
    """Theory: of as many negatives those of a ball are harder, whatever the scores."""
    ball, every = (judged(50, networks=1, method__region=kind)[1] for kind in ("ball", "all"))
    assert ball["vcl"] > every["vcl"]


def test_networks_in_another_order_give_results_in_that_order(clusters):
    changes = {"negatives": 9, "clusters": clusters, "method__region": "cave"}
    _, metrics, extras = judged(**changes)
    _, turned, other = judged(**changes, order=np.array([1, 0]))
    for name, value in metrics.items():
        for axis in range(np.ndim(value)):
            value = np.flip(value, axis)
        assert relative(turned[name], value) < 1e-9, name
    assert relative(other["bank"], extras["bank"][::-1]) < 1e-12


def test_noise_contrast_has_a_partition_for_each_pair():
    _, objective, queries, bank, batch = bank_equations.objective_of(
        "instance_discrimination", method__form="nce", method__negatives=4000
    )
    mean, partition = 0.0, losses.Partition(np.zeros((2, 2)), np.zeros((2, 2), np.int32))
    numbers = np.asarray(drawn_rows.numbers(jax.random.key(3), jnp.arange(6), 4000))
    for taken in (1, 2, 3):
        bank = bank_equations.moved(bank, batch.index, queries, 0.5)
        _, (extras, metrics) = bank_equations.step(
            objective, queries, bank, batch, partition=partition
        )
        partition, pairs = extras["partition"], np.zeros((2, 2))
        logits = np.einsum("aid,bkd->abik", queries, bank[:, :20]) / 0.07
        drawn = np.stack(
            [np.delete(np.arange(20), own)[numbers[i] % 19] for i, own in enumerate(batch.index)]
        )
        noise = np.take_along_axis(logits, drawn[None, None], axis=-1)
        mean = mean + (np.mean(np.exp(noise), axis=(2, 3)) - mean) / taken
        even = 4000 / 20  # K P_n
        p = np.exp(logits) / (20 * mean[..., None, None])
        own = p[:, :, np.arange(6), batch.index]
        others = np.take_along_axis(p, drawn[None, None], axis=-1)
        pairs = -np.log(own / (own + even)) - np.log(even / (others + even)).sum(axis=-1)
        pairs = pairs.mean(axis=-1)
        assert relative(np.exp(partition.log_mean), mean) < 1e-9
        assert relative(metrics["vcl"], np.trace(pairs)) < 1e-9
        assert relative(metrics["icl"], pairs.sum() - np.trace(pairs)) < 1e-9


def test_draws_come_from_the_region_alone_and_from_all_of_it():
    region = np.random.default_rng(0).random((2, 5, 40)) < 0.3
    region[1, 4] = False
    numbers = drawn_rows.numbers(jax.random.key(0), jnp.arange(5), 500)
    drawn = jax.device_get(jax.jit(drawn_rows.from_region, static_argnums=2)(numbers, region, None))
    for pair, anchor in np.ndindex(2, 5):
        rows = drawn.column[pair, anchor][drawn.here[pair, anchor]]
        assert set(rows) == set(np.flatnonzero(region[pair, anchor]))
    assert not drawn.exists[1, 4].any()
    assert drawn.exists.sum() == 9 * 500
    others = np.asarray(drawn_rows.from_others(numbers, jnp.arange(5), 20))
    assert all(set(row) == set(range(20)) - {own} for own, row in enumerate(others))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"method__form": "nce", "method__negatives": 0},
            "method.form nce draws rows: method.negatives must be at least 1, got 0.",
        ),
        (
            {"method__form": "nce", "method__region": "ball"},
            "method.form nce draws from all rows: method.region must be all, got ball.",
        ),
        (
            {"method__networks": 1, "method__weights__vcl": 0.0},
            "method.weights must hold a term above 0 for method.networks 1 to learn from, which is "
            "vcl, got {'icl': 1.0, 'soft_icl': 1.0, 'soft_vcl': 1.0, 'vcl': 0.0}.",
        ),
        (
            {"views__channels": "lab", "parallel__cohort_devices": 2},
            "parallel.cohort_devices above 1 wants no views.channels: only like networks are split "
            "over devices.",
        ),
    ],
    ids=["negatives", "region", "terms", "channels"],
)
def test_what_does_not_go_together(changes, sentence):
    with pytest.raises(ConfigError) as caught:
        config_lib.check(tiny.config("instance_discrimination", **changes))
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("rows", "changes", "sentence"),
    [
        (1, {}, "method.name instance_discrimination wants two training rows or more, got 1."),
        (
            20,
            {"method__region": "cave", "method__clusters": 21},
            "method.clusters must be at most the 20 training rows, got 21.",
        ),
    ],
    ids=["rows", "clusters"],
)
def test_what_does_not_go_with_the_rows(rows, changes, sentence):
    with pytest.raises(ConfigError) as caught:
        bank_equations.objective_of("instance_discrimination", rows=rows, **changes)
    assert str(caught.value) == sentence


def test_rows_drawn_from_all_are_gathered_and_no_other_is_met():
    queries, bank = (
        jax.random.normal(jax.random.key(x), shape)
        for x, shape in ((1, (2, 6, 8)), (2, (2, 999, 8)))
    )
    drawn = drawn_rows.of_rows(jax.random.randint(jax.random.key(3), (6, 5), 0, 999), 999, None)

    def gathered(queries):
        return drawn_rows.products(queries, bank, drawn, None)

    def read(queries):
        return drawn_rows.read(losses.cross_network_logits(queries, bank, 1.0), drawn, None)

    np.testing.assert_allclose(gathered(queries), read(queries), rtol=1e-5, atol=1e-6)
    ours, theirs = (jax.grad(lambda x, f=f: jnp.sum(f(x) ** 2))(queries) for f in (gathered, read))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    scores = 4 * 2 * 2 * 6 * 999  # bytes
    taken, whole = (
        jax.jit(f).lower(queries).compile().memory_analysis().temp_size_in_bytes
        for f in (gathered, read)
    )
    assert taken < 0.3 * scores < scores <= whole


def test_gathered_rows_may_be_split_over_devices():
    queries = jax.random.normal(jax.random.key(1), (2, 6, 8))
    bank = jax.random.normal(jax.random.key(2), (2, 64, 8))
    rows = jax.random.randint(jax.random.key(3), (6, 5), 0, 64)

    def gathered(queries, bank, axis):
        drawn = drawn_rows.of_rows(rows, bank.shape[1], axis)
        return drawn_rows.products(queries, bank, drawn, axis)

    split = jax.shard_map(
        lambda queries, bank: gathered(queries, bank, "data"),
        mesh=jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)),
        in_specs=(P(), P(None, "data")),
        out_specs=P(),
    )
    ours, theirs = jax.jit(split)(queries, bank), gathered(queries, bank, None)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_whether_rows_are_gathered_or_read_the_terms_are_the_same(monkeypatch):
    _, read, _ = judged(9)
    monkeypatch.setattr("mcl_jax.methods.instance_discrimination._FEW", 0)
    _, gathered, _ = judged(9)
    assert max(relative(gathered[name], x) for name, x in read.items()) < 1e-12
