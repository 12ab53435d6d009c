"""Mutual information between two variables, read from a critic's scores, in nats.

A critic ``t(x, y)`` scores pairs. *Joint* scores are of pairs that belong together, (x, y) drawn
from p(x, y); *marginal* scores are of an x with a y drawn from p(y) without regard to it. The best
critic is ``log p(y | x) / p(y)``, and every reading says how well a critic tells the two apart.

A bound is one on the expectation, for a critic that has not seen the rows it is read on: fit it on
one part of the data and read it on another. A single reading is an estimate, with an error of its
own; one taken on the rows that the critic was fitted on may lie far above the truth.

| reading | never above the mutual information I | greatest value |
|---|---|---|
| `info_nce` of K draws a row | in expectation, any critic | log(K + 1) |
| `vince`, negatives from a ball | in expectation, any critic | log(K + 1) |
| `vince`, negatives from a ring | only under the condition that `vince` states | log(K + 1) |
| `nwj` | in expectation, any critic | none |
| `donsker_varadhan` | only as draws go to infinity; of few it is too high | none |

All of them ask for independent rows. Batches that are balanced by class and negatives of which the
anchor's class is excluded are not drawn from p(y), and K draws from hardly more than K keys are not
independent if keys repeat: their losses have no such reading.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp

from mcl_jax import losses
from mcl_jax.losses import checks


def lower_bound(loss: jax.Array | float, num_candidates: int | jax.Array) -> jax.Array:
    """What an InfoNCE loss says of the mutual information between anchors and keys.

    Computes ``log(num_candidates) - loss``. A lower bound, in expectation, where there is one
    positive, drawn jointly with the anchor, the other candidates are drawn from the keys' marginal,
    and the critic has not seen these rows. At most ``log(num_candidates)``.

    Args:
        loss: [...], floating: the mean of `losses.info_nce` over anchors, of one pair of networks
            (`losses.icl` is a sum over pairs).
        num_candidates: a scalar of at least 1, the terms of the denominator, the positive counted.

    Returns:
        [...]; float32 for bfloat16 and float16, else the dtype of ``loss``.

    Raises:
        TypeError: ``loss`` is not floating.
        ValueError: ``num_candidates`` is not a scalar of at least 1.

    Example:
        >>> round(float(lower_bound(0.5, 4)), 4)  # log 4 - 0.5
        0.8863

    van den Oord et al., arXiv 1807.03748. MCL, arXiv 2104.12565, states ``log K - L_ICL`` with K
    the number of negatives, which is lower by ``log(1 + 1 / K)``.
    """
    if jnp.ndim(num_candidates) != 0 or (
        checks.number(num_candidates, "num_candidates") and not num_candidates >= 1
    ):
        raise ValueError(f"num_candidates must be a scalar of at least 1, got {num_candidates}.")
    loss = checks.as_floating(jnp.asarray(loss), "loss")
    return jnp.log(jnp.asarray(num_candidates, loss.dtype)) - loss


def joint_and_marginal(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Parts the scores of all pairs of a batch into those that belong together and the rest.

    Computes ``joint[i] = scores[i, i]`` and ``marginal[i] = scores[i, all but i]``, in order. Of
    independent pairs ``(x_i, y_i)``, other rows' y are draws from the marginal.

    Args:
        scores: [..., B, B], floating; row i holds the scores of x_i with every y. B at least 2.

    Returns:
        joint [..., B] and marginal [..., B, B - 1].

    Raises:
        TypeError: ``scores`` is not floating.
        ValueError: ``scores`` is not [..., B, B] with B at least 2.

    Example:
        >>> import jax.numpy as jnp
        >>> joint, marginal = joint_and_marginal(jnp.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> joint.tolist(), marginal.tolist()
        ([1.0, 4.0], [[2.0], [3.0]])
    """
    scores = checks.as_floating(scores, "scores")
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2] or scores.shape[-1] < 2:
        raise ValueError(f"scores must be [..., B, B] with B at least 2, got shape {scores.shape}.")
    rows = jnp.arange(scores.shape[-1])[:, None]
    others = jnp.arange(scores.shape[-1] - 1)
    return jnp.diagonal(scores, axis1=-2, axis2=-1), scores[..., rows, others + (others >= rows)]


def info_nce(joint: jax.Array, marginal: jax.Array) -> jax.Array:
    """InfoNCE reading: how often the joint pair stands out among K marginal ones.

    Computes ``mean_i [ t_i - log( (exp(t_i) + sum_k exp(u_ik)) / (K + 1) ) ]``, t joint and u
    marginal. In expectation a lower bound for any critic, and at most ``log(K + 1)``: of a larger
    mutual information it shows no more than that. Adding a function of x to the critic changes
    nothing.

    Args:
        joint: [..., B], floating, the scores of the pairs that belong together.
        marginal: [..., B, K], floating, row i the scores of x_i with K draws from p(y).

    Returns:
        [...], in nats; float32 for bfloat16 and float16.

    Raises:
        TypeError: an argument is not floating.
        ValueError: shapes are not as above, or a size is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(info_nce(jnp.full((5,), 30.0), jnp.zeros((5, 3)))), 4)  # log 4
        1.3863

    van den Oord et al., arXiv 1807.03748; Poole et al., arXiv 1905.06922.
    """
    return _info_nce(*_scores(joint, marginal, "marginal"))


def vince(joint: jax.Array, conditional: jax.Array) -> jax.Array:
    """VINCE (or CNCE) reading: InfoNCE with negatives from a region of difficult keys.

    Computes what `info_nce` does, of draws from ``q(y | x)``: p(y) restricted to the keys whose
    score lies in a region that depends on x alone. In expectation, whatever K is:

    * a *ball* (all keys above a threshold): never above InfoNCE, hence a lower bound;
    * a *ring* (a ball without its most similar keys): not above InfoNCE if, for every x,
      ``E_q[exp t | x] >= E_p[exp t | x]``. Of a sharp critic (a low temperature) the dropped keys
      carry most of the right-hand side, and this fails: the reading may then exceed InfoNCE, and
      the mutual information too.

    At most ``log(K + 1)``.

    Args:
        joint: [..., B], floating, the scores of the pairs that belong together.
        conditional: [..., B, K], floating, row i the scores of x_i with K draws from its region.

    Returns:
        [...], in nats; float32 for bfloat16 and float16.

    Raises:
        TypeError: an argument is not floating.
        ValueError: shapes are not as above, or a size is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> scores = jnp.array([[4.0, 2.0, 0.0, -2.0]])
        >>> joint, all_keys, ball = scores[:, 0], scores[:, 1:], scores[:, 1:2].repeat(3, axis=1)
        >>> bool(vince(joint, ball) < info_nce(joint, all_keys))
        True

    Wu et al., arXiv 2005.13149 and 2010.02037, where regions are runs of ranks among a bank's keys.
    """
    return _info_nce(*_scores(joint, conditional, "conditional"))


def donsker_varadhan(joint: jax.Array, marginal: jax.Array) -> jax.Array:
    """Donsker-Varadhan reading (MINE).

    Computes ``mean_i t_i - log mean_ik exp(u_ik)``, t joint and u marginal. With exact expectations
    a lower bound for any critic, equal to the mutual information for the best one, with any
    constant added. The logarithm of a mean of few draws is too small on average, so the reading is
    too large: not a lower bound at finite B and K. It has no greatest value, and of a large mutual
    information its spread is large too.

    Args:
        joint: [..., B], floating, the scores of the pairs that belong together.
        marginal: [..., B, K], floating, row i the scores of x_i with K draws from p(y).

    Returns:
        [...], in nats; float32 for bfloat16 and float16.

    Raises:
        TypeError: an argument is not floating.
        ValueError: shapes are not as above, or a size is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> float(donsker_varadhan(jnp.full((5,), 2.0), jnp.zeros((5, 3))))
        2.0

    Belghazi et al., arXiv 1801.04062, who put a running mean for the batch's into the gradient.
    """
    joint, marginal = _scores(joint, marginal, "marginal")
    return jnp.mean(joint, axis=-1) - _log_mean_exp(marginal)


def nwj(joint: jax.Array, marginal: jax.Array) -> jax.Array:
    """Nguyen-Wainwright-Jordan reading (f-GAN's KL, MINE-f).

    Computes ``mean_i t_i - mean_ik exp(u_ik - 1)``, t joint and u marginal. In expectation a lower
    bound for any critic and any number of draws, equal to the mutual information for the critic
    ``1 + log p(y | x) / p(y)``, and never above `donsker_varadhan`. It has no greatest value, and
    few draws seldom hold the rare large scores that its mean rests on: most readings are then too
    large and a few far too small.

    Args:
        joint: [..., B], floating, the scores of the pairs that belong together.
        marginal: [..., B, K], floating, row i the scores of x_i with K draws from p(y).

    Returns:
        [...], in nats; float32 for bfloat16 and float16. Where the mean exponential is no finite
        number it counts as the largest, with zero gradient.

    Raises:
        TypeError: an argument is not floating.
        ValueError: shapes are not as above, or a size is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> float(nwj(jnp.full((5,), 2.0), jnp.ones((5, 3))))
        1.0

    Nguyen et al., arXiv 0809.0853; Poole et al., arXiv 1905.06922.
    """
    joint, marginal = _scores(joint, marginal, "marginal")
    largest = jnp.log(jnp.finfo(marginal.dtype).max) - 1  # less 1: a sum with it stays finite
    mean = jnp.exp(jnp.minimum(_log_mean_exp(marginal) - 1, largest))
    return jnp.mean(joint, axis=-1) - mean


def pairwise_bounds(
    queries: jax.Array,
    keys: jax.Array,
    *,
    temperature: float | jax.Array,
    axis_name: str | None = None,
) -> jax.Array:
    """InfoNCE reading of every ordered pair of networks, within a batch.

    Computes ``log B - mean_i info_nce(logits[a, b])[i]``, row i of network b's keys being the
    positive of row i of network a's queries, and the batch's other rows its negatives. A lower
    bound, in expectation, on the mutual information between a's queries and b's keys, where rows
    are independent draws and the networks have not seen them: held-out rows, not balanced by class.
    At most ``log B``. On the diagonal queries and keys must be of two views: a network's embedding
    says everything of itself.

    Args:
        queries: [M, B, D], floating, unit vectors as a rule.
        keys: [M, B, D], floating, row i of the same image as row i of ``queries``.
        temperature: a scalar above 0.
        axis_name: mapped axis that the queries' rows are split over, or None. ``keys`` are then
            those of all devices, in their order, and B is the number of these.

    Returns:
        [M, M], in nats; entry [a, b] is of queries of network a and keys of network b.

    Raises:
        TypeError: an argument is not floating.
        ValueError: the shapes do not fit together, or ``temperature`` is not a scalar above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> z = jnp.eye(4)[None].repeat(2, axis=0)  # two networks that tell all rows apart
        >>> pairwise_bounds(z, z, temperature=0.02).round(3).tolist()  # log 4
        [[1.3860000371932983, 1.3860000371932983], [1.3860000371932983, 1.3860000371932983]]

    MCL, arXiv 2104.12565, states this of its ICL loss, with log of the number of negatives.
    """
    checks.rank(keys, 3, "keys", "[M, B, D]")
    logits = losses.cross_network_logits(queries, keys, temperature)
    anchors, rows = logits.shape[2:]
    devices = 1 if axis_name is None else lax.axis_size(checks.mapped_axis(axis_name))
    if not rows == anchors * devices > 0:
        raise ValueError(
            f"keys must have the rows of the queries of all devices, {devices} times {anchors}, "
            f"at least one, got {rows}."
        )
    first = 0 if axis_name is None else lax.axis_index(axis_name) * anchors
    own = ~losses.not_self(first + jnp.arange(anchors), jnp.arange(rows))
    loss = jnp.mean(losses.info_nce(logits, own), axis=-1)
    return lower_bound(loss if axis_name is None else lax.pmean(loss, axis_name), rows)


def _info_nce(joint: jax.Array, negatives: jax.Array) -> jax.Array:
    logits = jnp.concatenate([joint[..., None], negatives], axis=-1)
    own = jnp.arange(logits.shape[-1]) == 0
    return lower_bound(jnp.mean(losses.info_nce(logits, own), axis=-1), logits.shape[-1])


def _log_mean_exp(x: jax.Array) -> jax.Array:
    """Logarithm of the mean of exponentials over all draws of all rows: [..., B, K] -> [...]."""
    return logsumexp(x, axis=(-2, -1)) - jnp.log(jnp.asarray(x.shape[-2] * x.shape[-1], x.dtype))


def _scores(joint: jax.Array, draws: jax.Array, name: str) -> tuple[jax.Array, jax.Array]:
    """Joint scores [..., B] and those of ``name`` [..., B, K], in one dtype."""
    joint, draws = checks.as_floating(joint, "joint"), checks.as_floating(draws, name)
    if not joint.ndim or draws.shape[:-1] != joint.shape or 0 in draws.shape:
        raise ValueError(
            f"joint must be [..., B] and {name} [..., B, K], none of them empty, got shapes "
            f"{joint.shape} and {draws.shape}."
        )
    dtype = jnp.result_type(joint, draws)
    return joint.astype(dtype), draws.astype(dtype)
