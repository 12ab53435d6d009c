"""A cohort is its members: every stacked result equals that of a loop over networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_cohorts import CLASSES, DIM, IMAGES, assert_trees_close, drawn, network, quickly

from mcl_jax import cohort
from mcl_jax.cohort import Cohort, Group

COHORTS = {
    "alike": cohort.like(network(), 3),
    "alone": cohort.like(network(), 1),
    "unlike": Cohort((Group(network(), 2), Group(network(6, 8), 1))),
    "branches": cohort.like(network(4, 6), 3, shared_stages=1),
    "without statistics": cohort.like(network(normalization="group"), 2),
    "frozen": Cohort((Group(network(), 1), Group(network(frozen=("encoder", "head")), 1))),
    "frozen encoder": Cohort((Group(network(), 1), Group(network(frozen=("encoder",)), 1))),
}


@pytest.fixture(scope="module", params=COHORTS)
def setting(request):
    return drawn(COHORTS[request.param])


def members(networks):
    """The module of each network."""
    return [group.network for group in networks.groups for _ in range(group.size)]


def test_every_network_is_the_solo_network_of_its_folded_key(setting):
    modules = members(setting.cohort)
    for index, module in enumerate(modules):
        key = jax.random.fold_in(jax.random.key(0), index)
        alone = quickly(module.init)(key, IMAGES)
        if any(group.shared_stages for group in setting.cohort.groups):
            stem = quickly(module.init)(jax.random.fold_in(jax.random.key(0), 0), IMAGES)
            for collection in alone:
                for name in ("conv1", "bn1", "layer1_0"):
                    of_stem = stem[collection]["encoder"]
                    if name in of_stem:
                        alone[collection]["encoder"][name] = of_stem[name]
        assert_trees_close(cohort.select(setting.initial, index), dict(alone), 1e-6)
    assert cohort.size(setting.initial) == setting.cohort.size == len(modules)


@pytest.mark.parametrize("train", [False, True])
def test_apply_is_a_loop_over_members(setting, train):
    modules = members(setting.cohort)
    run = quickly(lambda x: cohort.apply(setting.cohort, x, IMAGES, train=train))
    output, statistics = run(setting.variables)
    assert output.embeddings.shape == (len(modules), 5, DIM)
    assert output.logits.shape == (len(modules), 5, CLASSES)
    assert [len(features) for features in output.features] == [
        group.size for group in setting.cohort.groups
    ]
    features = [x for group in output.features for x in group]
    np.testing.assert_allclose(np.linalg.norm(output.embeddings, axis=-1), 1, rtol=1e-5)
    for index, module in enumerate(modules):
        member = cohort.select(setting.variables, index)
        expected, moved = module.apply(member, IMAGES, train=train, mutable=["batch_stats"])
        ours = features[index], output.embeddings[index], output.logits[index]
        assert_trees_close(ours, expected)
        after = cohort.select({**setting.variables, "batch_stats": statistics}, index)
        assert_trees_close(after.get("batch_stats", {}), moved.get("batch_stats", {}))


def test_the_gradient_of_what_is_shared_is_the_sum_over_branches():
    setting = drawn(COHORTS["branches"])

    def total(params):
        variables = {**setting.variables, "params": params}
        output, _ = cohort.apply(setting.cohort, variables, IMAGES, train=True)
        return jnp.sum(jnp.sin(output.logits)) + jnp.sum(jnp.sin(output.embeddings))

    def alone(params, statistics, module):
        variables = {"params": params, "batch_stats": statistics}
        (_, embeddings, logits), _ = module.apply(
            variables, IMAGES, train=True, mutable=["batch_stats"]
        )
        return jnp.sum(jnp.sin(logits)) + jnp.sum(jnp.sin(embeddings))

    (tree,) = quickly(jax.grad(total))(setting.variables["params"]).values()
    assert tree["shared"]["encoder"].keys() == {"conv1", "bn1", "layer1_0"}
    loop = []
    for index, module in enumerate(members(setting.cohort)):
        member = cohort.select(setting.variables, index)
        gradient = quickly(jax.grad(lambda p, s, module=module: alone(p, s, module)))
        loop.append(gradient(member["params"], member["batch_stats"]))
    for name, leaf in tree["shared"]["encoder"].items():
        summed = jax.tree.map(lambda *x: sum(x), *[one["encoder"][name] for one in loop])
        assert_trees_close(leaf, summed, 1e-4)
    own = jax.tree.map(lambda *x: jnp.stack(x), *[one["head"] for one in loop])
    assert_trees_close(tree["members"]["head"], own, 1e-4)


def test_shared_stages_are_computed_once():
    """Three branches of a stem and two stages: the convolutions below are there once."""

    def convolutions(networks):
        variables = jax.eval_shape(lambda: cohort.init(networks, jax.random.key(0), IMAGES))
        run = jax.jit(lambda x: cohort.apply(networks, x, IMAGES, train=False))
        return run.lower(variables).as_text().count("stablehlo.convolution(")

    below, above = 3, 3  # stem and a block; a block with its shortcut
    assert convolutions(cohort.like(network(4, 6), 3)) == 3 * (below + above)
    assert convolutions(cohort.like(network(4, 6), 3, shared_stages=1)) == below + 3 * above


@pytest.mark.parametrize(("name", "moves"), [("frozen", False), ("frozen encoder", True)])
def test_a_frozen_network_stands_still_and_is_seen_as_in_evaluation(name, moves):
    setting = drawn(COHORTS[name])

    def total(params):
        variables = {**setting.variables, "params": params}
        output, statistics = cohort.apply(setting.cohort, variables, IMAGES, train=True)
        return jnp.sum(jnp.sin(output.embeddings) * 3 + output.logits.sum()), statistics

    gradient, statistics = quickly(jax.grad(total, has_aux=True))(setting.variables["params"])
    largest = jax.tree.map(lambda x: float(jnp.abs(x).max()), gradient)
    assert max(jax.tree.leaves(largest["network_0"])) > 0
    assert max(jax.tree.leaves(largest["network_1"]["encoder"])) == 0
    assert (max(jax.tree.leaves(largest["network_1"]["head"])) > 0) == moves
    before = setting.variables["batch_stats"]
    assert_trees_close(statistics["network_1"], before["network_1"], 0)


def test_networks_keep_their_order_and_keys():
    keys = [key for key, _ in COHORTS["unlike"].items()]
    assert keys == ["networks_0_to_1", "network_2"]
    assert [list(cohort.networks_of(key)) for key in keys] == [[0, 1], [2]]
    assert cohort.networks_of("networks") is None


def test_the_ensemble_is_the_mean_of_the_logits():
    logits = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_allclose(cohort.ensemble(logits), logits.sum(axis=0) / 3, rtol=1e-5)


@pytest.mark.parametrize("networks", [0, -2])
def test_a_cohort_has_networks(networks):
    with pytest.raises(ValueError, match=rf"networks must be at least 1, got {networks}\."):
        cohort.like(network(), networks)


@pytest.mark.parametrize("stages", [-1, 2])
def test_stages_that_are_not_there(stages):
    with pytest.raises(ValueError, match=rf"shared_stages must be from 0 to 1.*got {stages}\."):
        cohort.like(network(), 2, shared_stages=stages)
