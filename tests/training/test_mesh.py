"""Networks spread over devices train the same; nothing but embeddings and logits crosses."""

import re
import types

import jax
import numpy as np
import pytest
import tiny
from test_equality import relative

from mcl_jax.config import ConfigError
from mcl_jax.training import parallel, train_and_evaluate
from mcl_jax.training.run import initial_state

NETWORKS, BATCH, DIM, CLASSES = 4, 16, 8, 4
MESHES = [(1, 8), (2, 4), (4, 2)]  # cohort x data


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def config(cohort=1, data=1, norm="sync", **changes):
    fields = {
        "method__networks": NETWORKS,
        "model__norm": norm,
        "model__norm_groups": 8 if norm == "grouped" else 1,
        "parallel__devices": cohort * data,
        "parallel__cohort_devices": cohort,
        "method__weights__logit_distillation": 0.5,
        "method__weights__deep_mutual": 0.5,
        "optimizer__clip_norm": 1.0,
    }
    return tiny.config(**fields | changes)


def trained(*mesh, **changes):
    """State, metrics and what the networks say of images, on the host."""
    run, state, metrics = tiny.run_steps(config(*mesh, **changes), tiny.dataset(), steps=5)
    said = run.predict(state, run.dataset.test.images[:16])
    state = state._replace(key=jax.random.key_data(state.key))
    return jax.device_get((state, metrics, said))


@pytest.mark.parametrize(("norm", "meshes"), [("sync", MESHES[1:2]), ("grouped", MESHES[1:])])
def test_any_mesh_trains_as_one_device_does(norm, meshes):
    with jax.enable_x64(True):
        reference = trained(norm=norm, model__dtype="float64")
        for mesh in meshes:
            found = trained(*mesh, norm=norm, model__dtype="float64")
            worst = jax.tree.map(relative, found, reference)
            assert max(jax.tree.leaves(worst)) < 1e-9, mesh


@pytest.mark.parametrize(
    "kind",
    [
        {"method__networks": 3, "model__name": "tiny,tiny_wide,tiny"},
        {"method__networks": 3, "model__shared_stages": 1, "method__topology": "ring"},
    ],
    ids=["unlike", "branches"],
)
def test_any_cohort_trains_by_any_mapper_on_several_devices_as_on_one(kind):
    with jax.enable_x64(True):
        one = trained(model__dtype="float64", **kind)
        four = trained(1, 4, model__dtype="float64", parallel__mapper="pmap", **kind)
    assert max(jax.tree.leaves(jax.tree.map(relative, four, one))) < 1e-9


def test_micro_batches_on_a_mesh_train_as_one_device_does():
    with jax.enable_x64(True):
        options = {"norm": "grouped", "model__dtype": "float64"}
        one = trained(**options)
        spread = trained(2, 2, training__micro_batches=2, **options)
    assert max(jax.tree.leaves(jax.tree.map(relative, spread, one))) < 1e-9


def test_a_state_goes_on_on_another_mesh(tmp_path, monkeypatch):
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())
    with jax.enable_x64(True):
        summaries = []
        for folder, meshes in (("one", [(1, 1)]), ("several", [(2, 2), (4, 2)])):
            for steps, mesh in zip((8, 16)[-len(meshes) :], meshes, strict=True):
                options = {"model__dtype": "float64", "optimizer__schedule": "constant"}
                run = config(*mesh, **options)
                run.update({"training": {"steps": steps}, "parallel": {"devices": 0}})
                devices = jax.devices()[: mesh[0] * mesh[1]]
                monkeypatch.setattr(parallel, "_devices", lambda platform, found=devices: found)
                summaries.append(train_and_evaluate(run, tmp_path / folder))
    assert summaries[0]["test"] == summaries[-1]["test"]
    assert summaries[-1]["steps"] == 16


COLLECTIVE = re.compile(
    r"= (?P<results>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute|collective-broadcast|ragged-all-to-all)(?:-start)?\(.*?"
    r"(?:replica_groups|source_target_pairs)=(?P<groups>\{\{.*?\}\}|\[[^ ]*)"
)


def collectives(text, cohort, data):
    """(kind, shapes, whether it crosses the cohort axis) of every collective of a program."""
    for line in text.splitlines():
        found = COLLECTIVE.search(line)
        if not found:
            assert " all-reduce(" not in line
            continue
        groups = re.findall(r"\{([\d,]+)\}", found["groups"])
        assert groups, line
        rows = [{int(device) // data for device in group.split(",")} for group in groups]
        shapes = [
            tuple(int(n) for n in shape.split(",") if n)
            for shape in re.findall(r"\w+\[([\d,]*)\]", found["results"])
        ]
        yield found["kind"], shapes, any(len(group) > 1 for group in rows)
    assert cohort * data == 8


@pytest.mark.parametrize(("cohort", "data"), [(2, 4), (4, 2)])
def test_parameters_and_gradients_never_cross_the_cohort_axis(cohort, data):
    run, state, _ = tiny.run_steps(config(cohort, data), tiny.dataset(), steps=0)
    program = run.step.lower(state, next(tiny.batches(run))).compile().as_text()
    found = list(collectives(program, cohort, data))
    rows, own = BATCH // data, NETWORKS // cohort
    may_cross = {
        (),  # the loss, and whether all is finite
        (NETWORKS,),  # a metric of each network
        (NETWORKS, NETWORKS),  # one of each pair
        (NETWORKS, rows, DIM),  # embeddings, gathered
        (NETWORKS, rows, CLASSES),  # logits
        (own, rows, DIM),  # their cotangents, scattered
        (own, rows, CLASSES),
    }
    crossing = {shape for _, shapes, crosses in found if crosses for shape in shapes}
    assert crossing <= may_cross, crossing - may_cross
    assert {(NETWORKS, rows, DIM), (own, rows, DIM)} <= crossing
    # Each gradient is summed over the data axis, once.
    sums = [shapes for kind, shapes, crosses in found if kind == "all-reduce" and not crosses]
    summed = [shape for shapes in sums for shape in shapes]
    for leaf in jax.tree.leaves(state.params):
        assert leaf.sharding.shard_shape(leaf.shape)[0] == own
    kernel = (own, 3, 3, 4, 4)
    alike = [x for x in jax.tree.leaves(state.params) if x.shape == (NETWORKS, *kernel[1:])]
    assert summed.count(kernel) == len(alike) > 0


def test_each_device_holds_its_own_networks_alone():
    run, state, _ = tiny.run_steps(config(4, 2), tiny.dataset(), steps=1)
    for tree in (state.params, state.extras, state.optimizer):
        stacked = [x for x in jax.tree.leaves(tree) if x.ndim]
        assert stacked
        assert {x.addressable_shards[0].data.shape[0] for x in stacked} == {1}
    drawn = initial_state(config(4, 2), run)
    assert {x.sharding for x in jax.tree.leaves(drawn)} == {
        x.sharding for x in jax.tree.leaves(state)
    }


def test_a_batch_of_this_process_is_the_whole_batch_where_there_is_one():
    mapper = parallel.create("shard_map", 8, cohort=2)
    assert mapper.local_rows(16) == range(16)
    split = mapper.split_local({"x": np.arange(16)})["x"]
    assert split.addressable_shards[0].data.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("shard_map", 8, "", 3),
            "parallel.cohort_devices must divide the number of devices, 8, got 3.",
        ),
        (
            ("pmap", 8, "", 2),
            "parallel.cohort_devices above 1 wants parallel.mapper shard_map, got 2 with pmap.",
        ),
    ],
)
def test_devices_that_cannot_be_divided(options, message):
    with pytest.raises(ConfigError) as caught:
        parallel.create(*options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("processes", "cohort", "fine"), [(2, 4, True), (4, 2, True), (3, 2, False)]
)
def test_processes_share_all_rows_or_none(processes, cohort, fine, monkeypatch):
    count = 12 if processes == 3 else 8
    devices = [
        types.SimpleNamespace(id=i, process_index=i * processes // count, platform="cpu")
        for i in range(count)
    ]
    monkeypatch.setattr(parallel, "_devices", lambda platform: devices)
    if fine:
        assert parallel.create("shard_map", 0, cohort=cohort).data_devices == 8 // cohort
        return
    with pytest.raises(ConfigError, match="number of processes, 3, got 2: their parts of a batch"):
        parallel.create("shard_map", 0, cohort=cohort)


def test_processes_use_all_their_devices(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError) as caught:
        parallel.create("shard_map", 4)
    assert str(caught.value) == (
        "parallel.devices must be 0 or 8, all devices of the 2 processes, got 4."
    )
    assert len(parallel.create("shard_map", 0).devices) == 8
