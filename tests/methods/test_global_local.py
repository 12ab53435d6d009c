"""Global and local representations: a step in NumPy, gradients, devices, resuming, looks."""

import functools
import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))

import flax.linen as nn
import global_local_equations as reference
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from test_equality import relative

from mcl_jax import cohort, data, losses, methods, models
from mcl_jax import config as config_lib
from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.config import looks as config_looks
from mcl_jax.data import Batch, Dataset, Split
from mcl_jax.methods import Setting, looks, networks, prediction_terms
from mcl_jax.models import registry
from mcl_jax.models.blocks import Layers
from mcl_jax.training.state import Stream, stream
from mcl_jax.views.draws import row_keys

B, N, D, F, K, STEPS = 16, 64, 8, 12, 24, 4
SMALL = {"method__head_width": 10, "method__predictor_width": 6, "method__embedding_dim": D}
MIXED = {
    "method__networks": 2,
    "method__queries": "global,local+crops",
    "method__targets": "local,global",
    "method__neighbours": 0,
    "method__views": 2,
    "method__local_weight": 0.0,
    "model__name": "pixels",
    "views__recipe": "imagenet",
    "views__small_crops": 2,
    "views__small_scale": (0.2, 0.5),
    "views__small_size": 4,
}


class PixelEncoder(nn.Module):
    """The mean of ReLU(W x + b) over pixels, for images of any size, and no classes."""

    num_classes: int
    layers: Layers = Layers()
    stages = 1

    @nn.compact
    def __call__(self, images, train=False):
        layer = nn.Dense(F, name="pixels", param_dtype=self.layers.param_dtype)
        features = nn.relu(layer(images)).mean(axis=(1, 2))
        return jnp.zeros((len(images), self.num_classes)), features


@pytest.fixture(scope="module", autouse=True)
def _small_networks():
    with pytest.MonkeyPatch.context() as patch:
        tiny.know_tiny_network(patch)
        patch.setitem(registry._ENCODERS, "pixels", PixelEncoder)
        yield


def colours():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 8, 8, 3)).astype(np.uint8)
    images = (images * rng.uniform(0.2, 1, (N, 1, 1, 3))).astype(np.uint8)
    split = Split((np.arange(N) % 4).astype(np.int32), images=images)
    return Dataset("colours", split, split, split, tuple("0123"), "made up")


def configured(**changes):
    own = {"model__name": "pixels", "method__networks": 1, "method__neighbours": K}
    own |= {"views__recipe": "moco_v2", "data__mean": (0.4, 0.5, 0.6), "data__std": (0.3,) * 3}
    return tiny.config("global_local", **{**own, **SMALL, **changes})


def setting(**changes):
    made = Setting(4, (0.4, 0.5, 0.6), (0.3,) * 3, Axes(), 1, optax.sgd(0.1), (8, 8, 3))
    return made._replace(**changes)


def of_one(tree):
    """The arrays of the only network, in float64 NumPy, with an encoder as the reference has it."""
    tree = jax.tree.map(lambda x: np.asarray(x[0], np.float64), tree["network_0"])
    if "encoder" in tree:
        tree["encoder"] = tree["encoder"].get("pixels", tree["encoder"])
    return tree


def batch_of(config, number, images):
    """The views of a step, as the networks get them."""
    networks_of = networks.build(config, setting())
    sees = looks.looking(config, setting(), networks_of, 3, {"global"})
    key = jax.random.key(config.seed)
    rows = data.draw(data.shuffled(N, B), stream(key, Stream.DATA), number)
    for_views, _ = jax.random.split(jax.random.fold_in(stream(key, Stream.STEP), number))
    keys = row_keys(for_views, jnp.arange(B))

    @jax.jit
    def views(keys, images):
        return [sees.whole.view(v, keys, images)[0] for v in range(3)]

    return jax.device_get(views(keys, images[rows]))


@pytest.mark.parametrize("gradient", [True, False])
def test_two_steps_are_those_of_the_equations(gradient):
    """From the paper's equations by whoever did not know this library; steps of plain SGD."""
    config = configured(
        model__dtype="float64",
        views__recipe="cifar",
        method__local_gradient=gradient,
        optimizer__momentum=0.0,
        optimizer__weight_decay=0.0,
        optimizer__clip_norm=0.0,
        optimizer__schedule="constant",
        optimizer__constant=(),
        optimizer__learning_rate=0.5,
        data__batch_size=B,
    )
    with jax.enable_x64(True):
        _, states, metrics = tiny.trajectory(config, colours(), 2)
        state, images = states[0], jnp.asarray(colours().train.images)
        params, momentum = of_one(state.params), of_one(state.extras["momentum"]["params"])
        stats = of_one(state.extras["batch_stats"])
        slow_stats = of_one(state.extras["momentum"]["batch_stats"])
        bank, cursor = np.asarray(state.extras["queue"].keys[0], np.float64), 0
        for number in range(2):
            views = batch_of(config, number, images)
            expected = reference.step(
                params,
                stats,
                momentum,
                slow_stats,
                bank,
                cursor,
                views,
                local_weight=1.0,
                global_weight=6.0,
                temperature=1.0,
                ema=0.99,
                local_gradient=gradient,
            )
            said, state = metrics[number], states[number + 1]
            for name in ("loss", "local_loss", "global_loss"):
                assert relative(said[name], expected[name]) < 1e-9, name
            params = jax.tree.map(lambda x, g: x - 0.5 * g, params, expected["gradients"])
            stats, slow_stats = expected["stats"], expected["momentum_stats"]
            momentum, bank, cursor = (expected[x] for x in ("momentum", "bank", "cursor"))
            found = {
                "params": (of_one(state.params), params),
                "momentum": (of_one(state.extras["momentum"]["params"]), momentum),
                "stats": (of_one(state.extras["batch_stats"]), stats),
                "slow stats": (of_one(state.extras["momentum"]["batch_stats"]), slow_stats),
                "bank": (np.asarray(state.extras["queue"].keys[0]), bank),
            }
            for ours, theirs in found.values():
                # Of some numbers, such as a bias that a normalisation takes off, there is no more
                # than rounding.
                jax.tree.map(
                    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-10), ours, theirs
                )
            assert int(state.extras["queue"].cursor) == cursor


def trained(data_set=None, folder=None, **changes):
    options = {"model__dtype": "float64", "model__norm": "grouped", "model__norm_groups": 4}
    with jax.enable_x64(True):
        options |= {"views__recipe": "cifar"}
        config = configured(**{**options, **changes})
        return tiny.trajectory(config, data_set or colours(), STEPS, folder)


def assert_same(found, expected):
    (_, states, said), (_, others, told) = found, expected
    # A bias that a normalisation takes off again is no more than rounding.
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-10),
        (others[-1], told),
        (states[-1], said),
    )


@pytest.fixture(scope="module")
def paper_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(scope="module")
def paper(paper_folder):
    return trained(folder=paper_folder, method__networks=2)


def test_devices_and_micro_batches_change_nothing(paper):
    changes = {"parallel__devices": 4, "parallel__cohort_devices": 2, "training__micro_batches": 2}
    assert_same(trained(method__networks=2, **changes), paper)


def test_a_mixed_cohort_is_the_same_on_devices_and_after_a_kill(tmp_path):
    run, states, metrics = trained(folder=tmp_path, **MIXED)
    with jax.enable_x64(True):
        found = tiny.resumed(run, tmp_path, STEPS)
    same = jax.tree.map(np.array_equal, found, (states[-1], metrics[STEPS // 2 :]))
    assert all(jax.tree.leaves(same))
    assert_same(trained(**MIXED, parallel__devices=2), (run, states, metrics))


def test_the_papers_run_goes_on_bit_for_bit(paper, paper_folder):
    run, states, metrics = paper
    with jax.enable_x64(True):
        found = tiny.resumed(run, paper_folder, STEPS)
    same = jax.tree.map(np.array_equal, found, (states[-1], metrics[STEPS // 2 :]))
    assert all(jax.tree.leaves(same))


def built(**changes):
    config = configured(**{"views__recipe": "cifar", **changes})
    config_lib.check(config)
    return config, methods.create(config, setting(steps=8))


def outputs_of(method, train=True):
    """A batch, first extras, and what `embed` makes of them."""
    rows = jnp.arange(B, dtype=jnp.int32)
    batch = Batch(jnp.asarray(colours().train.images[:B]), rows, rows, rows)
    params, extras = jax.jit(method.init)(jax.random.key(0), batch)
    embed = jax.jit(method.embed, static_argnums=4)
    return params, extras, batch, embed(params, extras, batch, jax.random.key(1), train)[0]


def test_gradients_flow_into_predictions_alone():
    names = ("local_loss", "global_loss")
    _, method = built()
    params, extras, batch, made = outputs_of(method)

    def of_outputs(made, method=method):
        metrics = method.objective(made, extras, batch, None)[1][1]
        return {name: metrics[name] for name in names}

    def of_networks(params, slow):
        own = {**extras, "momentum": {**extras["momentum"], "params": slow}}
        return of_outputs(method.embed(params, own, batch, jax.random.key(1), True)[0])

    def flowing(method):
        found = jax.jit(jax.jacrev(functools.partial(of_outputs, method=method)))(made)
        return {
            name: {kind for kind, x in found[name].items() if np.any(np.abs(x) > 1e-9)}
            for name in names
        }

    assert flowing(method) == {name: {"predictions"} for name in names}
    released = built(method__local_gradient=False)[1]
    assert flowing(released) == {"local_loss": set(), "global_loss": {"predictions"}}

    moved = jax.jit(jax.jacrev(of_networks, (0, 1)))(params, extras["momentum"]["params"])
    for name in names:
        of_params, of_slow = moved[name]
        assert not any(np.any(x) for x in jax.tree.leaves(of_slow))
        for part in ("encoder", "head", "predictor"):
            assert any(np.any(x) for x in jax.tree.leaves(of_params["network_0"][part])), part


def test_momentum_networks_have_no_predictor_and_may_rise_to_one():
    _, method = built(method__momentum=0.5, method__momentum_schedule="cosine")
    params, extras, batch, _ = outputs_of(method)
    assert set(extras["momentum"]["params"]["network_0"]) == {"encoder", "head"}
    params = jax.tree.map(jnp.ones_like, params)
    extras = {**extras, "momentum": jax.tree.map(jnp.zeros_like, extras["momentum"])}
    kept = []
    for _ in range(3):
        zero = {**extras, "momentum": jax.tree.map(jnp.zeros_like, extras["momentum"])}
        extras, _ = method.begin(params, zero, batch)
        leaf = jax.tree.leaves(extras["momentum"]["params"])[0]
        kept.append(1 - float(leaf.ravel()[0]))
    expected = 1 - 0.5 * (1 + np.cos(np.pi * np.arange(3) / 8)) / 2
    np.testing.assert_allclose(kept, expected, rtol=1e-6)


def of_setting(name):
    own = {key: value for key, value in config_lib.PREDICTIVE[name].items() if "." in key}
    own = {key.replace(".", "__"): value for key, value in own.items()}
    small = {key: min(SMALL[key], own.get(key, 99)) for key in SMALL}
    stored = {"method__neighbours": min(own.get("method__neighbours", K), K)}
    return built(**{**own, **small, **stored})


def drawn_outputs(method):
    """Normal numbers of the shapes of what `embed` makes, of first extras and of a batch."""
    rows = jnp.arange(B, dtype=jnp.int32)
    batch = Batch(jnp.asarray(colours().train.images[:B]), rows, rows, rows)
    params, extras = jax.eval_shape(method.init, jax.random.key(0), batch)

    def embed(params, extras, batch):
        return method.embed(params, extras, batch, jax.random.key(1), True)[0]

    made = jax.eval_shape(embed, params, extras, batch)
    rng = np.random.default_rng(0)

    def drawn(x):
        of_floats = jnp.issubdtype(x.dtype, jnp.floating)
        return jnp.asarray(rng.normal(size=x.shape) if of_floats else np.zeros(x.shape), x.dtype)

    return *jax.tree.map(drawn, (made, extras)), batch


def unit(x):
    return losses.l2_normalize(x)


def nearest(bank, x):
    return bank[jnp.argmax(unit(x) @ unit(bank).T, axis=1)]


def cross_entropy(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(len(logits))).mean()


def published_loss(name, views, made, extras):
    """Each written from its paper."""
    p = [made["predictions"][0, :, v] for v in range(views)]
    t = [made["targets"][0, :, v, 0] for v in range(2)]
    if name == "simsiam":
        cosines = [jnp.sum(unit(p[v][:, 0]) * unit(t[1 - v]), 1).mean() for v in (0, 1)]
        return 1 - sum(cosines) / 2  # theirs, of which 1 is left out
    if name == "byol":
        return sum(losses.cosine_regression(p[v][:, 0], t[1 - v]).mean() for v in (0, 1))
    if name == "nnclr":
        of = [unit(nearest(extras["queue"].keys[0], x)) for x in t]
        return sum(cross_entropy(of[v] @ unit(p[1 - v][:, 0]).T / 0.1) for v in (0, 1)) / 2
    pairs = [(v, c) for v in (0, 1) for c in range(6)]
    if name == "fast_moco":
        return sum(cross_entropy(unit(p[v][:, c]) @ unit(t[1 - v]).T) for v, c in pairs) / 12
    k = [made["local"][0, :, v] for v in range(2)]
    local = [cross_entropy(unit(p[v][:, 0]) @ unit(k[1 - v][:, c]).T) for v, c in pairs]
    ends = [(unit(t[v]), unit(p[2 - 2 * v][:, 0])) for v in (0, 1)]
    return sum(local) / 12 + 6 * sum(losses.nt_xent(*x, temperature=1.0) for x in ends) / 2


@pytest.mark.parametrize("name", ["simsiam", "byol", "nnclr", "fast_moco", "no_neighbour"])
def test_settings_are_the_papers_losses(name):
    config, method = of_setting(name)
    made, extras, batch = drawn_outputs(method)
    found = jax.jit(method.objective, static_argnums=3)(made, extras, batch, None)[0]
    expected = jax.jit(published_loss, static_argnums=(0, 1))(
        name, config.method.views, made, extras
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_targets_by_itself_are_what_its_own_head_says():
    _, method = of_setting("simsiam")
    _, extras, _, made = outputs_of(method)
    assert "momentum" not in extras
    assert "queue" not in extras
    again = built(
        method__queries="local",
        **{
            "method__views": 2,
            "method__local_weight": 0.0,
            "method__neighbours": 0,
            "method__contrast": "cosine",
            "method__target_network": "online",
            "method__head": "simsiam",
        },
    )[1]
    _, _, _, other = outputs_of(again)
    assert other["predictions"].shape == (1, B, 2, 6, D)
    assert other["targets"].shape == (1, B, 2, 1, D)
    np.testing.assert_allclose(other["targets"], made["targets"], rtol=1e-5, atol=1e-6)


def test_looks_are_crops_and_means_of_quarters():
    _, method = built(**MIXED)
    made = outputs_of(method)[3]
    assert made["predictions"].shape == (2, B, 2, 8, D)  # of 1, and of 6 and 2, for an image
    assert made["targets"].shape == (2, B, 2, 6, D)  # of 6, and of 1
    for repeated in (made["predictions"][0], made["targets"][1]):
        wide = jnp.broadcast_to(repeated[:, :, :1], repeated.shape)
        np.testing.assert_array_equal(repeated, wide)
    for each in (made["predictions"][1], made["targets"][0]):
        assert not np.allclose(each[:, :, 0], each[:, :, 1])
    assert not np.allclose(made["predictions"][1, :, :, 6], made["predictions"][1, :, :, 7])


def test_streamed_images_bring_crops_for_all_views():
    config = configured(**MIXED)
    method = methods.create(config, setting(cropped=True))
    assert len(method.crop) == 2 + 2 * 2
    assert {crop.size for crop in method.crop} == {method.crop[0].size}
    assert [crop.scale for crop in method.crop[2:]] == [(0.2, 0.5)] * 4
    rows = jnp.arange(B, dtype=jnp.int32)
    images = np.random.default_rng(0).integers(0, 256, (B, 6, 8, 8, 3)).astype(np.uint8)
    batch = Batch(jnp.asarray(images), rows, rows, rows)
    params, extras = jax.jit(method.init)(jax.random.key(0), batch)
    embed = jax.jit(method.embed, static_argnums=4)
    made, _ = embed(params, extras, batch, jax.random.key(1), True)
    changed = batch._replace(images=batch.images.at[:, 2 + 2 * 1].set(0))  # the second view's first
    other, _ = embed(params, extras, changed, jax.random.key(1), True)
    differs = np.any(made["predictions"] != other["predictions"], axis=(1, 3, 4))
    assert differs.tolist() == [[False, False], [False, True]]


REFUSED = [
    ({"method__queries": "global,local"}, "method.queries must be looks of all networks, or of "
     "each of the 3 networks of method.networks, got 'global,local'."),
    ({"method__queries": "globl"}, "method.queries must be of global, local, crops, different "
     "ones joined by +, got 'globl'."),
    ({"method__queries": "local+local"}, "method.queries must be of global, local, crops, "
     "different ones joined by +, got 'local+local'."),
    ({"method__targets": "crops"}, "method.targets must be of global, local, different ones "
     "joined by +, got 'crops'."),
    ({"method__head": "mocov2"}, "method.head must be one of byol, simsiam, fast_moco, which a "
     "predictor can follow, got mocov2."),
    ({"method__queries": "crops"}, "views.small_crops must be above 0 for method.queries with "
     "crops and 0 for others, got 0 with crops."),
    ({"views__small_crops": 2}, "views.small_crops must be above 0 for method.queries with crops "
     "and 0 for others, got 2 with global."),
    ({"method__global_weight": 0.0, "method__local_weight": 0.0, "method__views": 2},
     "method.global_weight and method.local_weight are both 0: nothing is learned."),
    ({"method__local_weight": 0.0, "method__views": 2, "method__local_gradient": False},
     "method.local_gradient false wants method.global_weight and local_weight above 0: it is for "
     "the local loss, which then teaches nothing."),
    ({"method__global_weight": 0.0, "method__neighbours": 8},
     "method.global_weight 0 learns of no targets, so that neither neighbours nor a momentum "
     "network have a use: method.neighbours must be 0 and method.target_network online."),
    ({"method__local_weight": 0.0}, "method.views must be 2 with method.global_weight or "
     "local_weight 0: only both losses have use for three views, got 3."),
    ({"views__small_scale": (0.5, 0.2)}, "views.small_scale must be two shares of the area in "
     "order, 0 < least <= largest <= 1, got (0.5, 0.2)."),
    ({"views__small_size": 4}, "views.small_size is for views.small_crops, of which there are "
     "none, got 4."),
    ({"method__targets": "local"}, "method.neighbours wants method.targets global, one for each "
     "image, got local."),
    ({"method__contrast": "cosine", "method__weights__soft_icl": 1.0}, "method.contrast cosine "
     "has no distributions: method.weights.soft_vcl and soft_icl must be 0."),
    ({"method__contrast": "cosine", "method__chunk_size": 8}, "method.chunk_size is for "
     "contrasts with all rows of a batch, and method.contrast cosine has none, got 8."),
    ({"method__target_network": "online", "method__momentum_schedule": "cosine"},
     "method.momentum_schedule is for method.target_network momentum, got cosine with online."),
    ({"method__queries": "global,local,global", "parallel__cohort_devices": 3},
     "parallel.cohort_devices above 1 wants all networks to look alike: only like networks are "
     "split over devices."),
    ({"method__queries": "global,local,global", "model__shared_stages": 1},
     "model.shared_stages wants all networks to look alike: only like networks share."),
    ({"model__name": "vit_tiny"}, "method global_local wants a model.name that takes images of "
     "any size where it looks at parts of them, got vit_tiny."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
def test_what_contradicts_itself_is_refused(changes, sentence):
    config = configured(**{"method__networks": 3, **changes})
    with pytest.raises(ConfigError) as caught:
        config_lib.check(config, 1)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("changes", "shape", "sentence"),
    [
        ({"views__size": 7}, (8, 8, 3), "views must have even sides to be split for a local look, "
         "got 7 x 7; views.size sets them, of a views.recipe with a crop."),
        ({"views__recipe": "cifar", "method__queries": "crops", "views__small_crops": 2},
         (8, 8, 3), "views.small_crops wants a views.recipe that begins with a crop, got cifar."),
    ],
)  # fmt: skip
def test_views_that_cannot_be_looked_at_are_refused(changes, shape, sentence):
    config = configured(**changes)
    config_lib.check(config, 1)
    with pytest.raises(ConfigError) as caught:
        methods.create(config, setting(image_shape=shape))
    assert str(caught.value) == sentence


def test_a_frozen_network_has_a_file_with_a_predictor(tmp_path):
    config = configured(method__networks=2, method__frozen=(1,))
    with pytest.raises(ConfigError, match=r"method\.frozen holds 1"):
        methods.create(config, setting()).read()
    variables = {
        "params": {"network_0": {name: {"x": np.zeros(1)} for name in ("encoder", "head")}}
    }
    cohort.save_member(tmp_path / "of_moco.npz", variables, 0)
    config.model.weights = ("", str(tmp_path / "of_moco.npz"))
    with pytest.raises(ConfigError, match="of network 1 have no predictor, which would stay as it"):
        methods.create(config, setting()).read()


def shapes_of_a_step(method, images):
    """Parameters, extras before and after, loss and outputs, as shapes and dtypes."""
    rows = jnp.arange(B, dtype=jnp.int32)

    def step(key, images):
        batch = Batch(images, rows, rows, rows)
        params, extras = method.init(key, batch)
        begun, dealt = method.begin(params, extras, batch)
        outputs, begun = method.embed(params, begun, dealt, key, True)
        loss, (after, _) = method.objective(outputs, begun, dealt, key)
        return params, extras, after, loss, outputs

    key = jax.eval_shape(lambda: jax.random.key(0))
    found = jax.eval_shape(step, key, jax.ShapeDtypeStruct(images, jnp.uint8))
    params, extras, after, loss, outputs = found
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), extras
    )
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    return params, after, outputs


KINDS = [
    {"model__name": "tiny,tiny_wide", "method__frozen": (1,)},
    {"model__name": "tiny", "model__shared_stages": 1},
    {"model__name": "tiny", "model__dtype": "bfloat16", "method__chunk_size": 8},
    {"views__channels": "lab"},
    {**MIXED, "views__channels": "lab"},
]


@pytest.mark.parametrize(
    "changes", KINDS, ids=["unlike", "branches", "bfloat16", "channels", "parts of channels"]
)
def test_any_cohort_makes_a_step(changes):
    options = {"method__networks": 2, "views__recipe": "imagenet"}
    config = configured(**{**options, **changes})
    config_lib.check(config, 1)
    for cropped in (False, True):
        method = methods.create(config, setting(cropped=cropped, steps=8))
        shown = (len(method.crop),) if cropped else ()
        _, _, outputs = shapes_of_a_step(method, (B, *shown, 8, 8, 3))
        assert {(x.shape[0], x.shape[-1]) for x in jax.tree.leaves(outputs)} == {(2, D)}


# Momentum and its schedule, temperature, weight of the global loss, sizes of the head's and the
# predictor's hidden layers and of embeddings, neighbours, networks that make targets; each paper's.
PUBLISHED = {
    "global_local": (0.99, "constant", 1.0, 6.0, 2048, 512, 2048, 16_384, "momentum"),
    "no_local": (0.99, "constant", 1.0, 6.0, 2048, 512, 2048, 16_384, "momentum"),
    "no_neighbour": (0.99, "constant", 1.0, 6.0, 2048, 512, 2048, 0, "momentum"),
    "fast_moco": (0.99, "constant", 1.0, 1.0, 2048, 512, 2048, 0, "momentum"),
    "nnclr": (None, "constant", 0.1, 1.0, 2048, 4096, 256, 16_384, "online"),
    "byol": (0.996, "cosine", None, 2.0, 4096, 4096, 256, 0, "momentum"),
    "simsiam": (None, "constant", None, 0.5, 2048, 512, 2048, 0, "online"),
}


@pytest.mark.parametrize("name", list(config_lib.PREDICTIVE))
def test_every_setting_has_its_papers_numbers_and_makes_a_step(name):
    for native in (False, True):
        config = config_lib.predictive(name, native)
        config_lib.check(config, 8)
        assert config.views.size == (0 if native else 224)
        assert (config.optimizer.learning_rate, config.optimizer.clip_norm) == (0.1, 1.0)
        options = config.method
        found = [options.momentum, options.momentum_schedule, options.temperature]
        found += [options.global_weight, options.head_width, options.predictor_width]
        found += [options.embedding_dim, options.neighbours, options.target_network]
        numbers = [
            x if y is not None else None for x, y in zip(found, PUBLISHED[name], strict=True)
        ]
        assert tuple(numbers) == PUBLISHED[name]
    params, after, _ = shapes_of_a_step(of_setting(name)[1], (B, 8, 8, 3))
    assert ("momentum" in after) == (config.method.target_network == "momentum")
    paths = ["/".join(x.key for x in path) for path, _ in jax.tree.leaves_with_path(params)]
    for part in config.optimizer.constant:
        assert any(part in path for path in paths)


def test_names_of_heads_and_forms_are_those_of_the_networks_and_of_the_contrast():
    assert config_looks.HEADS == models.BEFORE_PREDICTORS
    choices = config_lib.own_fields("global_local")["method.contrast"].choices
    assert set(choices) == set(prediction_terms.FORMS)


def test_targets_by_itself_and_their_neighbours_are_the_same_on_devices_and_after_a_kill(tmp_path):
    """As of NNCLR, of two networks."""
    options = {"method__target_network": "online", "method__contrast": "targets"}
    options |= {"method__views": 2, "method__local_weight": 0.0, "method__networks": 2}
    run, states, metrics = trained(folder=tmp_path, **options)
    with jax.enable_x64(True):
        found = tiny.resumed(run, tmp_path, STEPS)
    same = jax.tree.map(np.array_equal, found, (states[-1], metrics[STEPS // 2 :]))
    assert all(jax.tree.leaves(same))
    spread = trained(parallel__devices=4, parallel__cohort_devices=2, **options)
    assert_same(spread, (run, states, metrics))


def test_an_unknown_setting_is_refused():
    with pytest.raises(ConfigError, match=r"^name must be one of global_local, .*, got 'swav'\.$"):
        config_lib.predictive("swav")
    for arg in ("swav", "byol_smoke_native", "_smoke", "nativesmoke"):
        with pytest.raises(
            ConfigError, match="the part of --config behind the colon must be smoke, or one"
        ):
            config_lib.split_predictive(arg)


def test_members_go_from_method_to_method_with_and_without_predictors(tmp_path):
    made = {"model__name": "tiny", "method__head": "byol", "method__embedding_dim": D}
    own = configured(**{**made, "method__head_width": 4096})
    _, state, _ = tiny.run_steps(own, colours(), 0)
    variables = {"params": state.params, "batch_stats": state.extras["batch_stats"]}
    file = tmp_path / "member.npz"
    cohort.save_member(file, variables, 0)
    plain = tiny.config("moco", method__networks=1, method__queue_size=16, **made)
    plain.model.weights = (str(file),)
    _, other, _ = tiny.run_steps(plain, colours(), 0)
    assert set(other.params["network_0"]) == {"encoder", "head"}
    same = jax.tree.map(
        np.array_equal, other.params["network_0"]["head"], state.params["network_0"]["head"]
    )
    assert all(jax.tree.leaves(same))
    bare = {
        kind: {"network_0": {part: tree["network_0"][part] for part in ("encoder", "head")}}
        for kind, tree in variables.items()
    }
    cohort.save_member(file, bare, 0)
    own.model.weights = (str(file),)
    _, again, _ = tiny.run_steps(own, colours(), 0)
    assert set(again.params["network_0"]) == {"encoder", "head", "predictor"}
    for part in ("encoder", "head"):
        follows = jax.tree.map(
            np.array_equal,
            again.extras["momentum"]["params"]["network_0"][part],
            state.params["network_0"][part],
        )
        assert all(jax.tree.leaves(follows))
