"""Local aggregation: twenty steps in NumPy, any mesh, and what it is with clusters of one."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))

import bank_equations
import jax
import numpy as np
import pytest
import tiny
from test_equality import relative

from mcl_jax.config import ConfigError

STEPS, ROWS, EPOCH, WARM = 20, 60, 3, 6
WEIGHTS = {"vcl": 1.0, "soft_vcl": 0.5, "icl": 2.0, "soft_icl": 0.25}


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patch:
        tiny.know_tiny_network(patch)
        yield


def config(**changes):
    return tiny.config(
        "local_aggregation",
        model__norm="grouped",
        model__norm_groups=4,
        model__dtype="float64",
        method__background=20,
        method__clusters=6,
        method__cluster_runs=2,
        method__warm_start_epochs=WARM // EPOCH,
        **{f"method__weights__{name}": weight for name, weight in WEIGHTS.items()},
        **changes,
    )


def trained(folder=None, **changes):
    with jax.enable_x64(True):
        return tiny.trajectory(config(**changes), tiny.dataset(ROWS), STEPS, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("local_aggregation")


@pytest.fixture(scope="module")
def one(folder):
    return trained(folder)


def test_twenty_steps_are_those_of_the_equations(one):
    run, states, metrics = one
    bank = np.array(states[0].extras["bank"])[:, :ROWS]
    clusters = np.array(states[0].extras["clusters"])[..., :ROWS]
    with jax.enable_x64(True):
        embed = bank_equations.embedder(config(), run)
        for step, (before, after, said) in enumerate(
            zip(states, states[1:], metrics, strict=False)
        ):
            queries, index, _ = embed(before.params, before.extras["batch_stats"], step)
            queries, index = np.asarray(queries), np.asarray(index)
            terms = bank_equations.aggregation_terms(
                queries, bank, index, 0.07, 20, clusters, warm=step < WARM
            )
            terms["loss"] = sum(WEIGHTS[name] * term for name, term in terms.items())
            for name, value in terms.items():
                assert relative(said[name], value) < 1e-9, (step, name)
            bank = bank_equations.moved(bank, index, queries, 0.5)
            assert relative(after.extras["bank"][:, :ROWS], bank) < 1e-12
            assert int(after.extras["steps"]) == step + 1
            if (step + 1) % EPOCH == 0 and step + 1 >= WARM:
                ours = before._replace(step=step + 1, key=jax.random.key(0), extras={"bank": bank})
                clusters = run.method.refresh(ours, None)["clusters"][..., :ROWS]
            assert np.array_equal(after.extras["clusters"][..., :ROWS], clusters)
    assert len(np.unique(clusters[0, 0])) == 6


def test_several_devices_do_the_same(one):
    _, states, metrics = one
    run, found, said = trained(parallel__devices=4)
    worst = jax.tree.map(relative, (found[-1], said), (states[-1], metrics))
    assert max(jax.tree.leaves(worst)) < 1e-9
    assert run.layout.extras["clusters"] == jax.sharding.PartitionSpec(None, None, "data")


def test_a_run_that_is_killed_ends_where_an_unbroken_one_does(one, folder):
    run, states, metrics = one
    with jax.enable_x64(True):
        found = tiny.resumed(run, folder, STEPS)
    same = jax.tree.map(np.array_equal, found, (states[-1], metrics[STEPS // 2 :]))
    assert all(jax.tree.leaves(same))


def test_clusters_of_one_in_all_rows_are_instance_discrimination():
    _, objective, queries, bank, batch = bank_equations.objective_of(
        "local_aggregation", method__background=20, method__warm_start_epochs=0
    )
    alone = np.broadcast_to(np.arange(64, dtype=np.int32), (2, 3, 64))
    _, (_, metrics) = bank_equations.step(
        objective, queries, bank, batch, clusters=alone, steps=np.int32(0)
    )
    expected = bank_equations.discrimination_terms(queries, bank[:, :20], batch.index, 0.07)
    assert relative(metrics["vcl"], expected["vcl"]) < 1e-9
    assert relative(metrics["icl"], expected["icl"]) < 1e-9


def test_the_background_is_of_rows_that_there_are():
    with pytest.raises(ConfigError) as caught:
        bank_equations.objective_of("local_aggregation", method__background=21)
    assert str(caught.value) == "method.background must be at most the 20 training rows, got 21."
