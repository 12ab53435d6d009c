"""Supervised mutual contrastive learning in the batch (arXiv 2104.12565), and its baselines.

    L = sum_a CE_a + w.vcl VCL + w.soft_vcl SoftVCL + w.icl ICL + w.soft_icl SoftICL
        + w.logit_distillation LD + w.deep_mutual DML

Positives are the other rows of the anchor's class, candidates all other rows; the keys are those
of the whole batch, gathered over devices. With every weight 0 the networks are independent; with
``deep_mutual`` alone it is deep mutual learning; with ``logit_distillation`` alone, ensemble logit
distillation. One network is the solo baseline.

``pair_weights`` or a ``topology`` says whom the contrast of a network is with, in the four terms of
MCL; distillation is from all.

The authors run the soft terms over all columns, the anchor's own included (``soft_self``); the
paper's formula leaves it out.
"""

from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from mcl_jax import losses
from mcl_jax.axes import gather
from mcl_jax.cohort import Output
from mcl_jax.data import Batch
from mcl_jax.methods import networks
from mcl_jax.methods.method import Method, Setting
from mcl_jax.methods.one_view import one_view, one_view_method
from mcl_jax.methods.registry import register
from mcl_jax.methods.supervised import classified


@register("supervised_mcl")
def supervised_mcl(config: ConfigDict, setting: Setting) -> Method:
    """Builds the method from ``config.method``, whose fields are described in `mcl_jax.config`."""
    view = one_view(config, setting)
    options = config.method
    pair_weights = networks.pair_weights(config)
    axis_name = setting.axes.data

    def objective(
        outputs: Output, extras: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        del key
        keys = gather(outputs.embeddings, axis_name, axis=1)
        others = losses.not_self(batch.position, jnp.arange(keys.shape[1]))
        positives = losses.same_class(batch.labels, gather(batch.labels, axis_name)) & others
        terms = losses.mcl_terms(
            outputs.embeddings,
            keys,
            positives,
            others,
            soft_candidates=None if options.soft_self else others,
            temperature=options.temperature,
            soft_temperature=options.soft_temperature,
            numerator=options.numerator,
            pair_weights=pair_weights,
            axis_name=axis_name,
            chunk_size=options.chunk_size or None,
        )
        loss, metrics = classified(config, terms._asdict(), outputs, batch, axis_name)
        return loss, (extras, metrics)

    return one_view_method(config, setting, view, objective)
