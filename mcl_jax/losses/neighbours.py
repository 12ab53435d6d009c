"""Local aggregation: the rows of an anchor's clusters are its positives."""

import functools
import operator

import jax

from mcl_jax.losses import checks
from mcl_jax.losses.contrastive import info_nce
from mcl_jax.losses.masks import same_class

_COMBINE = {"union": operator.or_, "intersection": operator.and_}


def local_aggregation(logits: jax.Array, close: jax.Array, background: jax.Array) -> jax.Array:
    """Cross-entropy of picking the close neighbours out of the background ones, for each anchor.

    Computes ``log sum_{k in background} exp(logits) - log sum_{k in close and background}
    exp(logits)``, which is `info_nce` with ``"log_sum"``.

    Args:
        logits: [..., B, K], floating.
        close: bool, broadcast to ``logits``; see `close_neighbours`.
        background: bool, broadcast to ``logits``: the keys nearest to the anchor. Let both masks
            hold the anchor's own row, so that the two always meet.

    Returns:
        [..., B]; 0 for an anchor without a close neighbour in the background, with zero gradient.

    Raises:
        TypeError: ``logits`` is not floating or a mask is not boolean.
        ValueError: a mask does not broadcast.

    Example:
        >>> import jax.numpy as jnp
        >>> keys = jnp.arange(8)[None]
        >>> loss = local_aggregation(jnp.zeros((1, 8)), keys < 3, keys > 0)
        >>> round(float(loss[0]), 4)  # log(7 / 2)
        1.2528

    Local Aggregation, arXiv 1903.12355. The authors add 1e-7 to the ratio of the two sums, so that
    their loss is at most log(10^7), which is also that of an anchor without close neighbours in the
    background, and their gradient fades where the ratio is smaller.
    """
    logits = checks.as_floating(logits, "logits")
    close = checks.mask(close, logits.shape, "close")
    background = checks.mask(background, logits.shape, "background")
    return info_nce(logits, close & background, background, numerator="log_sum")


def close_neighbours(
    assignments: jax.Array, key_assignments: jax.Array, combine: str = "union"
) -> jax.Array:
    """Marks the keys that share a cluster with the anchor, over several clusterings.

    Computes ``mask[i, k] = any_h (assignments[h, i] == key_assignments[h, k])``, or ``all_h`` for
    the intersection.

    Args:
        assignments: [H, B], the anchors' clusters in each of H clusterings, integer.
        key_assignments: [H, K], those of the keys.
        combine: ``"union"`` or ``"intersection"`` of the H sets.

    Returns:
        [B, K], bool, oneself included.

    Raises:
        TypeError: an argument is not integer.
        ValueError: a shape is not as above, H is 0 or differs, or ``combine`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> clusters = jnp.array([[0, 0, 1], [0, 1, 1]])
        >>> close_neighbours(clusters[:, :1], clusters).tolist()
        [[True, True, False]]
        >>> close_neighbours(clusters[:, :1], clusters, "intersection").tolist()
        [[True, False, False]]

    Local Aggregation, arXiv 1903.12355, takes the union.
    """
    if combine not in _COMBINE:
        raise ValueError(f"combine must be one of {tuple(_COMBINE)}, got {combine!r}.")
    checks.rank(assignments, 2, "assignments", "[H, B]")
    checks.rank(key_assignments, 2, "key_assignments", "[H, K]")
    runs = assignments.shape[0]
    if runs == 0 or key_assignments.shape[0] != runs:
        raise ValueError(
            f"assignments [H, B] and key_assignments [H, K] must have the same H of 1 or more, got "
            f"shapes {assignments.shape} and {key_assignments.shape}."
        )
    checks.integer(assignments, "assignments")
    checks.integer(key_assignments, "key_assignments")
    masks = (same_class(*run) for run in zip(assignments, key_assignments, strict=True))
    return functools.reduce(_COMBINE[combine], masks)
