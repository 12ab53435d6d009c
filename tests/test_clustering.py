import re
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.cluster
from threadpoolctl import threadpool_info, threadpool_limits

from mcl_jax import clustering, losses
from mcl_jax.clustering import kmeans

N, D, CLUSTERS = 60, 5, 4


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows around four far points, and the point of each."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, CLUSTERS, N)
    return 20 * np.eye(CLUSTERS, D)[owner] + rng.normal(size=(N, D)), owner


def together(labels: np.ndarray) -> np.ndarray:
    """Which pairs of rows share a cluster: names of clusters do not matter."""
    return labels[:, None] == labels


def cost(rows: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances to the centres."""
    return sum(
        float(np.square(rows[labels == k] - rows[labels == k].mean(axis=0)).sum())
        for k in np.unique(labels)
    )


def test_it_finds_clusters_that_lie_apart():
    rows, owner = blobs(0)
    labels = kmeans(rows, CLUSTERS, runs=5, seed=0)
    assert labels.shape == (5, N)
    assert labels.dtype == np.int32
    best = min(labels, key=lambda run: cost(rows, run))  # a single start may miss one
    np.testing.assert_array_equal(together(best), together(owner))


def test_every_row_is_nearest_to_its_own_centre():
    rows = np.random.default_rng(1).normal(size=(40, 2))
    (labels,) = kmeans(rows, 3, runs=1, seed=0)
    centres = np.stack([rows[labels == k].mean(axis=0) for k in range(3)])
    distances = np.square(rows[:, None] - centres).sum(axis=-1)
    np.testing.assert_array_equal(distances.argmin(axis=1), labels)


def test_a_seed_gives_the_same_labels_whatever_follows():
    rows = np.random.default_rng(2).normal(size=(N, D))
    three = kmeans(rows, 6, runs=3, seed=5)
    np.testing.assert_array_equal(kmeans(rows, 6, runs=3, seed=5), three)
    np.testing.assert_array_equal(kmeans(rows, 6, runs=1, seed=5), three[:1])


def test_runs_and_seeds_start_differently():
    rows = np.random.default_rng(3).normal(size=(N, D))
    labels = np.concatenate([kmeans(rows, 8, runs=3, seed=seed) for seed in (0, 1)])
    pairs = {together(row).tobytes() for row in labels}
    assert len(pairs) == len(labels)


def test_dtypes_and_devices_arrays():
    rows, owner = blobs(4)
    for x in (
        rows.astype(np.float32),
        jnp.asarray(rows, jnp.float32),
        jnp.asarray(rows, "bfloat16"),
    ):
        labels = kmeans(x, CLUSTERS, runs=5, seed=0)
        np.testing.assert_array_equal(
            together(min(labels, key=lambda run: cost(rows, run))), together(owner)
        )


@pytest.mark.parametrize("clusters", [1, 3, 7])
def test_rows_that_coincide_share_a_cluster(clusters):
    rows = np.repeat(np.eye(3), [1, 2, 4], axis=0)
    labels = kmeans(rows, clusters, runs=2, seed=0)
    for row in labels:
        assert len(set(row[1:3])) == len(set(row[3:])) == 1
        assert len(set(row)) == min(clusters, 3)


def test_as_many_clusters_as_rows_leave_each_row_alone():
    labels = kmeans(np.random.default_rng(5).normal(size=(9, D)), 9, runs=2, seed=0)
    np.testing.assert_array_equal(np.sort(labels), np.tile(np.arange(9), (2, 1)))


def test_close_neighbours_of_its_runs():
    rows, owner = blobs(6)
    labels = kmeans(rows, CLUSTERS, runs=3, seed=0)
    anchors = np.array([5, 0, 17])
    close = np.asarray(losses.close_neighbours(labels[:, anchors], labels))
    assert close[np.arange(3), anchors].all()
    within = np.asarray(losses.close_neighbours(labels[:, anchors], labels, "intersection"))
    assert not (within & ~(owner[anchors, None] == owner)).any()


def test_one_thread_adds_up_the_centres_and_the_others_come_back(monkeypatch):
    """With more, centres differ by rounding from call to call, and now and then a label does."""
    seen = []

    def threads():
        return {pool["num_threads"] for pool in threadpool_info()}

    class Recording(sklearn.cluster.KMeans):
        def fit(self, rows):
            seen.append(threads())
            return super().fit(rows)

    monkeypatch.setattr(sklearn.cluster, "KMeans", Recording)
    rows = np.random.default_rng(0).normal(size=(N, D))
    with threadpool_limits(2):
        before = threads()
        kmeans(rows, CLUSTERS, runs=2, seed=0)
        assert threads() == before != {1}
    assert seen == [{1}, {1}]


def test_scikit_learn_is_loaded_when_it_is_needed():
    code = f"import sys, {clustering.__name__}; print('sklearn' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "False"


ROWS = np.ones((4, 2))


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((ROWS[0], 1), {}, "embeddings must have axes [N, D], got shape (2,)."),
        ((ROWS * np.nan, 1), {}, "embeddings must be finite, got NaN or infinity."),
        ((ROWS, 0), {}, "clusters must be at least 1, got 0."),
        ((ROWS, 5), {}, "clusters must be at most N = 4, got 5."),
        ((ROWS, 2), {"runs": 0}, "runs must be at least 1, got 0."),
        ((ROWS, 2), {"seed": -1}, "seed must be at least 0, got -1."),
    ],
)
def test_refuses(args, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        kmeans(*args, **{"runs": 1, "seed": 0, **options})
