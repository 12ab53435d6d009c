"""What methods with labels share: classifiers beside the contrast, and what is read of both."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from mcl_jax import losses
from mcl_jax.axes import pmean
from mcl_jax.cohort import Output, ensemble
from mcl_jax.data import Batch
from mcl_jax.methods.contrast import weighted
from mcl_jax.methods.diagnostics import diagnostics


def classified(
    config: ConfigDict,
    contrast: Mapping[str, jax.Array],
    outputs: Output,
    batch: Batch,
    axis_name: str | None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The cross-entropy of all networks and the weighted terms, with what there is to be read.

    Args:
        config: of the run; its method has weights for all terms and for distillation.
        contrast: the terms of contrast by name.
        outputs: of this device's rows.
        batch: the same.
        axis_name: mapped axis that the rows are split over, or None.

    Returns:
        The loss and metrics.
    """
    options = config.method
    terms = dict(contrast)
    terms["logit_distillation"] = losses.logit_distillation(
        outputs.logits,
        soft_temperature=options.soft_temperature,
        students=options.distillation_students,
        axis_name=axis_name,
    )
    terms["deep_mutual"] = losses.deep_mutual(outputs.logits, axis_name=axis_name)
    cross_entropy = jax.vmap(optax.softmax_cross_entropy_with_integer_labels, in_axes=(0, None))(
        outputs.logits, batch.labels
    )
    cross_entropy = pmean(jnp.mean(cross_entropy, axis=1), axis_name)
    loss = jnp.sum(cross_entropy) + weighted(config, terms)
    accuracy = pmean(_accuracy(outputs.logits, batch.labels), axis_name)
    joint = pmean(_accuracy(ensemble(outputs.logits), batch.labels), axis_name)
    metrics = {
        "loss": loss,
        "cross_entropy": cross_entropy,
        **terms,
        "accuracy": accuracy,
        "ensemble_accuracy": joint,
        **diagnostics(
            outputs.embeddings, labels=batch.labels, logits=outputs.logits, axis_name=axis_name
        ),
    }
    return loss, metrics


def _accuracy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Share of right answers: [..., B, C] and [B] to [...]."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels, axis=-1)
