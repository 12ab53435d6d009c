"""Several seeds in one program: as each alone, interrupted or not."""

import json
import re

import jax
import numpy as np
import pytest
import tiny

from mcl_jax.config import ConfigError
from mcl_jax.training import NotFiniteError, train_and_evaluate
from mcl_jax.training.checkpoint import Checkpoints, plain
from mcl_jax.training.loop import ready
from mcl_jax.training.run import initial_state
from mcl_jax.training.stopping import Stopping
from mcl_jax.training.together import train_together

SEEDS = (3, 4)
DROP = {"seconds", "images_per_second"}


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())


def config(seed, **changes):
    steps = {"training__steps": 6, "training__log_every": 2, "training__eval_every_epochs": 1}
    return tiny.config(seed=seed, training__checkpoint_every_epochs=1, **(steps | changes))


def configs(**changes):
    return [config(seed, **changes) for seed in SEEDS]


def folders(root):
    return [root / str(seed) for seed in SEEDS]


def state(folder, like, step=6):
    with Checkpoints(folder / "checkpoints", 2) as checkpoints:
        return jax.tree.leaves(plain(checkpoints.restore(like, step).state))


def records(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(x).items() if k not in DROP} for x in lines]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Two seeds trained together to their end."""
    with pytest.MonkeyPatch.context() as patch:
        tiny.know_tiny_network(patch)
        patch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())
        root = tmp_path_factory.mktemp("together")
        train_together(configs(), folders(root))
        return root, ready(config(3)).like


def test_each_seed_trains_as_it_does_alone(unbroken, tmp_path):
    root, like = unbroken
    seed, folder = SEEDS[1], folders(root)[1]
    alone = train_and_evaluate(config(seed), tmp_path)
    for x, y in zip(state(folder, like), state(tmp_path, like), strict=True):
        assert np.allclose(x, y, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(records(folder), records(tmp_path), strict=True):
        assert ours.keys() == theirs.keys()
        assert np.allclose(ours.get("loss", 0), theirs.get("loss", 0), rtol=1e-5)
    judged = train_and_evaluate(config(seed), folder)
    assert judged["test"]["accuracy"] == pytest.approx(alone["test"]["accuracy"], abs=0.02)
    assert (judged["seed"], judged["steps"]) == (seed, 6)


def test_seeds_that_are_left_go_on_bit_for_bit(unbroken, tmp_path, monkeypatch):
    root, like = unbroken

    def wanted(self, dispatch):
        self.reason = "SIGTERM" if dispatch == 3 else None
        return bool(self.reason)

    with monkeypatch.context() as patch:
        patch.setattr(Stopping, "wanted", wanted)
        with pytest.raises(SystemExit) as left:
            train_together(configs(), folders(tmp_path))
    assert left.value.code == 143
    assert (folders(tmp_path)[0] / "checkpoints" / "3").is_dir()
    train_together(configs(), folders(tmp_path))
    for there, here in zip(folders(root), folders(tmp_path), strict=True):
        for x, y in zip(state(there, like), state(here, like), strict=True):
            assert x.dtype == y.dtype
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
        assert records(there) == records(here)


def test_a_seed_that_is_not_finite_ends_all_of_them(tmp_path, monkeypatch):
    def poisoned(config, run):
        state = initial_state(config, run)
        spoilt = np.float32(1 if config.seed == 3 else np.nan)
        return state._replace(params=jax.tree.map(lambda x: x * spoilt, state.params))

    monkeypatch.setattr("mcl_jax.training.together.initial_state", poisoned)
    with pytest.raises(NotFiniteError, match=r"^not finite at step 1 with seed 4\.$"):
        train_together(configs(), folders(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parallel__devices": 2}, "several seeds together want one device and images in memory, "
         "got 2 devices and fashion_mnist."),
        (None, "several seeds together want one configuration, but optimizer.learning_rate "
         "differs."),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_together_is_refused(tmp_path, changes, message):
    wanted = configs(**(changes or {}))
    if changes is None:
        wanted[1].optimizer.learning_rate = 0.3
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        train_together(wanted, folders(tmp_path))
