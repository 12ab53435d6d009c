"""Steps that go wrong: where the state stays, what is written, who is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mcl_jax import data
from mcl_jax.training import NotFiniteError, guard, train_and_evaluate
from mcl_jax.training.checkpoint import Checkpoints
from mcl_jax.training.run import initial_state
from mcl_jax.training.state import Stream, stream
from mcl_jax.training.step import all_finite


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())


def exploding(**changes):
    """Learns so fast that after a step or two a loss is not finite; the host looks at step 8."""
    return tiny.config(
        optimizer__learning_rate=1e12, training__steps=8, training__log_every=8, **changes
    )


def leaves(state):
    return jax.tree.leaves(jax.device_get(state._replace(key=jax.random.key_data(state.key))))


def good_steps(config):
    """How many steps are finite, and the state after them, by looking after each one."""
    run, state, _ = tiny.run_steps(config, tiny.dataset(), steps=0)
    batches, done = tiny.batches(run), 0
    while True:
        before = jax.tree.map(jnp.copy, state)
        state, _ = run.step(state, next(batches))
        if not state.finite:
            return done, before
        done += 1


@pytest.mark.parametrize(
    "changes", [{}, {"parallel__devices": 4}, {"training__steps_per_dispatch": 4}], ids=str
)
def test_the_state_before_the_step_and_its_batch_are_kept(tmp_path, changes):
    config = exploding(**changes)
    done, expected = good_steps(exploding(parallel__devices=changes.get("parallel__devices", 1)))
    assert 1 <= done < 7
    with pytest.raises(NotFiniteError, match=rf"^not finite at step {done + 1}: .*gradient of net"):
        train_and_evaluate(config, tmp_path)
    with Checkpoints(tmp_path / "checkpoints", 2) as checkpoints:
        assert checkpoints.steps() == [done]
        kept = checkpoints.restore(expected).state
    assert all(np.array_equal(a, b) for a, b in zip(leaves(kept), leaves(expected), strict=True))
    rows = data.draw(data.shuffled(64, 16), stream(jax.random.key(config.seed), Stream.DATA), done)
    with np.load(tmp_path / f"not_finite_step_{done + 1}.npz", allow_pickle=False) as batch:
        train = tiny.dataset().train
        assert np.array_equal(batch["index"], rows)
        assert np.array_equal(batch["images"], train.images[rows])
        assert np.array_equal(batch["labels"], train.labels[rows])
        assert batch["step"] == done + 1


def test_a_failed_run_started_again_fails_in_the_same_way(tmp_path):
    said = []
    for _ in range(2):
        with pytest.raises(NotFiniteError) as caught:
            train_and_evaluate(exploding(), tmp_path)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_run_that_failed_within_a_dispatch_does_not_go_on_there(tmp_path):
    said = []
    for _ in range(2):
        with pytest.raises(NotFiniteError, match=r"^not finite at step \d") as caught:
            train_and_evaluate(exploding(training__steps_per_dispatch=4), tmp_path)
        said.append(str(caught.value).split(":")[0].split(",")[0])
    assert said[0] == said[1]
    assert "does not go on from step" in str(caught.value)


def test_a_streamed_run_stays_where_it_failed_though_other_batches_follow(tmp_path, monkeypatch):
    resident = tiny.dataset()
    split = data.Split(resident.train.labels, rows=resident.train.images)
    streamed = data.Dataset("streamed", split, split, split, resident.class_names, "")
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: streamed)
    sized = {"data__image_size": 8, "data__mean": (0.4,), "data__std": (0.2,)}
    with pytest.raises(NotFiniteError, match=r"^not finite at step \d") as caught:
        train_and_evaluate(exploding(**sized), tmp_path)
    (path,) = tmp_path.glob("not_finite_step_*.npz")
    with np.load(path) as batch:
        assert f"step {batch['step']}:" in str(caught.value)
        assert batch["images"].shape == (16, 8, 8, 1)
        assert np.array_equal(batch["labels"], split.labels[batch["index"]])


def test_the_network_that_fails_is_named(tmp_path, monkeypatch):
    def poisoned(config, run):
        state = initial_state(config, run)
        params = jax.tree.map(lambda x: x.at[1].set(x[1] * 1e30), state.params)
        return state._replace(params=params)

    monkeypatch.setattr("mcl_jax.training.loop.initial_state", poisoned)
    alone = {f"method__weights__{name}": 0.0 for name in ("vcl", "icl", "soft_vcl", "soft_icl")}
    with pytest.raises(NotFiniteError, match=r"step 1: .*cross_entropy of network 1,"):
        train_and_evaluate(tiny.config(**alone), tmp_path)


def test_nothing_moves_after_a_step_that_is_not_finite():
    run, state, _ = tiny.run_steps(tiny.config(), tiny.dataset(), steps=2)
    stopped = state._replace(finite=jnp.zeros_like(state.finite))
    expected = leaves(stopped)
    after, _ = run.step(stopped, next(tiny.batches(run)))
    assert all(np.array_equal(a, b) for a, b in zip(leaves(after), expected, strict=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_among_many_is_seen(bad):
    tree = {"a": jnp.ones((3, 4)), "b": (jnp.zeros(()), jnp.ones(5, jnp.bfloat16))}
    assert all_finite(tree)
    assert not all_finite({**tree, "b": (jnp.zeros(()), jnp.ones(5, jnp.bfloat16).at[3].set(bad))})


def test_terms_networks_and_parameters_are_named():
    finite = {
        "metrics": {
            "loss": np.array(False),
            "vcl": np.array(True),
            "accuracy": np.array([True, True, True]),
            "cross_entropy": np.array([False, True, False]),
            "agreement": np.array([[True, True, True], [True, False, False], [True] * 3]),
        },
        "gradients": (
            {
                "network_0": {"a": np.array([[True, True]])},
                "networks_1_to_2": {x: np.array([[True, False], [False, True]]) for x in "abcd"},
            },
            {"networks_0_to_2": {"shared": {"a": np.array([False])}}},
        ),
    }
    assert guard.describe(finite) == (
        "agreement of network 1, cross_entropy of networks 0 and 2, loss and the gradient of "
        "networks 1 and 2 (networks_1_to_2/a, networks_1_to_2/b, networks_1_to_2/c, ...)"
    )
    assert guard.describe({"metrics": {"loss": np.array(True)}, "gradients": ()}) == ""


def test_collapse_is_told_of_once_and_not_at_the_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(guard, "COLLAPSED", -2.0)  # everything counts as collapsed
    train_and_evaluate(tiny.config(training__steps=10), tmp_path)
    told = [x for x in capsys.readouterr().err.splitlines() if "collapsed" in x]
    assert len(told) == 2
    for network, line in enumerate(told):
        assert line.startswith(f"warning: the embeddings of network {network} have collapsed: ")
        assert "at step 3;" in line


def test_embeddings_that_are_alike_or_on_a_line_are_collapsed_and_others_are_not():
    def told(classes=10, **metrics):
        return guard.collapsed(metrics, 16, classes)

    assert told(mean_cosine=[0.9995, 0.2, 1.0]) == {
        0: "two different images have a mean cosine of 0.9995",
        2: "two different images have a mean cosine of 1.0000",
    }
    assert told(embedding_std=[0.25, 0.0079]) == {
        1: "their coordinates have a standard deviation of 0.00790, where spread ones have 0.250"
    }
    assert told(embedding_std=[0.008]) == {}
    assert told(effective_rank=[1.49, 1.51]) == {0: "they lie in 1.49 directions (effective rank)"}
    assert told(effective_rank=[1.0], classes=2) == {}
    assert told(loss=1.0) == {}
