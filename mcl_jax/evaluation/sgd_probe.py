"""A linear classifier trained by stochastic gradient descent, as the papers judge encoders."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from mcl_jax.evaluation.labelled import Labelled, to_choose_on
from mcl_jax.evaluation.linear_probe import Probe

LEARNING_RATES = (0.01, 10.0, 30.0)


class Schedule(NamedTuple):
    """How the classifier is trained.

    Attributes:
        epochs: passes over the training rows.
        milestones: epochs at which the rate drops.
        gamma: factor at a milestone.
        momentum: of the gradients.
        batch_size: B; the rows of an epoch that make no whole batch are left out.
    """

    epochs: int = 100
    milestones: tuple[int, ...] = (60, 80)
    gamma: float = 0.1
    momentum: float = 0.9
    batch_size: int = 256


MOCO = Schedule()


def sgd_probe(
    train: Labelled,
    validation: Labelled,
    test: np.ndarray,
    *,
    classes: int,
    learning_rates: Sequence[float] = LEARNING_RATES,
    schedule: Schedule = MOCO,
    seed: int = 0,
) -> Probe:
    """Softmax regression by SGD with momentum and without weight decay.

    Features are taken as they are, and once: no new views of an image are made, where papers
    augment the training images. The learning rates that papers use, 30 (MoCo on ImageNet), 10
    (CMC on ImageNet-100) and 0.01 (ring negatives), are trained side by side and the best on
    validation rows is taken, the first of equally good ones; one that leaves the finite numbers is
    never taken. Without validation rows a fifth of the training rows of each class is chosen on,
    and what was fitted to the others is judged.

    Args:
        train: features [N, F] and labels [N].
        validation: likewise; may be without rows.
        test: features [n, F] of the rows to be judged.
        classes: C.
        learning_rates: those that are tried.
        schedule: MoCo's 100 epochs with drops after 60 and 80.
        seed: of the order of rows and of the first weights.

    Returns:
        The probe.

    Raises:
        ValueError: no learning rate is given, or one is not above 0.

    Example:
        >>> import numpy as np
        >>> rows = Labelled(np.eye(2).repeat(10, axis=0), np.arange(2).repeat(10))
        >>> probe = sgd_probe(
        ...     rows, rows, np.eye(2), classes=2, learning_rates=(1.0,), schedule=Schedule(5, (3,))
        ... )
        >>> probe.accuracy, probe.probabilities.argmax(axis=1).tolist()
        ({1.0: 1.0}, [0, 1])

    He et al., arXiv 1911.05722.
    """
    if not learning_rates or min(learning_rates) <= 0:
        raise ValueError(f"learning_rates must be above 0, got {learning_rates}.")
    fitted, judged = to_choose_on(train, validation)
    features, labels = jnp.asarray(fitted.features, jnp.float32), jnp.asarray(fitted.labels)
    rates = jnp.asarray(learning_rates, jnp.float32)
    schedule = schedule._replace(batch_size=min(schedule.batch_size, len(fitted.labels)))
    weights, bias = _trained(features, labels, rates, jax.random.key(seed), classes, schedule)
    weights, bias = np.asarray(weights), np.asarray(bias)[:, None]
    accuracy = {}
    for rate, logits in zip(learning_rates, judged.features @ weights + bias, strict=True):
        right = np.mean(logits.argmax(axis=1) == judged.labels)
        accuracy[rate] = float(right) if np.isfinite(logits).all() else 0.0
    chosen = max(accuracy, key=lambda rate: accuracy[rate])
    best = list(learning_rates).index(chosen)
    logits = np.nan_to_num(test @ weights[best] + bias[best])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return Probe(probabilities, chosen, accuracy)


@functools.partial(jax.jit, static_argnums=(4, 5))
def _trained(
    features: jax.Array,
    labels: jax.Array,
    rates: jax.Array,
    key: jax.Array,
    classes: int,
    schedule: Schedule,
) -> tuple[jax.Array, jax.Array]:
    """Weights [R, F, C] and biases [R, C], one for each of R learning rates."""
    count, width = features.shape
    start, order = jax.random.split(key)
    steps = count // schedule.batch_size
    drops = {epoch * steps: schedule.gamma for epoch in schedule.milestones}

    def train(rate: jax.Array) -> tuple[jax.Array, jax.Array]:
        factor = optax.piecewise_constant_schedule(1.0, drops)
        optimizer = optax.chain(
            optax.trace(schedule.momentum), optax.scale_by_schedule(lambda n: -rate * factor(n))
        )
        weights = 0.01 * jax.random.normal(start, (width, classes))
        first = weights, jnp.zeros(classes)

        def epoch(carry: tuple, number: jax.Array) -> tuple[tuple, None]:
            shuffled = jax.random.permutation(jax.random.fold_in(order, number), count)
            batches = shuffled[: steps * schedule.batch_size].reshape(steps, -1)
            return lax.scan(step, carry, batches)[0], None

        def step(carry: tuple, batch: jax.Array) -> tuple[tuple, None]:
            params, state = carry
            gradients = jax.grad(_loss)(params, features[batch], labels[batch])
            moves, state = optimizer.update(gradients, state)
            return (optax.apply_updates(params, moves), state), None

        carry = first, optimizer.init(first)
        return lax.scan(epoch, carry, jnp.arange(schedule.epochs))[0][0]

    return jax.vmap(train)(rates)


def _loss(params: tuple[jax.Array, jax.Array], features: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    weights, bias = params
    logits = jnp.matmul(features, weights, precision=lax.Precision.HIGHEST) + bias
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
