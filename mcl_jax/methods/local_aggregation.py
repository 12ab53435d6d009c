"""Local Aggregation (arXiv 1903.12355) of a cohort: neighbours of an anchor are its positives.

    L = w.vcl sum_a A(q_a, bank_a) + w.icl sum_{a != b} A(q_a, bank_b)
        + w.soft_vcl SoftVCL + w.soft_icl SoftICL
    A(q, bank) = log sum_{k in background} exp(q . bank_k / temperature)
                 - log sum_{k in close} exp(q . bank_k / temperature)

The background of an anchor is its own row and the K - 1 that score highest of the others; close are
those of them that share a cluster with it: of network b's bank where q is network a's. k-means
clusters every bank once an epoch. In the first epochs close is oneself and the background all rows:
instance discrimination, by which the bank gets something to be clustered.

This is no bound on mutual information. In the authors' code an anchor may miss its own background,
and has then neither positives nor a gradient; here its own row always is in both sets. Theirs
clusters anew only where an epoch ends in a partial batch; this one always. Soft terms run over all
rows.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import losses, regions
from mcl_jax.cohort import Output
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.losses.bounds import within
from mcl_jax.methods import banked, networks
from mcl_jax.methods.clusters import clusters
from mcl_jax.methods.contrast import soft_temperature, weighted
from mcl_jax.methods.method import Method, Setting
from mcl_jax.methods.registry import register
from mcl_jax.methods.row_bank import Anchors


@register("local_aggregation")
def local_aggregation(config: ConfigDict, setting: Setting) -> Method:
    """Builds the method from ``config.method``, whose fields are described in `mcl_jax.config`.

    Raises:
        ConfigError: there are fewer rows than the background or the clusters want, or what
            `networks.build` and `seeing` refuse.
    """
    cohort = banked.cohort_with_banks(config, setting)
    bank, options = cohort.bank, config.method
    if setting.labels is not None and options.background > bank.rows:
        raise ConfigError(
            f"method.background must be at most the {bank.rows} training rows, got "
            f"{options.background}."
        )
    warm_steps = options.warm_start_epochs * setting.steps_per_epoch
    # A first epoch passes before there is anything to cluster.
    groups = clusters(config, setting, bank, max(warm_steps, setting.steps_per_epoch))
    outer = (options.background - 1) / max(bank.rows - 1, 1)
    pair_weights = networks.pair_weights(config)

    def init(key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        params, extras = cohort.init(key, batch)
        return params, {**extras, "clusters": groups.init(), "steps": jnp.zeros((), jnp.int32)}

    def sets(extras: Any, anchors: Anchors) -> tuple[jax.Array, jax.Array]:
        """Marks the close rows and the background: [M, M, B, N]."""
        queries, rows = jax.lax.stop_gradient((anchors.queries, extras["bank"]))
        own, others = bank.own(rows, anchors.rows), bank.others(rows, anchors.rows)
        bounds = regions.score_bounds(queries, rows, outer, pool=others, keys_axis_name=bank.split)
        scores = losses.cross_network_logits(queries, rows, 1.0)
        near = within(scores, bounds, bank.places(rows)) & others
        close = groups.neighbours(extras["clusters"], anchors.rows)
        cold = extras["steps"] >= warm_steps
        return own | (near & close & cold), own | jnp.where(cold, near, others)

    def objective(
        outputs: Output, extras: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        del key
        rows, anchors = extras["bank"], bank.anchors_of(outputs.embeddings, batch)
        close, background = sets(extras, anchors)
        terms = losses.mcl_terms(
            anchors.queries,
            rows,
            close,
            background,
            soft_candidates=bank.real(rows),
            temperature=options.temperature,
            soft_temperature=soft_temperature(config),
            numerator="log_sum",
            pair_weights=pair_weights,
            axis_name=bank.anchors,
            chunk_size="auto",
            keys_axis_name=bank.split,
        )
        loss = weighted(config, terms._asdict())
        read = banked.readings(config, bank, outputs, rows, batch)
        metrics = {"loss": loss, **terms._asdict(), **read}
        moved = bank.moved(rows, outputs.embeddings, batch)
        return loss, ({**extras, "bank": moved, "steps": extras["steps"] + 1}, metrics)

    specs = {"clusters": groups.spec, "steps": PartitionSpec()}
    return banked.method(config, setting, cohort, init, objective, specs, refresh=groups.refresh)
