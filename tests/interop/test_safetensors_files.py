"""Networks in safetensors files: one with its head, an encoder alone, a cohort, a stranger's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import mcl_jax
from mcl_jax import interop, models


def drawn(name, head="", dtype=np.float32, seed=0, **options):
    """Variables of an encoder for 4 classes of grey images, or of one with a head."""
    images = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    net = models.create(name, num_classes=4, convolution="plain", **options)
    variables = jax.eval_shape(net.init, jax.random.key(0), images)
    if head:
        features = jax.ShapeDtypeStruct((4, 64), jnp.float32)
        mine = jax.eval_shape(models.create_head(head, 8).init, jax.random.key(0), features)
        variables = {kind: {"encoder": tree} for kind, tree in variables.items()}
        for kind, tree in mine.items():
            variables[kind]["head"] = tree
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.random(x.shape, np.float32).astype(dtype), variables)


def assert_same(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


ALONE = drawn("small_resnet")
MEMBER = drawn("small_resnet", "simclr")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16])
@pytest.mark.parametrize("variables", [ALONE, MEMBER], ids=["encoder", "member"])
def test_one_network(path, variables, dtype):
    variables = jax.tree.map(lambda x: x.astype(dtype), variables)
    interop.save_safetensors(path, "small_resnet", variables)
    assert_same(interop.load_safetensors(path), variables)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_says_what_it_holds(path):
    interop.save_safetensors(path, "small_resnet", MEMBER)
    (one,) = interop.describe(path)
    assert one == ("small_resnet", 4, True, {}, "")
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = json.loads(file.metadata()["mcl_jax"])
    assert metadata["version"] == mcl_jax.__version__
    assert metadata["networks"] == [one._asdict()]


def test_names_are_pytorchs(path):
    interop.save_safetensors(path, "small_resnet", MEMBER)
    found = safetensors.numpy.load_file(path)
    expected = interop.to_torch("small_resnet", MEMBER, head=True)
    assert set(found) == set(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)


def test_equal_networks_make_equal_files(path):
    interop.save_safetensors(path, "small_resnet", MEMBER)
    first = path.read_bytes()
    interop.save_safetensors(path, "small_resnet", MEMBER)
    assert path.read_bytes() == first


def test_parts_may_stay_behind(path):
    interop.save_safetensors(path, "small_resnet", MEMBER, classifier=False, head=False)
    (one,) = interop.describe(path)
    assert (one.classes, one.head) == (0, False)
    bare = interop.load_safetensors(path)
    assert "classifier" not in bare["params"]
    other = jax.tree.map(np.zeros_like, MEMBER)
    variables = interop.load_safetensors(path, into=other)
    assert not variables["params"]["encoder"]["classifier"]["kernel"].any()
    assert not variables["params"]["head"]["linear1"]["kernel"].any()
    assert_same(variables["params"]["encoder"]["layer1_0"], MEMBER["params"]["encoder"]["layer1_0"])


def test_parts_may_be_passed_over(path):
    interop.save_safetensors(path, "small_resnet", MEMBER)
    bare = interop.load_safetensors(path, head=False, classifier=False)
    assert set(bare["params"]) == set(ALONE["params"]) - {"classifier"}
    into_encoder = interop.load_safetensors(path, into=ALONE)
    assert_same(into_encoder["params"], MEMBER["params"]["encoder"])


def test_cohorts(path):
    settings = {"norm": "group"}
    names = ("small_resnet", "wrn_16_2")
    networks = (drawn(names[0], "mcl", **settings), drawn(names[1], seed=1, **settings))
    interop.save_cohort(path, names, networks, **settings)
    found_names, found = interop.load_cohort(path)
    assert found_names == names
    for ours, theirs in zip(found, networks, strict=True):
        assert_same(ours, theirs)
    assert_same(interop.load_safetensors(path, network=1), networks[1])
    assert [one.prefix for one in interop.describe(path)] == ["module_list.0.", "module_list.1."]
    assert "module_list.1.block1.layer.0.conv1.weight" in safetensors.numpy.load_file(path)


def test_a_network_alone_is_a_cohort_of_one(path):
    interop.save_safetensors(path, "small_resnet", ALONE)
    assert interop.load_cohort(path)[0] == ("small_resnet",)
    interop.save_cohort(path, ["small_resnet"], [ALONE])
    assert_same(interop.load_safetensors(path), ALONE)


def test_files_from_elsewhere(path):
    state = interop.to_torch("small_resnet", ALONE, prefix="backbone.")
    safetensors.numpy.save_file(state, path)
    assert interop.describe(path) == ()
    assert_same(interop.load_safetensors(path, "small_resnet", prefix="backbone."), ALONE)
    options = drawn("small_resnet", norm="group")
    safetensors.numpy.save_file(interop.to_torch("small_resnet", options, norm="group"), path)
    assert_same(interop.load_safetensors(path, "small_resnet", norm="group"), options)
    for given, message in [
        ({}, "does not say which architecture it holds; give its name"),
        ({"name": "small_resnet", "network": 0}, "does not number its networks; give a prefix"),
    ]:
        with pytest.raises(ValueError, match=message):
            interop.load_safetensors(path, **given)
    with pytest.raises(ValueError, match="does not say what it holds; load_safetensors reads"):
        interop.load_cohort(path)


def test_mistakes_are_said(path):
    interop.save_cohort(path, ["small_resnet"] * 2, [ALONE, MEMBER])
    for given, message in [
        ({}, "network must be from 0 to 1, as .* holds small_resnet, small_resnet; got None"),
        ({"network": 2}, "network must be from 0 to 1, .*; got 2"),
        ({"network": 0, "name": "resnet20"}, "holds 'small_resnet', not 'resnet20'"),
        ({"network": 0, "prefix": "a.", "norm": "group"}, "leave out prefix, norm"),
    ]:
        with pytest.raises(ValueError, match=message):
            interop.load_safetensors(path, **given)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="a name for each member; got 1 names and 2 members"):
        interop.save_cohort(path, ["small_resnet"], [ALONE, MEMBER])
    with pytest.raises(ValueError, match="unknown encoder 'small'"):
        interop.save_safetensors(path, "small", ALONE)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_damaged_files(path, content):
    interop.save_safetensors(path, "small_resnet", ALONE)
    path.write_bytes(path.read_bytes()[:-5] if content is None else content)
    with pytest.raises(ValueError, match="is no safetensors file, or a damaged one"):
        interop.load_safetensors(path)


def test_files_of_an_unknown_version(path):
    state = interop.to_torch("small_resnet", ALONE)
    for metadata in ("none", "{}", '{"networks": [{"kind": "small_resnet"}]}'):
        safetensors.numpy.save_file(state, path, {"mcl_jax": metadata})
        with pytest.raises(ValueError, match=f"not those of this version .*; got {metadata[:6]}"):
            interop.load_safetensors(path)


def test_missing_files(path):
    with pytest.raises(FileNotFoundError, match=r"weights\.safetensors"):
        interop.load_safetensors(path)
