"""What the embeddings of a step tell of how training goes, beside its losses.

A method's objective adds these to its metrics. They cost little, whatever the batch and the number
of keys: they are read on the first rows of the whole batch, at most 256 (128 for the bound on
mutual information, of which there are as many as pairs of networks, and 64 for the effective rank).
Nothing is differentiated, and the result is the same on every device of the data axis.
"""

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax import losses, mutual_information
from mcl_jax.axes import gather, pmean

ROWS, BOUND_ROWS, RANK_ROWS = 256, 128, 64


def diagnostics(
    queries: jax.Array,
    keys: jax.Array | None = None,
    *,
    labels: jax.Array | None = None,
    logits: jax.Array | None = None,
    temperature: float | None = None,
    axis_name: str | None = None,
) -> dict[str, jax.Array]:
    """Metrics of a batch: how far embeddings spread, what they are near to, what they share.

    With keys the positive of an anchor is its own key and the negatives are the keys of the batch's
    other rows; with labels the positives are the other rows of its class and the negatives those of
    other classes.

    ==================== ====== ====================================================================
    mean_cosine          [M]    of two different rows; 1 where all lie on one point
    effective_rank       [M]    directions in use, `effective_rank` of at most 64 rows
    embedding_std        [M]    of a coordinate over rows, mean over coordinates; 0 where all lie on
                                one point, about ``1 / sqrt(D)`` where they spread over the sphere
    positive_similarity  [M]    mean cosine of an anchor and its positives
    hardest_negative     [M]    mean over anchors of the largest cosine with a negative
    mutual_information   [M, M] with ``temperature``: `mutual_information.pairwise_bounds`
    agreement            [M, M] with ``logits``: share of rows put into the same class
    ==================== ====== ====================================================================

    An anchor without a positive or without a negative is left out; a mean over none is 0.

    Args:
        queries: [M, b, D], floating, unit vectors of this device's anchors.
        keys: [M, b, D], each anchor's own key: of another view, of a momentum network, or from a
            bank; None where positives are told by labels.
        labels: [b], integer; positives are then of the anchor's class, among ``queries``.
        logits: [M, b, C], where they are answers.
        temperature: of the contrast. To be given only where rows are independent draws, so that the
            batch's other keys are draws from the marginal: ``data.sampler`` shuffled, and no
            labels. Which negatives the loss was trained with does not matter: the bound holds for
            any critic. As it is read on rows of training, it tells what the networks know of these.
        axis_name: mapped axis that the batch is split over, or None.

    Returns:
        Metrics by name.

    Raises:
        ValueError: neither or both of ``keys`` and ``labels`` are given, ``temperature`` is given
            without ``keys``, or shapes do not fit.

    Example:
        >>> z = losses.l2_normalize(jax.random.normal(jax.random.key(0), (2, 8, 4)))
        >>> found = diagnostics(z, z, temperature=0.1)
        >>> {name: x.shape for name, x in found.items() if x.ndim > 1}
        {'mutual_information': (2, 2)}
        >>> found["positive_similarity"].round(3).tolist()
        [1.0, 1.0]

    RankMe is of Garrido et al., arXiv 2210.02885; the spread of coordinates is SimSiam's reading,
    Chen & He, arXiv 2011.10566; the bound is that of MCL, arXiv 2104.12565, here of the batch's
    keys and with the positive counted among them.
    """
    _check(queries, keys, labels, temperature)
    anchors = _first(queries, axis_name)
    found = {
        "mean_cosine": losses.mean_cosine(anchors),
        "effective_rank": effective_rank(anchors[:, :RANK_ROWS]),
        "embedding_std": jnp.mean(jnp.std(anchors, axis=1), axis=-1),
    }
    own = jnp.eye(anchors.shape[1], dtype=bool)
    candidates, positives, negatives = anchors, own, ~own
    if keys is not None:
        candidates = _first(keys, axis_name)
    if labels is not None:
        same = losses.same_class(gather(labels, axis_name)[: anchors.shape[1]])
        positives, negatives = same & ~own, ~same
    cosines = jnp.einsum(
        "aid,akd->aik",
        anchors,
        candidates,
        precision=lax.Precision.HIGHEST,
        preferred_element_type=anchors.dtype,
    )
    found["positive_similarity"] = _mean_over_anchors(
        jnp.sum(cosines * positives, axis=-1) / jnp.maximum(jnp.sum(positives, axis=-1), 1),
        jnp.any(positives, axis=-1),
    )
    found["hardest_negative"] = _mean_over_anchors(
        jnp.max(cosines, axis=-1, where=negatives, initial=-1.0), jnp.any(negatives, axis=-1)
    )
    if temperature is not None:
        found["mutual_information"] = _bounds(
            anchors[:, :BOUND_ROWS], candidates[:, :BOUND_ROWS], temperature
        )
    if logits is not None:
        found["agreement"] = agreement(_first(logits, axis_name))
    # What was gathered is the same on all devices; this says so.
    return pmean(found, axis_name)


def _bounds(queries: jax.Array, keys: jax.Array, temperature: float) -> jax.Array:
    """As `mutual_information.pairwise_bounds`, in a few operations: [M, n, D] twice to [M, M]."""
    logits = losses.cross_network_logits(queries, keys, temperature)
    own = jnp.diagonal(logits, axis1=2, axis2=3)
    loss = jnp.mean(jax.nn.logsumexp(logits, axis=-1) - own, axis=-1)
    return mutual_information.lower_bound(loss, logits.shape[-1])


def effective_rank(embeddings: jax.Array) -> jax.Array:
    """How many directions embeddings use, as `mcl_jax.losses.effective_rank`, for every step.

    Computes ``exp(-sum_k p_k log p_k)``, ``p = sigma / sum(sigma)``, sigma the square roots of the
    eigenvalues of the smaller Gram matrix. Rounding leaves of an eigenvalue below ``1e-5`` of the
    largest little that is true: it counts as 0.

    Args:
        embeddings: [..., B, D], floating.

    Returns:
        [...], from 1 to ``min(B, D)``; 0 where all rows are zero.

    Example:
        >>> effective_rank(jnp.stack([jnp.eye(4), jnp.ones((4, 4))])).round(3).tolist()
        [4.0, 1.0]
    """
    wide = embeddings.shape[-1] > embeddings.shape[-2]
    gram = jnp.einsum(
        "...id,...jd->...ij" if wide else "...id,...ie->...de",
        embeddings,
        embeddings,
        precision=lax.Precision.HIGHEST,
    )
    values = jnp.linalg.eigvalsh(gram)
    values = jnp.where(values > 1e-5 * values[..., -1:], values, 0.0)
    sigma = jnp.sqrt(values)
    total = jnp.sum(sigma, axis=-1)
    p = sigma / jnp.where(total > 0, total, 1.0)[..., None]
    entropy = -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1.0)), axis=-1)
    return jnp.where(total > 0, jnp.exp(entropy), 0.0)


def agreement(logits: jax.Array) -> jax.Array:
    """Share of rows that networks a and b put into the same class, [M, N, C] to [M, M].

    Example:
        >>> agreement(jnp.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    answers = jnp.argmax(logits, axis=-1)
    return jnp.mean(answers[:, None] == answers[None], axis=-1)


def _check(
    queries: jax.Array,
    keys: jax.Array | None,
    labels: jax.Array | None,
    temperature: float | None,
) -> None:
    """Raises ValueError unless the arguments belong together."""
    if (keys is None) == (labels is None):
        both = "neither" if keys is None else "both"
        raise ValueError(f"either keys or labels must tell the positives, got {both}.")
    if temperature is not None and keys is None:
        raise ValueError(
            "temperature asks for a bound on mutual information, which wants keys: draws that "
            "labels part are none from the marginal."
        )
    if queries.ndim != 3 or (keys is not None and keys.shape != queries.shape):
        shapes = queries.shape if keys is None else (queries.shape, keys.shape)
        raise ValueError(f"queries and keys must both be [M, b, D], got {shapes}.")
    if labels is not None and labels.shape != queries.shape[1:2]:
        raise ValueError(f"labels must be [{queries.shape[1]}], got {labels.shape}.")


def _first(x: jax.Array, axis_name: str | None) -> jax.Array:
    """The first rows of the whole batch, [M, b, ...] to float32 or wider [M, n, ...]; stopped."""
    x = gather(lax.stop_gradient(x), axis_name, axis=1)[:, :ROWS]
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _mean_over_anchors(values: jax.Array, counted: jax.Array) -> jax.Array:
    """[M, n] and bool [n] to [M]."""
    return jnp.sum(values * counted, axis=-1) / jnp.maximum(jnp.sum(counted), 1)
