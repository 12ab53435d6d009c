"""A cohort that learns without labels from two views of each row of the batch.

Mutual contrastive learning, arXiv 2104.12565, on SimCLR, arXiv 2002.05709. Every network embeds
both views of every row. An anchor is any of the 2 B views; its positive is the other view of its
row, and the candidates are all views but itself:

    logits[a, b, i, k] = z_a[i] . z_b[k] / temperature
    L = w.vcl VCL + w.soft_vcl SoftVCL + w.icl ICL + w.soft_icl SoftICL

Across networks too the anchor's own column is left out, as in the authors' code for CIFAR: what
another network makes of the very same pixels is neither positive nor negative, and the soft terms
do not see it either. Both directions of views are contrasted. VCL of one network is SimCLR's loss
(`losses.nt_xent`).

With a region (SimCLRRing, arXiv 2010.02037) the hard terms keep, for each pair of networks, the
positive and a ring around the anchor among the views of other rows. The authors have the anchors of
the first view alone, and leave each among its own candidates.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import cohort as cohorts
from mcl_jax import losses
from mcl_jax.axes import agreed, gather
from mcl_jax.data import Batch
from mcl_jax.methods import negatives, networks
from mcl_jax.methods import seeing as sights
from mcl_jax.methods.assembly import assemble
from mcl_jax.methods.contrast import bound_temperature, soft_temperature, weighted
from mcl_jax.methods.diagnostics import diagnostics
from mcl_jax.methods.method import Method, Setting
from mcl_jax.methods.one_view import averaged
from mcl_jax.methods.registry import register
from mcl_jax.views.draws import row_keys


@register("simclr")
def simclr(config: ConfigDict, setting: Setting) -> Method:
    """Builds the method from ``config.method``, whose fields are described in `mcl_jax.config`.

    Raises:
        ConfigError: what `networks.build`, `seeing` and `negatives.region` refuse.
    """
    cohort = networks.build(config, setting)
    sight = sights.seeing(config, setting, cohort, 2)
    region = negatives.region(config, setting)
    options, axes = config.method, setting.axes
    pair_weights = networks.pair_weights(config)

    def init(key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        variables = cohorts.init(cohort, key, sight.plain(batch.images[:1]))
        return variables["params"], {
            "batch_stats": variables["batch_stats"],
            "annealing": region.init(),
            "views": sight.numbers(),
        }

    def embed(
        params: Any, extras: Any, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[jax.Array, Any]:
        del train
        before = extras["batch_stats"]
        variables = {"params": params, "batch_stats": before}
        seen = sight.train(row_keys(key, batch.position), batch.images, extras["views"])
        output, batch_stats = sights.embed(cohort, variables, seen, axes.cohort)
        batch_stats = averaged(batch_stats, before, axes.data)
        return output.embeddings, {**extras, "batch_stats": batch_stats}

    def objective(
        outputs: jax.Array, extras: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        del key
        anchors, keys = _side_by_side(outputs), _side_by_side(gather(outputs, axes.data, axis=1))
        place = (2 * batch.position[:, None] + jnp.arange(2)).reshape(-1)
        others = losses.not_self(place, jnp.arange(keys.shape[1]))
        positives = losses.same_class(place // 2, jnp.arange(keys.shape[1]) // 2) & others
        annealing = extras["annealing"]
        terms = losses.mcl_terms(
            anchors,
            keys,
            positives,
            others,
            soft_candidates=others,
            temperature=options.temperature,
            soft_temperature=soft_temperature(config),
            pair_weights=pair_weights,
            axis_name=axes.data,
            chunk_size=options.chunk_size or None,
            region=region.bounds(annealing, anchors, keys, pool=others & ~positives),
        )._asdict()
        loss = weighted(config, terms)
        metrics = {
            "loss": loss,
            **terms,
            **region.metrics(annealing),
            **diagnostics(
                outputs[:, :, 0],
                outputs[:, :, 1],
                temperature=bound_temperature(config),
                axis_name=axes.data,
            ),
        }
        annealing = region.after(annealing, agreed(loss, axes.cohort))
        return loss, ({**extras, "annealing": annealing}, metrics)

    return assemble(
        config,
        setting,
        cohort,
        init=init,
        embed=embed,
        objective=objective,
        predict=sights.predictor(cohort, sight),
        crop=sight.crop,
        extras={"annealing": PartitionSpec(), "views": PartitionSpec()},
        given=lambda: {"views": sight.numbers()},
        pair=sight.pair,
        classifies=False,
    )


def _side_by_side(embeddings: jax.Array) -> jax.Array:
    """The views of a row after each other: [M, B, 2, D] to [M, 2 B, D]."""
    return embeddings.reshape(len(embeddings), -1, embeddings.shape[-1])
