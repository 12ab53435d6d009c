"""The terms of mutual contrast between predictions and targets, several of each for an image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mcl_jax import losses
from mcl_jax.axes import gather
from mcl_jax.losses import MCLTerms
from mcl_jax.losses.reduction import anchor_mean, distinct_pairs

FORMS = ("predictions", "targets", "nt_xent", "cosine")


class Contrast(NamedTuple):
    """What all forms have in common.

    Attributes:
        temperature: of the softmax.
        soft_temperature: T of the soft terms, or None for none.
        pair_weights: [M, M], what network a learns from network b; None weighs all alike.
        chunk_size: keys that are met at once, or None.
        axis_name: mapped axis that the batch is split over, or None.
    """

    temperature: float
    soft_temperature: float | None = None
    pair_weights: jax.Array | None = None
    chunk_size: int | None = None
    axis_name: str | None = None


def contrast(
    form: str, predictions: jax.Array, targets: jax.Array, position: jax.Array, by: Contrast
) -> MCLTerms:
    """The terms, their mean over all choices of an image's predictions and of its targets.

    With ``q`` a prediction and ``t`` a target of each image, of network a and network b,

    * ``predictions``: anchors are the q, candidates the t of all images, the image's own positive;
    * ``targets``: anchors are the t, candidates the q of all images;
    * ``nt_xent``: anchors are both, candidates all q and all t but the anchor itself;
    * ``cosine``: ``2 - 2 cos(q, t)``, the mean over images; nothing is soft.

    Pair weights are of who learns: where anchors are targets, which move nobody, that is the
    network of the candidates.

    Args:
        form: one of ``FORMS``.
        predictions: [M, b, C, D], unit vectors of this device's rows.
        targets: [M, b, C', D], the same.
        position: [b], of these rows in the whole batch.
        by: how they are compared.

    Returns:
        MCLTerms of scalars.

    Raises:
        ValueError: there is no such form.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
    if form == "cosine":
        return _regression(predictions, targets, by)
    queries, keys = jnp.moveaxis(predictions, 2, 0), jnp.moveaxis(targets, 2, 0)

    def of_pair(query: jax.Array, key: jax.Array) -> MCLTerms:
        if form == "nt_xent":
            return _of_both(query, key, position, by)
        anchors, candidates = (query, key) if form == "predictions" else (key, query)
        candidates = gather(candidates, by.axis_name, axis=1)
        own = losses.same_class(position, jnp.arange(candidates.shape[1]))
        return _terms(anchors, candidates, own, None, by, stopped=form == "targets")

    found = jax.vmap(jax.vmap(of_pair, (None, 0)), (0, None))(queries, keys)
    return jax.tree.map(jnp.mean, found)


def _of_both(query: jax.Array, key: jax.Array, position: jax.Array, by: Contrast) -> MCLTerms:
    """Each vector against all others of both kinds."""
    kinds = (query, key)
    candidates = jnp.concatenate([gather(x, by.axis_name, axis=1) for x in kinds], axis=1)
    rows = candidates.shape[1] // 2
    columns = jnp.arange(2 * rows)

    def of_kind(kind: int) -> MCLTerms:
        others = losses.not_self(position + kind * rows, columns)
        own = losses.same_class(position, columns % rows) & others
        return _terms(kinds[kind], candidates, own, others, by, stopped=kind == 1)

    return jax.tree.map(lambda x, y: (x + y) / 2, of_kind(0), of_kind(1))


def _terms(
    anchors: jax.Array,
    candidates: jax.Array,
    positives: jax.Array,
    others: jax.Array | None,
    by: Contrast,
    *,
    stopped: bool,
) -> MCLTerms:
    """The four terms; stopped: whether anchors move nobody, and so the candidates' network learns.

    Soft VCL is within each network, so that who learns is the same either way.
    """

    def weighed(weights: jax.Array | None) -> MCLTerms:
        return losses.mcl_terms(
            anchors,
            candidates,
            positives,
            others,
            soft_candidates=others,
            temperature=by.temperature,
            soft_temperature=by.soft_temperature,
            pair_weights=weights,
            axis_name=by.axis_name,
            chunk_size=by.chunk_size,
        )

    if by.pair_weights is None or not stopped:
        return weighed(by.pair_weights)
    terms = weighed(by.pair_weights.T)
    if by.soft_temperature is None:
        return terms
    return terms._replace(soft_vcl=weighed(by.pair_weights).soft_vcl)


def _regression(predictions: jax.Array, targets: jax.Array, by: Contrast) -> MCLTerms:
    """Squared distances of unit vectors, within networks and across them."""
    # The mean over all choices is that of the means: the cosine of unit vectors is linear in each.
    query, key = predictions.mean(axis=2), jax.lax.stop_gradient(targets).mean(axis=2)
    cosines = jnp.einsum("aid,bid->abi", query, key, precision=jax.lax.Precision.HIGHEST)
    counts = jnp.ones(cosines.shape, bool)
    distances = 2 - 2 * anchor_mean(cosines, counts, by.axis_name)
    weights = jnp.ones_like(distances) if by.pair_weights is None else by.pair_weights
    weights = weights.astype(distances.dtype)
    nothing = jnp.zeros(())
    return MCLTerms(
        vcl=jnp.sum(jnp.diagonal(distances * weights)),
        soft_vcl=nothing,
        icl=distinct_pairs(distances, weights),
        soft_icl=nothing,
    )
