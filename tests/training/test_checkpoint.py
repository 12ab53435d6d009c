"""States that are kept: whole and unharmed, or told of and not used."""

import json
import pathlib
import resource
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.training.checkpoint import Best, Checkpoints, StorageError, _hash_json
from mcl_jax.training.state import TrainState


def state(step, seed=0, rows=3):
    """Leaves of several dtypes and ranks; a random key among the extras too."""
    rng = np.random.default_rng([seed, step])
    return TrainState(
        step=jnp.int32(step),
        params={"encoder": {"kernel": jnp.asarray(rng.normal(size=(2, rows, 4)), jnp.float32)}},
        extras={
            "mean": jnp.asarray(rng.normal(size=(2, 5)), jnp.bfloat16),
            "key": jax.random.key(step + 7),
        },
        optimizer=({"trace": jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)},),
        key=jax.random.key(seed),
        finite=jnp.bool_(True),
    )


def numbers(tree):
    """Leaves as bytes, random keys too."""
    plain = jax.tree.map(
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
        tree,
    )
    return [(str(x.dtype), np.asarray(x).tobytes()) for x in jax.tree.leaves(plain)]


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of steps 10 and 20."""
    with Checkpoints(tmp_path / "checkpoints", 2) as checkpoints:
        for step in (10, 20):
            checkpoints.save(state(step), validation_accuracy=step / 100)
    return tmp_path / "checkpoints"


def test_a_state_comes_back_bit_for_bit(folder):
    with Checkpoints(folder, 2) as checkpoints:
        newest = checkpoints.restore(state(0))
        earlier = checkpoints.restore(jax.eval_shape(lambda: state(0)), 10)
    assert numbers(newest.state) == numbers(state(20))
    assert numbers(earlier.state) == numbers(state(10))
    assert newest.damage == earlier.damage == []


def test_nothing_saved_is_no_state_and_makes_no_folder(tmp_path):
    with Checkpoints(tmp_path / "none", 2) as checkpoints:
        assert checkpoints.restore(state(0)) == (None, [])
        assert checkpoints.latest_step() is None
        assert checkpoints.best() is None
    assert not (tmp_path / "none").exists()


def test_a_state_is_copied_before_save_returns(tmp_path):
    step = jax.jit(
        lambda x: x._replace(params=jax.tree.map(lambda p: p * 0, x.params)), donate_argnums=0
    )
    given = jax.device_put(state(1))
    expected = numbers(given)
    with Checkpoints(tmp_path, 2) as checkpoints:
        checkpoints.save(given)
        jax.block_until_ready(step(given))
        checkpoints.wait()
        assert numbers(checkpoints.restore(state(0)).state) == expected


def test_the_newest_and_the_best_stay(tmp_path):
    with Checkpoints(tmp_path, 2) as checkpoints:
        for step, accuracy in enumerate([0.5, 0.9, None, 0.9, 0.3, None, 0.4], start=1):
            checkpoints.save(state(step), accuracy)
            checkpoints.wait()
        assert checkpoints.steps() == [4, 6, 7]
        assert checkpoints.best() == Best(4, 0.9)
        checkpoints.save(state(7, seed=1))  # is there already
        checkpoints.wait()
        assert numbers(checkpoints.restore(state(0)).state) == numbers(state(7))
    assert sorted(x.name for x in tmp_path.iterdir()) == ["4", "6", "7"]


def test_what_a_killed_run_left_half_written_is_not_used_and_goes(folder):
    shutil.copytree(folder / "20", folder / "saving-30")
    shutil.copytree(folder / "10", folder / "deleting-5")
    with Checkpoints(folder, 2) as checkpoints:
        assert checkpoints.latest_step() == 20
        checkpoints.save(state(30))
    assert sorted(x.name for x in folder.iterdir()) == ["20", "30"]


def flip(path, part):
    content = bytearray(path.read_bytes())
    content[int(part * (len(content) - 1))] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "missing": pathlib.Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "first bit": lambda path: flip(path, 0),
    "middle bit": lambda path: flip(path, 0.5),
    "last bit": lambda path: flip(path, 1),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_any_damage_to_any_file_is_told_of_and_the_state_before_is_used(folder, kind, capfd):
    files = [x.relative_to(folder / "20") for x in (folder / "20").rglob("*") if x.is_file()]
    assert len(files) > 5
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    for file in files:
        if kind != "longer" and kind != "missing" and not (folder / "20" / file).stat().st_size:
            continue  # an empty file stays what it is
        DAMAGE[kind](folder / "20" / file)
        with Checkpoints(folder, 2) as checkpoints:
            found = checkpoints.restore(state(0))
        assert numbers(found.state) == numbers(state(10)), file
        (text,) = found.damage
        assert text.startswith("the checkpoint of step 20 is damaged: the file ")
        assert file.name in text
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
    assert capfd.readouterr() == ("", "")


def test_missing_folders_are_damage(folder):
    shutil.rmtree(folder / "20" / "state")
    with Checkpoints(folder, 2) as checkpoints:
        assert int(checkpoints.restore(state(0)).state.step) == 10
    shutil.rmtree(folder / "20")
    (folder / "20").mkdir()
    with Checkpoints(folder, 2) as checkpoints:
        assert int(checkpoints.restore(state(0)).state.step) == 10


def test_arrays_are_held_against_hashes_of_their_own(folder):
    manifest = folder / "20" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["leaves"]["params/encoder/kernel"] = "0" * 64
    content.pop("sha256")
    manifest.write_text(json.dumps({"sha256": _hash_json(content), **content}))
    with Checkpoints(folder, 2) as checkpoints:
        (text,) = checkpoints.restore(state(0)).damage
    assert "the array params/encoder/kernel has other content than was written" in text


def test_damaged_states_are_set_aside_and_written_again(folder):
    flip(folder / "20" / "manifest.json", 0.5)
    for _ in range(2):
        with Checkpoints(folder, 2) as checkpoints:
            checkpoints.set_aside_after(10)
            assert checkpoints.steps() == [10]
            checkpoints.save(state(20))
        assert (folder / "damaged-20").is_dir()
    with Checkpoints(folder, 2) as checkpoints:
        assert numbers(checkpoints.restore(state(0)).state) == numbers(state(20))


def test_nothing_but_damage_stops_with_a_sentence(folder):
    for step in ("10", "20"):
        flip(folder / step / "manifest.json", 0.5)
    with (
        Checkpoints(folder, 2) as checkpoints,
        pytest.raises(StorageError, match=r"nothing in .* can be read: .*step 20 .*step 10 .*anew"),
    ):
        checkpoints.restore(state(0))
    assert sorted(x.name for x in folder.iterdir()) == ["10", "20"]


def test_a_state_of_another_structure_is_no_damage_but_does_not_fit(folder):
    with Checkpoints(folder, 2) as checkpoints:
        with pytest.raises(StorageError, match=r"step 20 in .* is whole but does not fit"):
            checkpoints.restore(state(0)._replace(extras={}))
        with pytest.raises(StorageError, match=r"step 20 in .* is whole but does not fit"):
            checkpoints.restore(state(0, rows=9))


def test_a_disk_that_takes_no_more_keeps_the_last_good_state(folder):
    """The limit on the size of files stands in for a full disk: both are errors of ``write``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        with Checkpoints(folder, 2) as checkpoints:
            checkpoints.save(state(30))
            with pytest.raises(
                StorageError, match=r"step 30 cannot be written in .*: File too large; step 20 is"
            ):
                checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    with Checkpoints(folder, 2) as checkpoints:
        assert numbers(checkpoints.restore(state(0)).state) == numbers(state(20))


def test_a_failed_save_is_told_of_without_waiting_for_the_next(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mcl_jax.training.checkpoint._hash_files", full)
    with Checkpoints(folder, 2) as checkpoints:
        checkpoints.check()
        checkpoints.save(state(30))
        while not checkpoints._pending[1].done():
            pass
        with pytest.raises(StorageError, match="No space left on device; step 20 is the newest"):
            checkpoints.check()
    assert sorted(x.name for x in folder.iterdir()) == ["10", "20"]


def test_an_error_of_the_run_is_not_hidden_by_one_of_the_save(folder, monkeypatch):
    monkeypatch.setattr("mcl_jax.training.checkpoint._hash_files", lambda folder: 1 / 0)

    def run():
        with Checkpoints(folder, 2) as checkpoints:
            checkpoints.save(state(30))
            raise KeyError("of the run")

    with pytest.raises(KeyError, match="of the run"):
        run()


def test_names_that_are_no_steps_are_passed_over(folder):
    for name in ("\u00b2", "latest", "30.part"):
        (folder / name).touch()
    with Checkpoints(folder, 2) as checkpoints:
        assert checkpoints.steps() == [10, 20]
