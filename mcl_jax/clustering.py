"""Clusters of embeddings, found on the host between epochs."""

import warnings

import numpy as np
from numpy.typing import ArrayLike

_ITERATIONS = 20


def kmeans(embeddings: ArrayLike, clusters: int, *, runs: int, seed: int) -> np.ndarray:
    """Assigns every row to the nearest of k centres, several times from different starts.

    Computes, for each run, at most 20 of Lloyd's iterations from a k-means++ start, of which each
    run has its own that follows from ``seed``. Distances are Euclidean. The same arguments give the
    same labels, whatever the number of cores; a run does not depend on how many runs follow it.

    Args:
        embeddings: [N, D], floating.
        clusters: k, from 1 to N. Rows that coincide share a cluster, so fewer may be used.
        runs: H, 1 or more.
        seed: 0 or more.

    Returns:
        [H, N], int32: row h holds every embedding's cluster, from 0 to k - 1, in run h.

    Raises:
        ValueError: ``embeddings`` is not [N, D] or not finite, ``clusters`` is not from 1 to N,
            ``runs`` is below 1, or ``seed`` is below 0.

    Example:
        >>> import numpy as np
        >>> labels = kmeans(np.array([[0.0], [0.1], [5.0]]), 2, runs=3, seed=0)
        >>> labels.shape
        (3, 3)
        >>> bool((labels[:, 0] == labels[:, 1]).all() and (labels[:, 0] != labels[:, 2]).all())
        True

    Local Aggregation (arXiv 1903.12355) clusters its bank anew each epoch, by 20 iterations of
    faiss from rows drawn at random. Its clusters hold some 43 rows each.
    """
    # Loading scikit-learn takes a second that most programs need not spend.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    rows = _checked(embeddings)
    for name, value, least in (("clusters", clusters, 1), ("runs", runs, 1), ("seed", seed, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    if clusters > len(rows):
        raise ValueError(f"clusters must be at most N = {len(rows)}, got {clusters}.")
    # Threads add up the centres in the order in which they finish: labels would differ by rounding.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of rows that coincide
        fits = [
            KMeans(clusters, n_init=1, max_iter=_ITERATIONS, random_state=int(start)).fit(rows)
            for start in np.random.SeedSequence(seed).generate_state(runs)
        ]
    return np.stack([fit.labels_ for fit in fits]).astype(np.int32)


def _checked(embeddings: ArrayLike) -> np.ndarray:
    """The embeddings as a finite [N, D] of float32 or float64."""
    rows = np.asarray(embeddings)
    if rows.ndim != 2:
        raise ValueError(f"embeddings must have axes [N, D], got shape {rows.shape}.")
    rows = rows if rows.dtype == np.float64 else rows.astype(np.float32)
    if not np.isfinite(rows).all():
        raise ValueError("embeddings must be finite, got NaN or infinity.")
    return rows
