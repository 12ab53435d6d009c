"""MoCo cohorts: the state of twenty steps in NumPy, any mesh, and what goes together."""

import pathlib
import sys

import equations
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny
from test_equality import relative

from mcl_jax import cohort, data, losses, memory, methods
from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.methods import Setting, networks
from mcl_jax.training.state import Stream, stream

B, D, K, GROUPS, STEPS = 16, 8, 40, 4, 20
WEIGHTS = {"vcl": 1.0, "soft_vcl": 0.5, "icl": 2.0, "soft_icl": 0.25}


@pytest.fixture(scope="module", autouse=True)
def _tiny():
    with pytest.MonkeyPatch.context() as patch:
        tiny.know_tiny_network(patch)
        yield


def config(**changes):
    defaults = {"method__queue_size": K, "model__norm": "grouped", "model__norm_groups": GROUPS}
    return tiny.config("moco", **defaults | changes)


def trained(folder=None, steps=STEPS, **changes):
    """Queues, momentum networks, rings that shrink, and everything else at once, in float64."""
    made = config(
        model__dtype="float64",
        method__region="ring",
        method__outer=0.5,
        method__inner=0.2,
        method__annealing="linear",
        method__annealing_epochs=3.0,
        method__momentum=0.9,
        **{f"method__weights__{name}": weight for name, weight in WEIGHTS.items()},
        **changes,
    )
    with jax.enable_x64(True):
        return tiny.trajectory(made, tiny.dataset(), steps, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("moco")


@pytest.fixture(scope="module")
def one(folder):
    return trained(folder)


def worst(found, expected):
    return max(jax.tree.leaves(jax.tree.map(relative, found, expected)))


def runs_of_rows(images, dealt):
    """[B, ...] to [G, n, ...]: rows that stand together, or every G-th."""
    rows = np.arange(B).reshape(GROUPS, -1)
    return images[np.stack([np.arange(g, B, GROUPS) for g in range(GROUPS)]) if dealt else rows]


def in_order(embeddings, dealt):
    """[M, G, n, D] to [M, B, D], the inverse."""
    order = np.swapaxes(embeddings, 1, 2) if dealt else embeddings
    return np.asarray(order).reshape(len(order), B, -1)


def test_twenty_steps_are_those_of_the_equations(one):
    """Embeddings are those of plain networks on the rows of one run of statistics at a time."""
    run, states, metrics = one
    with jax.enable_x64(True):
        made = config(model__dtype="float64", model__norm="local", model__norm_groups=1)
        setting = Setting(4, *statistics(run), Axes(), 1, optax.sgd(0.1), (8, 8, 1))
        plain = networks.build(made, setting)
        recipe = methods.seeing.seeing(made, setting, plain, 2).recipes[0]

        @jax.jit
        def views(step):
            key = jax.random.key(made.seed)
            rows = data.draw(run.sampler, stream(key, Stream.DATA), step)
            draws = jax.random.split(jax.random.fold_in(stream(key, Stream.STEP), step))[0]
            keys = jax.vmap(jax.random.fold_in, (None, 0))(draws, jnp.arange(B))
            images = jnp.asarray(run.dataset.train.images)[rows]
            return [
                recipe.train(jax.vmap(jax.random.fold_in, (0, None))(keys, v), images)
                for v in (0, 1)
            ]

        @jax.jit
        @jax.vmap
        def embed(images, params, stats):
            variables = {"params": params, "batch_stats": stats}
            output, moved = cohort.apply(plain, variables, images, train=True)
            return output.embeddings, moved

        def seen(variables, images, dealt):
            groups = runs_of_rows(np.asarray(images), dealt)
            copies = jax.tree.map(lambda x: np.stack([x] * GROUPS), variables)
            embeddings, moved = embed(groups, copies["params"], copies["batch_stats"])
            moved = jax.tree.map(lambda x: np.mean(x, axis=0), moved)
            return in_order(np.swapaxes(embeddings, 0, 1), dealt), moved

        slow = states[0].extras["momentum"]
        queue, cursor = np.array(states[0].extras["queue"].keys), 0
        for step, (before, after, said) in enumerate(
            zip(states, states[1:], metrics, strict=False)
        ):
            first, second = views(step)
            moved = jax.tree.map(lambda k, q: 0.9 * k + 0.1 * q, slow["params"], before.params)
            fast = {"params": before.params, "batch_stats": before.extras["batch_stats"]}
            queries, stats = seen(fast, first, dealt=False)
            slow = {"params": moved, "batch_stats": slow["batch_stats"]}
            own, slow_stats = seen(slow, second, dealt=True)
            slow = {"params": moved, "batch_stats": slow_stats}
            outer = np.float32(1) + np.float32(-0.5) * np.float32(min(step / 12, 1))
            terms = equations.mcl_terms(queries, own, queue, 0.07, 3.0, outer, 0.2)
            for i in range(B):
                queue[:, (cursor + i) % K] = own[:, i]
            cursor = (cursor + B) % K
            terms["loss"] = sum(WEIGHTS[name] * term for name, term in terms.items())
            for name, value in terms.items():
                assert relative(said[name], value) < 1e-9, (step, name)
            assert worst(after.extras["momentum"], slow) < 1e-11
            assert worst(after.extras["batch_stats"], stats) < 1e-11
            assert relative(after.extras["queue"].keys, queue) < 1e-11
            assert int(after.extras["queue"].cursor) == cursor
    assert worst(states[-1].extras["momentum"]["params"], states[0].params) > 1e-3


def statistics(run):
    images = run.dataset.train.images / 255
    return (float(images.mean()),), (float(images.std()),)


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
    steps = 3 if "parallel__mapper" in changes else STEPS
    run, found, said = trained(steps=steps, **changes)
    assert worst(found[-1], states[steps]) < 1e-9
    assert worst(said, metrics[:steps]) < 1e-9
    held = run.layout.extras["queue"].keys
    assert ("data" in held) == ("parallel__mapper" not in changes)


def test_a_run_that_is_killed_ends_where_an_unbroken_one_does(one, folder):
    run, states, metrics = one
    with jax.enable_x64(True):
        found = tiny.resumed(run, folder, STEPS)
    same = jax.tree.map(np.array_equal, found, (states[-1], metrics[STEPS // 2 :]))
    assert all(jax.tree.leaves(same))


def method(devices=1, channels=1, **changes):
    """A method that runs under no mapped axis, and its configuration."""
    made = config(**changes)
    setting = Setting(
        4, (0.5,) * channels, (0.2,) * channels, Axes(), devices, optax.sgd(0.1), (8, 8, channels)
    )
    return methods.create(made, setting)


def batch(channels=1, views=()):
    shape, rows = (B, *views, 8, 8, channels), jnp.arange(B, dtype=jnp.int32)
    return Batch(jnp.zeros(shape, jnp.uint8), rows, rows, rows)


def vectors(seed, *shape):
    return losses.l2_normalize(jax.random.normal(jax.random.key(seed), shape))


def judged(m, order=None, **changes):
    """Loss, extras and metrics of embeddings and queues drawn at random, in some order."""
    outputs = {"queries": vectors(0, 3, B, D)[:m], "keys": vectors(1, 3, B, D)[:m]}
    keys = vectors(2, 3, K, D)[:m]
    if order is not None:
        outputs, keys = jax.tree.map(lambda x: x[order], (outputs, keys))
    queue = memory.Queue(keys, jnp.int32(30))
    made = method(method__networks=m, model__norm="local", model__norm_groups=1, **changes)
    found = jax.jit(made.objective)(outputs, {"queue": queue, "annealing": ()}, batch(), None)
    return outputs, keys, found


def test_one_network_is_moco():
    outputs, keys, (loss, (_, metrics)) = judged(1)
    own, others = (np.asarray(x[0], np.float64) for x in (outputs["keys"], keys))
    anchors = np.asarray(outputs["queries"][0], np.float64)
    logits = np.concatenate([np.sum(anchors * own, axis=1)[:, None], anchors @ others.T], axis=1)
    expected = np.mean(equations.log_sum_exp(logits / 0.07) - logits[:, 0] / 0.07)
    assert relative(loss, expected) < 1e-6
    assert [float(metrics[x]) for x in ("icl", "soft_vcl", "soft_icl")] == [0, 0, 0]
    assert relative(metrics["vcl"], expected) < 1e-6


def test_channels_with_queues_are_contrastive_multiview_coding():
    rest = {f"method__weights__{name}": 0.0 for name in ("vcl", "soft_vcl", "soft_icl")}
    outputs, keys, (loss, _) = judged(2, channels=3, views__channels="lab", **rest)
    expected = 0
    for a, b in ((0, 1), (1, 0)):
        anchors = np.asarray(outputs["queries"][a], np.float64)
        own = np.sum(anchors * outputs["keys"][b], axis=1)[:, None]
        logits = np.concatenate([own, anchors @ np.asarray(keys[b]).T], axis=1) / 0.07
        expected += np.mean(equations.log_sum_exp(logits) - logits[:, 0])
    assert relative(loss, expected) < 1e-6


def test_networks_in_another_order_give_results_in_that_order():
    order = jnp.array([2, 0, 1])
    _, _, (loss, (extras, metrics)) = judged(3)
    _, _, (turned, (other, others)) = judged(3, order)
    assert relative(turned, loss) < 1e-6
    for name, value in metrics.items():
        for axis in range(np.ndim(value)):
            value = jnp.take(value, order, axis=axis)
        assert relative(others[name], value) < 2e-5, name
    assert np.array_equal(other["queue"].keys, extras["queue"].keys[order])


def test_a_term_without_weight_is_left_out():
    _, _, (loss, (_, metrics)) = judged(
        3, method__weights__soft_vcl=0.0, method__weights__soft_icl=0.0
    )
    assert metrics["soft_icl"] == 0
    assert relative(loss, metrics["vcl"] + metrics["icl"]) < 1e-6


KINDS = [
    {"model__name": "tiny,tiny_wide", "method__frozen": (1,)},
    {"model__shared_stages": 1},
    {"model__dtype": "bfloat16", "method__chunk_size": 16},
    {"views__channels": "lab"},
]


@pytest.mark.parametrize("changes", KINDS, ids=["unlike", "branches", "bfloat16", "channels"])
def test_any_cohort_makes_a_step(changes):
    channels = 3 if "views__channels" in changes else 1
    made = method(channels=channels, **changes)

    def step(key, batch):
        params, extras = made.init(key, batch)
        begun, dealt = made.begin(params, extras, batch)
        outputs, begun = made.embed(params, begun, dealt, key, True)
        return extras, outputs, made.objective(outputs, begun, dealt, key)

    key = jax.eval_shape(lambda: jax.random.key(0))
    for views in ((), (2,)):  # resident images, and crops of streamed ones
        extras, outputs, (loss, (after, _)) = jax.eval_shape(step, key, batch(channels, views))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
            lambda x: (x.shape, x.dtype), extras
        )
        assert {x.shape for x in jax.tree.leaves(outputs)} == {(2, B, D)}
        assert (loss.shape, loss.dtype) == ((), jnp.float32)
    if channels == 3:
        seen = [
            x["encoder"]["conv1"]["kernel"].shape[3] for x in extras["momentum"]["params"].values()
        ]
        assert seen == [1, 2]


def test_momentum_networks_begin_as_copies_of_weights_from_files():
    made = method()
    like = jax.eval_shape(made.init, jax.random.key(0), batch())
    params, extras = jax.tree.map(lambda x: np.zeros(x.shape), like)
    one = jax.tree.map(lambda x: np.ones(x.shape[1:]), params["networks_0_to_1"])
    params, extras = made.load(params, extras, {"1": {"params": one}})
    means = [float(jnp.mean(x)) for x in jax.tree.leaves(extras["momentum"]["params"])]
    assert set(means) == {0.5}
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, extras["momentum"]["params"], params)))


def test_the_queue_is_divided_among_devices():
    with pytest.raises(ConfigError) as caught:
        method(devices=16, model__norm_groups=16)
    assert str(caught.value) == (
        "method.queue_size must be a multiple of the number of devices, 16, got 40."
    )
