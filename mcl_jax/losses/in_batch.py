"""Objectives whose keys are the batch itself: supervised contrast and SimCLR's."""

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses import checks
from mcl_jax.losses.contrastive import info_nce
from mcl_jax.losses.masks import not_self, same_class
from mcl_jax.losses.reduction import anchor_mean
from mcl_jax.losses.similarity import cross_network_logits

_NUMERATORS = {"out": "mean_log", "in": "log_sum"}


def supcon(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    temperature: float | jax.Array,
    form: str = "out",
    axis_name: str | None = None,
) -> jax.Array:
    """Supervised contrastive loss: every view of every row against all other ones.

    Computes, with ``s[i, k] = <z_i, z_k> / temperature`` among all ``V B`` embeddings z, ``A(i)``
    all of them but z_i itself and ``P(i)`` those of ``A(i)`` of the same class, the mean over the
    anchors i that have a positive of

    * ``"out"``: ``-1/|P(i)| sum_{p in P(i)} log( exp(s[i, p]) / sum_{a in A(i)} exp(s[i, a]) )``,
    * ``"in"``: ``-log( 1/|P(i)| sum_{p in P(i)} exp(s[i, p]) / sum_{a in A(i)} exp(s[i, a]) )``,

    which are `info_nce` with ``"mean_log"``, and with ``"log_sum"`` plus ``log |P(i)|``.

    Args:
        embeddings: [V, B, D], unit vectors.
        labels: [B], the rows' classes, integer.
        temperature: a scalar above 0.
        form: ``"out"`` or ``"in"``: where the sum over positives stands, seen from the logarithm.
        axis_name: mapped axis that the rows are split over, or None. Arguments are then the
            device's own; keys are gathered from all devices.

    Returns:
        A scalar; 0 if no anchor has a positive. ``log(V B - 1)`` where all embeddings are equal.

    Raises:
        TypeError: ``embeddings`` is not floating or ``labels`` is not integer.
        ValueError: a shape is not as above, ``temperature`` is not above 0, or ``form`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> z = jnp.ones((2, 3, 1))
        >>> round(float(supcon(z, jnp.array([0, 0, 1]), temperature=0.1)), 4)  # log 5
        1.6094

    Supervised Contrastive Learning, arXiv 2004.11362, equations 2 and 3, which sum over the anchors
    where the mean is taken here. The authors' code has the form ``"out"`` alone, multiplies it by
    ``temperature / 0.07``, and lets an anchor without a positive count as 0 in the mean.
    """
    if form not in _NUMERATORS:
        raise ValueError(f"form must be one of {tuple(_NUMERATORS)}, got {form!r}.")
    checks.rank(embeddings, 3, "embeddings", "[V, B, D]")
    views, batch, dim = embeddings.shape
    if jnp.shape(labels) != (batch,):
        raise ValueError(f"labels must have shape ({batch},), got {jnp.shape(labels)}.")
    anchors, classes = embeddings.reshape(views * batch, dim), jnp.tile(labels, views)
    index = _positions(views * batch, axis_name)
    keys, key_classes, key_index = (_gather(x, axis_name) for x in (anchors, classes, index))
    others = not_self(index, key_index)
    positives = same_class(classes, key_classes) & others
    logits = cross_network_logits(anchors[None], keys[None], temperature)[0, 0]
    values = info_nce(logits, positives, others, numerator=_NUMERATORS[form])
    number = jnp.sum(positives, axis=-1, dtype=values.dtype)
    if form == "in":
        values += jnp.log(jnp.maximum(number, 1))
    return anchor_mean(values, number > 0, axis_name)


def nt_xent(
    first: jax.Array,
    second: jax.Array,
    *,
    temperature: float | jax.Array,
    axis_name: str | None = None,
) -> jax.Array:
    """SimCLR's loss: each view picks the other one of its row among all views but itself.

    Computes `supcon` of the two views with every row a class of its own: the mean over the ``2 B``
    anchors of ``-log( exp(s[i, j(i)]) / sum_{k != i} exp(s[i, k]) )``, where ``j(i)`` is the other
    view of i's row.

    Args:
        first: [B, D], unit vectors, one view of each row.
        second: [B, D], the other view.
        temperature: a scalar above 0.
        axis_name: mapped axis that the rows are split over, or None. Arguments are then the
            device's own; keys are gathered from all devices.

    Returns:
        A scalar; ``log(2 B - 1)`` where all embeddings are equal.

    Raises:
        TypeError: an argument is not floating.
        ValueError: ``first`` is not [B, D], ``second`` has another shape, or ``temperature`` is not
            above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> z = jnp.ones((2, 1))
        >>> round(float(nt_xent(z, z, temperature=0.5)), 4)  # log 3
        1.0986

    SimCLR, arXiv 2002.05709. The authors' code adds up the means of the two views, so its value is
    twice this one. Some codes divide the sum of exponentials by B or 2 B, which takes a constant
    off. SimCLRRing of arXiv 2010.02037 has the anchors of the first view alone and leaves each
    among its own keys.
    """
    checks.rank(first, 2, "first", "[B, D]")
    if jnp.shape(second) != first.shape:
        raise ValueError(
            f"second must have the shape of first, {first.shape}, got {jnp.shape(second)}."
        )
    views = [checks.as_floating(x, name) for x, name in ((first, "first"), (second, "second"))]
    rows = _positions(first.shape[0], axis_name)
    return supcon(jnp.stack(views), rows, temperature=temperature, axis_name=axis_name)


def _positions(local: int, axis_name: str | None) -> jax.Array:
    """Where this device's ``local`` rows stand among those of all devices, int32."""
    first = 0 if axis_name is None else lax.axis_index(checks.mapped_axis(axis_name)) * local
    return first + jnp.arange(local, dtype=jnp.int32)


def _gather(x: jax.Array, axis_name: str | None) -> jax.Array:
    """The rows of all devices, in the order of the devices."""
    return x if axis_name is None else lax.all_gather(x, checks.mapped_axis(axis_name), tiled=True)
