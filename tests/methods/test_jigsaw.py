"""The jigsaw branch: its patches and orders, its share of a step, any mesh, and what it refuses."""

import pathlib
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny
from test_equality import relative

from mcl_jax import cohort, methods, views
from mcl_jax import config as config_lib
from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.methods import Setting, jigsaw, networks, pretrained, seeing
from mcl_jax.models import registry
from mcl_jax.models.blocks import Layers

GRAY = Setting(4, (0.5,), (0.25,), Axes(), 1, optax.sgd(0.1), (8, 8, 1))


class Speck(nn.Module):
    """A layer of each pixel, normalised: what compiles at once and has batch statistics."""

    num_classes: int
    layers: Layers = Layers()
    stages = 1

    @nn.compact
    def __call__(self, images, train=False):
        layers = self.layers
        x = layers.conv(6, 1, name="conv1")(layers.enter(images))
        features = layers.pool(nn.relu(layers.norm("bn1")(x, train)))
        return layers.classifier(features, self.num_classes, name="classifier"), features


@pytest.fixture(scope="module", autouse=True)
def _speck():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._ENCODERS, "speck", Speck)
        tiny.know_tiny_network(patch)
        yield


def config(method="moco", share=0.5, **changes):
    own = {"queue_size": 32} if method == "moco" else {"negatives": 12}
    fields = {f"method__{name}": value for name, value in own.items()}
    model = {"model__name": "speck", "model__norm": "grouped", "model__norm_groups": 4}
    return tiny.config(method, method__jigsaw=share, **fields | model | changes)


def trained(method="moco", steps=2, **changes):
    """The states from the start on, and the metrics of each step."""
    made = config(method, model__dtype="float64", **changes)
    with jax.enable_x64(True):
        _, states, metrics = tiny.trajectory(made, tiny.dataset(), steps)
    return states, metrics


@pytest.fixture(scope="module")
def one():
    return trained()


def test_devices_networks_and_micro_batches_change_nothing(one):
    several = {"parallel__devices": 4, "parallel__cohort_devices": 2, "training__micro_batches": 2}
    worst = jax.tree.map(relative, trained(**several), one)
    assert max(jax.tree.leaves(worst)) < 1e-9


def test_the_branch_has_its_share_of_the_loss_and_nothing_of_the_keys(one):
    (states, metrics), (plain_states, plain) = one, trained(share=0.0, steps=1)
    said, alone = metrics[0], plain[0]
    terms = ("vcl", "soft_vcl", "icl", "soft_icl")
    np.testing.assert_allclose([said[x] for x in terms], [alone[x] for x in terms], rtol=1e-12)
    loss = 0.5 * alone["loss"] + 0.5 * said["jigsaw"]
    np.testing.assert_allclose(said["loss"], loss, rtol=1e-12)
    assert "jigsaw" not in alone
    # Keys and their networks' statistics never see patches; the networks' statistics move twice.
    for part in (lambda x: x["momentum"]["batch_stats"], lambda x: x["queue"]):
        found, expected = part(states[1].extras), part(plain_states[1].extras)
        worst = jax.tree.map(relative, found, expected)
        assert max(jax.tree.leaves(worst)) < 1e-12
    fast = [x[1].extras["batch_stats"] for x in (states, plain_states)]
    assert max(jax.tree.leaves(jax.tree.map(relative, *fast))) > 1e-3


def built(share=0.5, shape=(32, 32, 3), cropped=False, **changes):
    """A branch of tiny networks."""
    made = config(share=share, **changes)
    setting = Setting(4, (0.5,) * 3, (0.25,) * 3, Axes(), 1, optax.sgd(0.1), shape, cropped=cropped)
    cohorts = networks.build(made, setting)
    return jigsaw.branch(made, setting, cohorts, seeing.seeing(made, setting, cohorts, 2))


def test_a_share_of_zero_has_no_parameters_and_the_others_start_as_they_do_with_it():
    def start(share):
        made = config(share=share)
        both = networks.build(made, GRAY)
        variables = jax.jit(lambda key: cohort.init(both, key, jnp.zeros((1, 8, 8, 1))))
        return variables(jax.random.key(0))["params"]["networks_0_to_1"]

    with_branch, without = start(0.5), start(0.0)
    assert set(with_branch) - set(without) == {"jigsaw"}
    rest = {part: with_branch[part] for part in without}
    jax.tree.map(np.testing.assert_array_equal, rest, without)
    assert built(share=0.0) is None


def test_each_network_and_image_has_its_own_order():
    orders = jax.jit(built(method__networks=3).orders)(jax.random.split(jax.random.key(0), 5))
    np.testing.assert_array_equal(
        np.sort(orders, axis=-1), np.broadcast_to(np.arange(9), (3, 5, 9))
    )
    assert len({tuple(order) for order in np.asarray(orders).reshape(-1, 9)}) == 15


def test_patches_are_those_of_the_views_module_normalised_an_image_together():
    keys = jax.random.split(jax.random.key(0), 4)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    branch = built()
    found = jax.jit(branch.patches)(keys, jnp.asarray(images))
    assert [x.shape for x in found] == [(36, 8, 8, 3)]
    cut = jax.jit(views.jigsaw)(views.draws.folded(keys, jigsaw._CUTS), jnp.asarray(images))
    expected = (np.swapaxes(cut, 0, 1).reshape(36, 8, 8, 3) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_of_images_that_the_host_crops_the_last_crop_is_cut_whole():
    branch = built(cropped=True, views__recipe="moco_v2", views__flip=False)
    assert [crop.scale for crop in branch.crop] == [(0.2, 1.0), (0.2, 1.0), (0.6, 1.0)]
    keys = jax.random.split(jax.random.key(0), 4)
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 30, 30, 3)).astype(np.uint8)
    found = np.asarray(jax.jit(branch.patches)(keys, jnp.asarray(images))[0])
    found = found.reshape(4, 9, 8, 8, 3)
    whole = (images[:, 2] / 255 - 0.5) / 0.25
    for image, patches in zip(whole, found, strict=True):
        for place, patch in enumerate(patches):
            row, column = 10 * (place // 3), 10 * (place % 3)
            cuts = [
                np.abs(image[row + i : row + i + 8, column + j : column + j + 8] - patch).max()
                for i in range(3)
                for j in range(3)
            ]
            assert min(cuts) < 1e-5


def test_what_cannot_have_patches_is_refused():
    nce = config("instance_discrimination", method__form="nce")
    with pytest.raises(ConfigError, match=r"method.jigsaw is for method.form softmax, got 0.5"):
        config_lib.check(nce)
    held = config(method__frozen=(1,), model__weights=("", "some.npz"))
    with pytest.raises(ConfigError, match=r"method.jigsaw wants networks that all learn"):
        config_lib.check(held)
    with pytest.raises(ConfigError, match=r"method.jigsaw wants a model.name that takes images of"):
        config_lib.check(config(model__name="vit_tiny"))
    plain = networks.build(config(share=0.0), GRAY)
    zeros = jnp.zeros((9, 8, 8, 1))
    variables = jax.eval_shape(lambda: cohort.init(plain, jax.random.key(0), zeros))
    order = jnp.zeros((2, 1, 9), int)
    with pytest.raises(ValueError, match=r"jigsaw must be a head to embed patches, got None"):
        jax.eval_shape(lambda v: cohort.apply_patches(plain, v, zeros, order), variables)


def test_a_file_with_a_jigsaw_head_starts_networks_without_one():
    made = config(share=0.5), config(share=0.0)
    solving, plain = (networks.build(x, GRAY) for x in made)
    images = jnp.zeros((1, 8, 8, 1))
    first, second = (
        jax.jit(lambda key, x=x: cohort.init(x, key, images))(jax.random.key(seed))
        for seed, x in enumerate((solving, plain))
    )
    stored = {"1": cohort.select(first, 1)}
    params, _ = pretrained.load(second["params"], {"batch_stats": second["batch_stats"]}, stored)
    found = params["networks_0_to_1"]
    assert set(found) == {"encoder", "head"}
    for place, source in enumerate((second, first)):
        expected = {part: source["params"]["networks_0_to_1"][part] for part in found}
        jax.tree.map(
            lambda a, b, i=place: np.testing.assert_array_equal(a[i], b[i]), found, expected
        )
    # The other way round the jigsaw head stays as it was drawn.
    stored = {"1": cohort.select(second, 1)}
    params, _ = pretrained.load(first["params"], {"batch_stats": first["batch_stats"]}, stored)
    before, after = (x["networks_0_to_1"]["jigsaw"] for x in (first["params"], params))
    jax.tree.map(np.testing.assert_array_equal, after, before)


def test_patches_are_divided_as_views_are():
    branch = built(shape=(8, 8, 3), views__channels="lab")
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8))
    keys = jax.random.split(jax.random.key(0), 2)
    find = jax.jit(branch.patches)
    first, rest = find(keys, images)
    assert (first.shape, rest.shape) == ((18, 8, 8, 1), (18, 8, 8, 2))
    cut = views.jigsaw(views.draws.folded(keys, jigsaw._CUTS), images, side=8)
    whole = branch.seeing.recipes[0].finish(jnp.swapaxes(cut, 0, 1).reshape(18, 8, 8, 3))
    np.testing.assert_allclose(jnp.concatenate([first, rest], -1), whole, atol=1e-5)
    # Rows that are dealt out for keys stand beside the images; nothing of them is seen.
    beside = jnp.stack([images, 255 - images], axis=1)
    assert np.array_equal(find(keys, beside)[0], first)


@pytest.mark.parametrize(
    ("method", "crops", "changes"),
    [
        ("moco", 3, {"views__recipe": "imagenet"}),
        ("instance_discrimination", 2, {"views__recipe": "imagenet"}),
        ("moco", 0, {"model__name": "tiny", "model__shared_stages": 1}),
    ],
)
def test_any_images_and_cohorts_make_a_step(method, crops, changes):
    setting = GRAY._replace(cropped=crops > 0, labels=np.zeros(20, np.int32))
    made = methods.create(config(method, **changes), setting)
    assert crops in (0, len(made.crop))

    def step(key, batch):
        params, before = made.init(key, batch)
        extras, batch = made.begin(params, before, batch)
        outputs, extras = made.embed(params, extras, batch, key, True)
        loss, (after, _) = made.objective(outputs, extras, batch, key)
        return loss, before, after

    views = (crops,) if crops else ()
    batch = Batch(jnp.zeros((16, *views, 8, 8, 1), jnp.uint8), *[jnp.arange(16)] * 3)
    loss, before, after = jax.eval_shape(step, jax.random.key(0), batch)
    assert loss.shape == ()
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, before)
