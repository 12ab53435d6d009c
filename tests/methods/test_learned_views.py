"""Learned views: a step by hand, signs of gradients, bounds in NumPy, devices, and two stages."""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import logsumexp

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny

from mcl_jax import cohort as cohorts
from mcl_jax import config as config_lib
from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch, Dataset, Split
from mcl_jax.methods import (
    Setting,
    create,
    drawn_rows,
    learned_division,
    learned_views,
    view_bounds,
)
from mcl_jax.report import write_page
from mcl_jax.training import state as states
from mcl_jax.training import train_and_evaluate
from mcl_jax.training.gradients import Differentiator
from mcl_jax.training.state import Stream, stream
from mcl_jax.training.step import train_step
from mcl_jax.training.together import train_together
from mcl_jax.views import learned
from mcl_jax.views.draws import folded, row_keys
from mcl_jax.views.learned import Generator, LearnedViews


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)


def coloured(rows=64):
    """`tiny.dataset` in three channels, whose classes differ in colour."""
    rng = np.random.default_rng(0)

    def split():
        labels = (np.arange(rows) % 4).astype(np.int32)
        noise = rng.integers(0, 128, (rows, 8, 8, 3))
        tint = 30 * np.stack([labels, labels % 2, 3 - labels], axis=-1)[:, None, None]
        return Split(labels, images=(noise + tint).astype(np.uint8))

    return Dataset("noise", split(), split(), split(), tuple("abcd"), "made up")


def config(**changes):
    sizes = {
        "data__batch_size": 12,
        "data__labelled": 16,
        "data__labelled_batch": 4,
        "views__recipe": "imagenet",
        "method__generator_blocks": 2,
        "method__generator_hidden": 3,
        "model__norm": "group",
        "optimizer__name": "sgd",
        "optimizer__learning_rate": 0.05,
        "optimizer__momentum": 0.0,
        "optimizer__schedule": "constant",
    }
    return tiny.config("learned_views", **(sizes | changes))


def setting(options, devices=1, axes=Axes()):  # noqa: B008  it cannot change
    return Setting(
        num_classes=4,
        mean=(0.4,) * 3,
        std=(0.2,) * 3,
        axes=axes,
        devices=devices,
        optimizer=optax.sgd(options.optimizer.learning_rate),
        image_shape=(8, 8, 3),
        labels=coloured().train.labels,
    )


def batch_of(options):
    split, rows = coloured().train, np.arange(options.data.batch_size, dtype=np.int32)
    return Batch(split.images[rows], split.labels[rows], rows, rows)


def moved_off(state):
    """A state whose generators are not the identity, at which their first layers have no slope."""
    generators = jax.tree.map(lambda x: x + 0.1, state.params["generators"])
    return state._replace(params={**state.params, "generators": generators})


@pytest.mark.parametrize(("of_bound", "of_classes"), [(1.0, 0.5), (0.7, 0.0), (0.0, 1.0)])
def test_a_step_is_two_by_hand(of_bound, of_classes):
    """Networks go up against views that stand still, then all else goes down against the new."""
    weights = {"method__information_weight": of_bound, "method__class_weight": of_classes}
    options = config(method__coupling="affine", **weights)
    method, batch = create(options, setting(options)), batch_of(options)
    state = moved_off(jax.jit(lambda k: states.create(method, k, batch))(jax.random.key(0)))
    after, metrics = jax.jit(lambda s: train_step(Differentiator(method, Axes()), s, batch))(state)

    game = learned_views._game(options, setting(options))
    step_key = jax.random.fold_in(stream(state.key, Stream.STEP), 0)
    keys = row_keys(jax.random.split(step_key)[0], jnp.asarray(batch.position))
    labelled = np.arange(12) % 3 == 2

    def parts(generators):
        made = []
        for view, channels in enumerate([slice(0, 1), slice(1, 3)]):
            pixels = game.recipe.train(folded(keys, view), jnp.asarray(batch.images))
            made.append(game.views.generator.forward(generators[0], pixels)[..., channels])
        return made

    def bound(networks, generators):
        seen = tuple(part[~labelled] for part in parts(generators))
        variables = {"params": networks, "batch_stats": state.extras["batch_stats"]}
        first, second = cohorts.apply(game.cohort, variables, seen, train=True)[0].embeddings
        scores = first @ second.T / options.method.temperature
        hits = [jnp.diag(jax.nn.log_softmax(scores, axis=axis)) for axis in (0, 1)]
        return jnp.log(8.0) + (hits[0].mean() + hits[1].mean()) / 2

    def entropy(classifiers, generators):
        total = 0.0
        for number, part in enumerate(parts(generators) if of_classes else []):
            variables = {"params": classifiers[str(number)]}
            logits = game.classifier.apply(variables, part[labelled], train=True)[0]
            picked = jax.nn.log_softmax(logits)[jnp.arange(4), batch.labels[labelled]]
            total -= picked.mean()
        return total

    def by_hand(params):
        networks = {name: params[name] for name in ("network_0", "network_1")}
        upward = jax.grad(bound)(networks, params["generators"])
        networks = jax.tree.map(lambda x, g: x + 0.05 * g, networks, upward)
        rest = {name: params[name] for name in ("generators", "classifiers")}

        def lost(rest):
            read = bound(networks, rest["generators"])
            entropies = entropy(rest["classifiers"], rest["generators"])
            return of_bound * read + of_classes * entropies, read

        downward, read = jax.grad(lost, has_aux=True)(rest)
        rest = jax.tree.map(lambda x, g: x - 5 * 0.05 * g, rest, downward)
        return {**networks, **rest}, read

    expected, read = jax.jit(by_hand)(state.params)
    np.testing.assert_allclose(metrics["bound"], read, rtol=1e-4)
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(after.params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-6, err_msg=str(path))
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, state.params)
    assert jax.tree.all(moved["generators"])
    assert not any(jax.tree.leaves(moved["network_0"]["encoder"]["classifier"]))


def test_bounds_are_numpys():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 6, 5)).astype(np.float32)
    batch = Batch(None, None, np.arange(6, dtype=np.int32), np.arange(6, dtype=np.int32))
    scores = z[0].astype(np.float64) @ z[1].astype(np.float64).T
    key = jax.random.key(0)
    dv = view_bounds.donsker_varadhan(None)(jnp.asarray(z), {}, batch, key)
    apart = scores[~np.eye(6, dtype=bool)]
    expected = np.diag(scores).mean() - (logsumexp(apart) - np.log(30))
    np.testing.assert_allclose([dv[0, 1], dv[1, 0]], [expected] * 2, rtol=1e-5)
    nce = view_bounds.info_nce(0.5, None)(jnp.asarray(z), {}, batch, key)
    for axis, found in ((1, nce[0, 1]), (0, nce[1, 0])):
        loss = logsumexp(scores / 0.5, axis=axis) - np.diag(scores) / 0.5
        np.testing.assert_allclose(found, np.log(6) - loss.mean(), rtol=1e-5)

    options = config(method__bound="bank", method__negatives=7, method__embedding_dim=5)
    bank = learned_views._game(options, setting(options)).bank
    rows = bank.init(key, {"x": jnp.zeros(1)})
    found = view_bounds.of_bank(options, bank)(jnp.asarray(z), {"bank": rows}, batch, key)
    numbers = drawn_rows.numbers(key, jnp.arange(6), 7)
    others = np.asarray(drawn_rows.from_others(numbers, jnp.arange(6), 64))
    logits = []
    for i in range(6):
        keys = np.asarray(rows)[1][np.concatenate([[i], others[i]])]
        logits.append(keys @ z[0, i] / options.method.temperature)
    loss = logsumexp(logits, axis=1) - np.array(logits)[:, 0]
    np.testing.assert_allclose(found[0, 1], np.log(8) - loss.mean(), rtol=1e-4)


def test_devices_change_nothing_and_a_run_resumes(tmp_path):
    with jax.enable_x64(True):
        sizes = {"model__dtype": "float64", "data__batch_size": 24, "data__labelled_batch": 8}
        # With all that a state can hold: momentum, running statistics, a rate that changes.
        sizes |= {"model__norm": "grouped", "model__norm_groups": 2}
        sizes |= {"optimizer__momentum": 0.9, "optimizer__schedule": "cosine"}
        kinds = {"method__bound": "bank", "method__negatives": 5, "method__generators": "own"}

        def final(folder=None, **more):
            return tiny.trajectory(config(**sizes, **kinds, **more), coloured(), 3, folder)

        run, one, metrics = final(tmp_path)
        again, later = tiny.resumed(run, tmp_path, 3)
        unbroken = jax.tree.leaves((one[-1], metrics[1:]))
        for a, b in zip(jax.tree.leaves((again, later)), unbroken, strict=True):
            np.testing.assert_array_equal(a, b)
        _, spread, _ = final(parallel__devices=2)
        for a, b in zip(jax.tree.leaves(spread[-1]), jax.tree.leaves(one[-1]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("bound", [view_bounds.donsker_varadhan, None])
def test_bounds_of_a_batch_are_of_all_devices(bound):
    """With their gradients, in the trainer's recipe: each device's part, summed."""
    z = jnp.asarray(np.random.default_rng(1).normal(size=(2, 8, 3)), jnp.float32)
    of = bound or (lambda axis: view_bounds.info_nce(0.3, axis))

    def read(axis):
        def one(z):
            value, pullback = jax.vjp(lambda z: of(axis)(z, {}, None, None)[0, 1], z)
            return value, pullback(jnp.ones_like(value))[0]

        return one

    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.PartitionSpec(None, "data")
    whole = jax.sharding.PartitionSpec()
    mapped = jax.shard_map(read("data"), mesh=mesh, in_specs=rows, out_specs=(whole, rows))
    for ours, theirs in zip(jax.jit(mapped)(z), read(None)(z), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory):
    """A finished run, and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        tiny.know_tiny_network(patch)
        patch.setattr("mcl_jax.data.load", lambda *args, **options: coloured())
        folder = tmp_path_factory.mktemp("views") / "run-3"
        options = config(training__steps=2, evaluation__knn_neighbours=3)
        summary = train_and_evaluate(options, folder)
    return folder, summary


def second(folder, **changes):
    more = {
        "views__channels": "rgb",
        "views__learned": str(folder),
        "views__recipe": "imagenet",
        "method__weights__vcl": 0.0,
        "data__batch_size": 8,
    }
    return tiny.config("simclr", **(more | changes))


def test_a_run_leaves_its_generators_and_pictures(first_stage):
    folder, summary = first_stage
    assert summary["test"]["answers"] == "neighbours"
    views = learned.load(folder / "learned_views.npz")
    assert (views.networks, views.channels, views.generator.hidden) == (2, 0, 3)
    assert any(bool(jnp.any(one["w2"] != 0)) for one in views.params[0])
    with np.load(folder / "pictures.npz") as file:
        assert file.files[:2] == ["images", "red, as it was"]
        assert file.files[-1] == "learned channel 3, seen by network 1"
        assert {file[name].dtype for name in file.files} == {np.dtype("uint8")}
    page = write_page([folder]).read_text()
    assert "learned channel 1, seen by network 0" in page
    assert "nats of what their views share" in page


def test_networks_of_the_second_stage_see_frozen_learned_channels(first_stage):
    folder, _ = first_stage
    named = second(folder.parent / "run-{seed}", seed=3)
    method = create(named, setting(named))
    state = jax.jit(lambda k: states.create(method, k, batch_of(named)))(jax.random.key(0))
    views = learned.load(folder / "learned_views.npz")
    kept = state.extras["views"]["division"]["generators"]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), kept, views.params))
    channels = jax.tree.map(jnp.shape, state.params)
    assert [channels[f"network_{a}"]["encoder"]["conv1"]["kernel"][3] for a in (0, 1)] == [1, 2]
    division = learned_division.Learned(views, (0, 1), (0.1,) * 3, (0.5,) * 3)
    pixels = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    as_learned = (pixels * 0.5 + 0.1 - np.array(views.mean)) / np.array(views.std)
    expected = views.generator.forward(views.params[0], jnp.asarray(as_learned, jnp.float32))
    found = jnp.concatenate(division(jnp.asarray(pixels)), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_networks_with_generators_of_their_own_are_groups_of_their_own(tmp_path):
    generator = Generator(blocks=1)
    params = tuple(generator.init(jax.random.key(a)) for a in range(3))
    learned.save(
        tmp_path / "own.npz", LearnedViews(generator, params, (0.5,) * 3, (0.2,) * 3, 3, 2)
    )
    named = second(tmp_path / "own.npz", method__networks=3)
    params = jax.eval_shape(create(named, setting(named)).init, jax.random.key(0), batch_of(named))[
        0
    ]
    assert sorted(params) == ["network_0", "network_1", "network_2"]
    assert params["network_2"]["encoder"]["conv1"]["kernel"].shape[3] == 2
    with pytest.raises(ConfigError, match=r"method.networks must be 3, each of which has a gener"):
        create(second(tmp_path / "own.npz"), setting(named))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"views__learned": "/nowhere/at.npz"}, r"views.learned: /nowhere/at.npz cannot be read"),
        (
            {"views__channels": "lab"},
            r"views.channels must be rgb, the colour space of .* got 'lab'",
        ),
        ({"method__networks": 3}, r"views.channels wants an even number of method.networks"),
    ],
)
def test_views_that_do_not_go_with_a_run_are_refused(first_stage, changes, said):
    named = second(first_stage[0], **changes)
    with pytest.raises(ConfigError, match=said):
        create(named, setting(named))


def test_a_classifier_that_there_is_not_is_told_by_its_own_field():
    options = config(method__classifier="resnet99")
    with pytest.raises(ConfigError, match=r"^method\.classifier must be one of .*'resnet99'"):
        create(options, setting(options))


def test_a_folder_without_generators_is_told_of(tmp_path):
    named = second(tmp_path)
    with pytest.raises(ConfigError, match=r"has no learned_views\.npz, which a run of method"):
        create(named, setting(named))


def test_weights_of_a_sweep_are_inputs_of_the_program():
    options = config()
    first, other = (
        create(x, setting(x)) for x in (options, config(method__information_weight=0.3))
    )
    batch = batch_of(options)
    params, extras = jax.jit(first.init)(jax.random.key(0), batch)
    changed = {**extras, **other.given()}

    def loss(method, extras):
        key = jax.random.key(1)
        made, after = method.embed(params, extras, batch, key, True)
        return method.objective(made, after, batch, key)[0]["generators"]

    assert loss(first, changed) == loss(other, changed) != loss(first, extras)


def test_a_damaged_file_and_seeds_together_are_refused(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    named = second(tmp_path / "bad.npz")
    with pytest.raises(ConfigError, match=r"views.learned: .*bad.npz holds no learned views"):
        create(named, setting(named))
    seeds = [second("runs/views-{seed}", seed=seed) for seed in (0, 1)]
    with pytest.raises(
        ConfigError, match=r"want one file of views.learned, but \{seed\} names one"
    ):
        train_together(seeds, [tmp_path / "0", tmp_path / "1"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method__networks": 3}, "method.networks must be even for method.generators shared"),
        (
            {"method__networks": 1, "method__generators": "own"},
            "method.networks must be 2 or more for method.generators own",
        ),
        ({"method__seen_channels": 2}, "method.seen_channels is for method.generators own"),
        (
            {"method__information_weight": 0.0, "method__class_weight": 0.0},
            "method.information_weight and method.class_weight are both 0",
        ),
        ({"data__sampler": "per_class"}, "data.sampler must be shuffled for a bound"),
        ({"data__labelled_batch": 0}, "data.labelled wants data.labelled_batch above 0"),
        ({"data__labelled_batch": 11}, "data.labelled_batch must be at most data.labelled, and"),
        (
            {"model__norm": "grouped", "model__norm_groups": 3},
            "model.norm_groups must divide data.labelled_batch and the other rows of a batch, "
            "4 and 8, got 3",
        ),
        (
            {"model__norm": "local", "data__labelled_batch": 1, "data__labelled": 4},
            "data.labelled_batch must give batch statistics two rows or more, and leave as many, "
            "got 1 of 12 in 1 parts",
        ),
        (
            {"method__generators": "own", "model__shared_stages": 1},
            "model.shared_stages must be 0 for method.generators own",
        ),
        ({"method__topology": "ring"}, "method.topology and method.pair_weights are for terms"),
        (
            {"method__bound": "dv", "method__head": "simclr"},
            "method.head must be linear for method.bound dv",
        ),
        ({"training__micro_batches": 3}, "must be multiples of devices times micro-batches, 3"),
    ],
)
def test_contradictions_are_told(changes, said):
    with pytest.raises(ConfigError, match=said):
        config_lib.check(config(**changes))


def test_learned_views_want_a_colour_space():
    with pytest.raises(ConfigError, match=r"views.learned wants views.channels"):
        config_lib.check(second("file.npz", views__channels=""))
