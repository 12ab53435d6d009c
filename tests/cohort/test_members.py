"""Members taken out of a cohort, put in, written and read."""

import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_cohorts import IMAGES, assert_trees_close, drawn, network

from mcl_jax import cohort
from mcl_jax.cohort import Cohort, Group


@pytest.fixture(scope="module")
def setting():
    return drawn(Cohort((Group(network(), 2), Group(network(6), 1))))


@pytest.fixture(scope="module")
def branches():
    return drawn(cohort.like(network(4, 6), 3, shared_stages=1))


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_member_put_back_is_where_it_was(setting, index):
    blank = jax.tree.map(lambda x: x * 0, setting.variables)
    member = cohort.select(setting.variables, index)
    changed = cohort.replace(blank, index, member)
    assert_trees_close(cohort.select(changed, index), member, 0)
    for other in {0, 1, 2} - {index}:
        assert_trees_close(cohort.select(changed, other), cohort.select(blank, other), 0)


def test_a_branch_put_back_brings_what_it_shares(branches):
    blank = jax.tree.map(lambda x: x * 0, branches.variables)
    member = cohort.select(branches.variables, 1)
    changed = cohort.replace(blank, 1, member)
    assert_trees_close(cohort.select(changed, 1), member, 0)
    shared = changed["params"]["networks_0_to_2"]["shared"]
    assert_trees_close(shared, branches.variables["params"]["networks_0_to_2"]["shared"], 0)
    assert not np.any(cohort.select(changed, 0)["params"]["head"]["linear1"]["kernel"])


def test_a_member_of_another_network_is_refused(setting):
    other = cohort.select(setting.variables, 2)
    with pytest.raises(ValueError, match=r"batch_stats/encoder/bn1/mean of shape \(4,\), got \(6,"):
        cohort.replace(setting.variables, 0, other)
    member = cohort.select(setting.variables, 0)
    lacks = {**member, "params": {"encoder": member["params"]["encoder"]}}
    with pytest.raises(ValueError, match="it lacks params/head/linear1/bias, "):
        cohort.replace(setting.variables, 0, lacks)
    with pytest.raises(ValueError, match=r"it has besides more/w\."):
        cohort.replace(setting.variables, 0, {**member, "more": {"w": np.zeros(2)}})


@pytest.mark.parametrize("index", [0, 2])
def test_a_saved_member_comes_back_bit_for_bit_and_runs(setting, tmp_path, index):
    cohort.save_member(tmp_path / "member.npz", setting.variables, index)
    member = cohort.select(setting.variables, index)
    loaded = cohort.load_member(str(tmp_path / "member.npz"))
    assert jax.tree.structure(loaded) == jax.tree.structure(member)
    for x, y in zip(jax.tree.leaves(loaded), jax.tree.leaves(member), strict=True):
        assert x.dtype == y.dtype
        assert x.tobytes() == np.asarray(y).tobytes()
    module = setting.cohort.groups[index // 2].network
    assert_trees_close(module.apply(loaded, IMAGES), module.apply(member, IMAGES), 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.int32, jnp.bool_])
def test_every_dtype_comes_back(tmp_path, dtype):
    leaf = jnp.asarray([[1.5, 0, -2], [0, 3, 1]], dtype)
    variables = {"params": {"networks_0_to_1": {"a": {"b": leaf}}}}
    cohort.save_member(tmp_path / "member.npz", variables, 1)
    loaded = cohort.load_member(tmp_path / "member.npz")["params"]["a"]["b"]
    assert loaded.dtype == dtype
    np.testing.assert_array_equal(loaded, leaf[1])


def test_a_saved_member_is_plain_arrays_named_by_their_paths(setting, tmp_path):
    cohort.save_member(tmp_path / "member.npz", setting.variables, 0)
    with np.load(tmp_path / "member.npz", allow_pickle=False) as file:
        kernel = file["params/encoder/conv1/kernel"]
        assert all(file[name].dtype == np.float32 for name in file)
    member = cohort.select(setting.variables, 0)
    np.testing.assert_array_equal(kernel, member["params"]["encoder"]["conv1"]["kernel"])
    names = zipfile.ZipFile(tmp_path / "member.npz").namelist()
    assert len(names) == len(jax.tree.leaves(member))


def test_files_that_are_no_members(setting, tmp_path):
    path = tmp_path / "member.npz"
    with pytest.raises(FileNotFoundError):
        cohort.load_member(path)
    cohort.save_member(path, setting.variables, 0)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for content in (b"", b"text", whole[:middle], flipped):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no file of a member, or a damaged one"):
            cohort.load_member(path)
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(path, allow_pickle=True, **{"params/a": np.array([{}], object)})
    for name in ("array.npy", "member.npz"):
        with pytest.raises(ValueError, match="is no file of a member, or a damaged one"):
            cohort.load_member(tmp_path / name)
    np.savez(path, train_images=np.zeros(3))
    with pytest.raises(ValueError, match="it has no params/"):
        cohort.load_member(path)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_member_that_is_not_there(setting, tmp_path, index):
    message = rf"index must be from 0 to 2, got {index}\."
    with pytest.raises(ValueError, match=message):
        cohort.select(setting.variables, index)
    with pytest.raises(ValueError, match=message):
        cohort.replace(setting.variables, index, {})
    with pytest.raises(ValueError, match=message):
        cohort.save_member(tmp_path / "member.npz", setting.variables, index)
    assert list(tmp_path.iterdir()) == []


def test_a_member_is_written_to_an_npz_file(setting, tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.npz"):
        cohort.save_member(tmp_path / "member.safetensors", setting.variables, 0)
