"""KL terms by which networks teach each other: of similarity distributions and of class logits.

Mutual Contrastive Learning, arXiv 2104.12565. With ``p(x; T) = softmax(x / T)`` over the last axis
and ``stop`` the stopped gradient, a teacher t moves a student s by

    T^2 KL( stop(p(t; T)) || p(s; T) ),

summed over keys (or classes), averaged over anchors, summed over networks or pairs.
"""

import jax
import jax.numpy as jnp
from jax import lax

from mcl_jax.losses import checks
from mcl_jax.losses.reduction import anchor_mean, distinct_pairs, network_diagonal
from mcl_jax.losses.rounding import known_bounds

_STUDENTS = ("all", "last")


def soft_vcl(
    logits: jax.Array,
    candidates: jax.Array | None = None,
    *,
    soft_temperature: float | jax.Array = 3.0,
    pair_weights: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Each network's own similarity distribution learns from every other network's own.

    Computes ``sum_{a != b} w[a, b] mean_i T^2 KL(stop(p(logits[b, b, i])) || p(logits[a, a, i]))``,
    column k being the same image for both.

    Args:
        logits: [M, M, B, K], from `cross_network_logits`.
        candidates: bool, broadcast to ``logits``: the keys the distributions run over; entry
            [a, a], the student's, serves teacher and student. None means every key.
        soft_temperature: T, above 0, on top of the temperature of the logits.
        pair_weights: [M, M]; entry [a, b] weighs what network a learns from network b.
        axis_name: mapped axis that the anchors are split over, or None.

    Returns:
        A scalar; 0 for one network and for equal networks.

    Raises:
        TypeError: ``logits`` is not floating or ``candidates`` is not boolean.
        ValueError: a shape does not fit, or ``soft_temperature`` is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> equal = jnp.ones((2, 2, 3, 5)) * jnp.arange(5.0)
        >>> float(soft_vcl(equal))
        0.0

    The authors' terms run over all keys, the anchor's own column included; leave it out with
    ``candidates`` to have the paper's formula.
    """
    logits, weights = checks.network_pairs(logits, pair_weights)
    candidates = checks.optional_mask(candidates, logits.shape, "candidates")
    own = network_diagonal(logits)
    own_candidates = None if candidates is None else network_diagonal(candidates)[:, None]
    terms = _kl(own[None], own[:, None], own_candidates, soft_temperature)
    return distinct_pairs(_mean(terms, axis_name), weights)


def soft_icl(
    logits: jax.Array,
    candidates: jax.Array | None = None,
    *,
    soft_temperature: float | jax.Array = 3.0,
    pair_weights: jax.Array | None = None,
    axis_name: str | None = None,
) -> jax.Array:
    """Each cross-network similarity distribution learns from that of the opposite direction.

    Computes ``sum_{a != b} w[a, b] mean_i T^2 KL(stop(p(logits[b, a, i])) || p(logits[a, b, i]))``.

    Args:
        logits: [M, M, B, K], from `cross_network_logits`.
        candidates: bool, broadcast to ``logits``; entry [a, b], the student's, serves teacher and
            student. None means every key.
        soft_temperature: T, above 0, on top of the temperature of the logits.
        pair_weights: [M, M]; entry [a, b] weighs what network a learns from network b.
        axis_name: mapped axis that the anchors are split over, or None.

    Returns:
        A scalar; 0 for one network and for equal networks.

    Raises:
        TypeError, ValueError: as `soft_vcl`.

    Example:
        >>> import jax.numpy as jnp
        >>> logits = jnp.zeros((2, 2, 1, 2)).at[0, 1, 0, 0].set(3.0)
        >>> round(float(soft_icl(logits)), 4)  # 9 (KL(u || s) + KL(s || u)), s = softmax([1, 0])
        2.0795
    """
    logits, weights = checks.network_pairs(logits, pair_weights)
    candidates = checks.optional_mask(candidates, logits.shape, "candidates")
    terms = _kl(jnp.swapaxes(logits, 0, 1), logits, candidates, soft_temperature)
    return distinct_pairs(_mean(terms, axis_name), weights)


def logit_distillation(
    logits: jax.Array,
    *,
    soft_temperature: float | jax.Array = 3.0,
    students: str = "all",
    axis_name: str | None = None,
) -> jax.Array:
    """Networks learn from the mean of all networks' class logits.

    Computes ``sum_a mean_i T^2 KL(stop(p(mean_b logits[b, i])) || p(logits[a, i]))`` over the
    students a.

    Args:
        logits: [M, B, C], class logits.
        soft_temperature: T, above 0.
        students: ``"all"`` networks, or the ``"last"`` alone.
        axis_name: mapped axis that the anchors are split over, or None.

    Returns:
        A scalar; 0 for one network and for equal networks.

    Raises:
        TypeError: ``logits`` is not floating.
        ValueError: ``logits`` is not [M, B, C], ``soft_temperature`` is not above 0, or
            ``students`` is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> float(logit_distillation(jnp.ones((2, 4, 10))))
        0.0

    The authors distil both of two networks, and of more only the last; on ImageNet they do not
    stop the teacher.
    """
    if students not in _STUDENTS:
        raise ValueError(f"students must be one of {_STUDENTS}, got {students!r}.")
    logits = checks.as_floating(logits, "logits")
    checks.rank(logits, 3, "logits", "[M, B, C]")
    teacher = jnp.mean(logits, axis=0)
    learning = logits if students == "all" else logits[-1:]
    return jnp.sum(_mean(_kl(teacher, learning, None, soft_temperature), axis_name))


def deep_mutual(
    logits: jax.Array, *, soft_temperature: float | jax.Array = 1.0, axis_name: str | None = None
) -> jax.Array:
    """Each network learns from every other network's class logits (deep mutual learning).

    Computes ``sum_{a != b} mean_i T^2 KL(stop(p(logits[b, i])) || p(logits[a, i]))``.

    Args:
        logits: [M, B, C], class logits.
        soft_temperature: T, above 0.
        axis_name: mapped axis that the anchors are split over, or None.

    Returns:
        A scalar; 0 for one network and for equal networks.

    Raises:
        TypeError: ``logits`` is not floating.
        ValueError: ``logits`` is not [M, B, C] or ``soft_temperature`` is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> float(deep_mutual(jnp.ones((3, 4, 10))))
        0.0

    Deep Mutual Learning, arXiv 1706.00384, averages over a student's M - 1 teachers: divide by
    M - 1 for its figure. Here, as everywhere, pairs are summed.
    """
    logits = checks.as_floating(logits, "logits")
    checks.rank(logits, 3, "logits", "[M, B, C]")
    terms = _mean(_kl(logits[None], logits[:, None], None, soft_temperature), axis_name)
    return distinct_pairs(terms, jnp.ones_like(terms))


def _kl(
    teacher: jax.Array,
    student: jax.Array,
    candidates: jax.Array | None,
    soft_temperature: float | jax.Array,
) -> jax.Array:
    """T^2 KL(stop(p(teacher)) || p(student)) over the candidates: [..., K] -> [...]."""
    checks.positive_number(soft_temperature, "soft_temperature")
    temperature = jnp.asarray(soft_temperature, student.dtype)
    log_teacher = _log_softmax(lax.stop_gradient(teacher) / temperature, candidates)
    log_student = _log_softmax(student / temperature, candidates)
    if candidates is not None:
        log_teacher, log_student = (jnp.where(candidates, x, 0) for x in (log_teacher, log_student))
    summand = jnp.exp(log_teacher) * (log_teacher - log_student)
    return jnp.sum(summand, axis=-1, where=candidates) * temperature**2


def _log_softmax(x: jax.Array, where: jax.Array | None) -> jax.Array:
    """Of [..., K] over the keys of a mask; what it is for other keys means nothing.

    A compiler may round ``x`` differently in each place that reads it. Of logits beyond 1e9 the
    difference is enough for an exponential to overflow, or for all of them to vanish.
    """
    largest = jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf, where=where)
    shifted = known_bounds(x - lax.stop_gradient(largest), -jnp.inf, 0)
    total = jnp.sum(jnp.exp(shifted), axis=-1, keepdims=True, where=where)
    return shifted - jnp.log(known_bounds(total, 1, jnp.inf))


def _mean(terms: jax.Array, axis_name: str | None) -> jax.Array:
    """Mean over all anchors: [..., B] -> [...]."""
    return anchor_mean(terms, jnp.ones(terms.shape, bool), axis_name)
