"""A cohort that learns without labels from momentum networks and queues of their keys.

Self-supervised mutual contrastive learning, arXiv 2104.12565, on MoCo, arXiv 1911.05722. Each of M
networks has a momentum network, a copy that follows it slowly, and a queue of K keys which that one
made of earlier batches. Of an image the networks see one view and the momentum networks another.
With ``q_a`` the query of network a, ``k_b`` the key of momentum network b for the same image,
``n_b`` the keys in b's queue, and ``logits[a, b] = q_a . [k_b, n_b] / temperature``,

    L = w.vcl VCL + w.soft_vcl SoftVCL + w.icl ICL + w.soft_icl SoftICL

are the terms of these logits with one's own key positive: network a against keys of its own (VCL)
and of every other network (ICL), the soft terms over all 1 + K columns. At the start of a step
momentum networks move, ``momentum k + (1 - momentum) q``; at its end the keys of the whole batch
take the places of the oldest in the queues. One network is MoCo.

Momentum networks normalise by their own batches and keep running statistics of their own. In place
of MoCo's random shuffle of rows over devices, rows are dealt out (`dealing`) wherever batch
statistics are of more than one run of rows: on several devices, in micro-batches, and with
``model.norm`` grouped, which does on one device what so many devices do. On one device with
statistics of the whole batch nothing can be dealt: keys share the statistics of their batch.

With a region (MoCoRing, arXiv 2010.02037) the hard terms keep, for each pair of networks, the ring
of b's queue around ``q_a``, all of it, and one's own key; the soft terms keep every key.

With ``method.jigsaw`` patches of the first view's image are queries too (`jigsaw`).

The queue's rows are split over the data axis. Under pmap, which splits no state, each device holds
all of them.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import cohort as cohorts
from mcl_jax import losses, memory
from mcl_jax.axes import agreed, gather
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.memory import Queue
from mcl_jax.methods import momentum, negatives, networks, pretrained
from mcl_jax.methods.assembly import assemble, key_beside_networks, spread_networks
from mcl_jax.methods.contrast import bound_temperature, soft_temperature, weighted
from mcl_jax.methods.dealing import row_dealt_to, runs
from mcl_jax.methods.diagnostics import diagnostics
from mcl_jax.methods.jigsaw import branch
from mcl_jax.methods.method import Method, Setting
from mcl_jax.methods.one_view import averaged
from mcl_jax.methods.registry import register
from mcl_jax.methods.seeing import predictor, seeing
from mcl_jax.views.draws import row_keys


@register("moco")
def moco(config: ConfigDict, setting: Setting) -> Method:
    """Builds the method from ``config.method``, whose fields are described in `mcl_jax.config`.

    Raises:
        ConfigError: the queue cannot be divided among the devices, or what `networks.build`,
            `seeing` and `negatives.region` refuse.
    """
    cohort = networks.build(config, setting)
    sight = seeing(config, setting, cohort, 2)
    patches = branch(config, setting, cohort, sight)
    region = negatives.region(config, setting)
    options, axes = config.method, setting.axes
    pair_weights = networks.pair_weights(config)
    rows, groups = config.data.batch_size, runs(config, setting)
    queue_axis = _queue_axis(config, setting)

    def init(key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        variables = cohorts.init(cohort, key, sight.plain(batch.images[:1]))
        dtype = jax.tree.leaves(variables["params"])[0].dtype
        queue = memory.init_queue(
            key_beside_networks(key), cohort.size, options.queue_size, options.embedding_dim
        )
        return variables["params"], {
            "batch_stats": variables["batch_stats"],
            "momentum": variables,
            "queue": queue._replace(keys=queue.keys.astype(dtype)),
            "annealing": region.init(),
            "views": sight.numbers(),
        }

    def load(params: Any, extras: Any, weights: Any) -> tuple[Any, Any]:
        params, extras = pretrained.load(params, extras, weights)
        copied = {"params": params, "batch_stats": extras["batch_stats"]}
        return params, {**extras, "momentum": copied}

    def begin(params: Any, extras: Any, batch: Batch) -> tuple[Any, Batch]:
        slow = extras["momentum"]
        moved = {**slow, "params": momentum.move(slow["params"], params, options.momentum)}
        if groups > 1:
            # The second view in a place is from here on of the row whose key is made there.
            images = batch.images
            crops = images if images.ndim == 5 else jnp.stack([images, images], axis=1)
            dealt = gather(crops[:, 1], axes.data)[row_dealt_to(batch.position, rows, groups)]
            batch = batch._replace(images=crops.at[:, 1].set(dealt))
        return {**extras, "momentum": moved}, batch

    def embed(
        params: Any, extras: Any, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[dict[str, jax.Array], Any]:
        def run(view: int, row: jax.Array, before: Any) -> tuple[jax.Array, Any]:
            seen = sight.view(view, row_keys(key, row), batch.images, extras["views"])
            output, stats = cohorts.apply(cohort, before, seen, train=train, axis_name=axes.cohort)
            return output.embeddings, averaged(stats, before["batch_stats"], axes.data)

        fast = {"params": params, "batch_stats": extras["batch_stats"]}
        queries, batch_stats = run(0, batch.position, fast)
        slow = extras["momentum"]
        keys, slow_stats = run(1, row_dealt_to(batch.position, rows, groups), slow)
        moved = {**slow, "batch_stats": slow_stats}
        outputs = {"queries": queries, "keys": jax.lax.stop_gradient(keys)}
        if patches is not None:
            fast = {"params": params, "batch_stats": batch_stats}
            outputs["jigsaw"], batch_stats = patches.embed(fast, batch, key, extras["views"])
        return outputs, {**extras, "batch_stats": batch_stats, "momentum": moved}

    def objective(
        outputs: dict[str, jax.Array], extras: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        del key
        queries, queue = outputs["queries"], extras["queue"]
        made = gather(jax.lax.stop_gradient(outputs["keys"]), axes.data, axis=1)
        keys = made[:, row_dealt_to(jnp.arange(rows), rows, rows // groups)]
        own = keys[:, batch.position]

        def contrast(queries: jax.Array) -> dict[str, jax.Array]:
            # Each device meets all anchors with its part of the queue, or its own with all of it.
            anchors = gather(queries, queue_axis, axis=1)
            return losses.mcl_terms(
                anchors,
                queue.keys,
                own_keys=keys if queue_axis else own,
                temperature=options.temperature,
                soft_temperature=soft_temperature(config),
                pair_weights=pair_weights,
                axis_name=None if queue_axis else axes.data,
                chunk_size=options.chunk_size or None,
                keys_axis_name=queue_axis,
                region=region.bounds(
                    extras["annealing"], anchors, queue.keys, keys_axis_name=queue_axis
                ),
            )._asdict()

        terms = contrast(queries)
        loss, read = weighted(config, terms), {}
        if patches is not None:
            read = {"jigsaw": weighted(config, contrast(outputs["jigsaw"]))}
            loss = patches.mixed(loss, read["jigsaw"])
        metrics = {
            "loss": loss,
            **terms,
            **read,
            **region.metrics(extras["annealing"]),
            **diagnostics(queries, own, temperature=bound_temperature(config), axis_name=axes.data),
        }
        newest, reading = agreed((keys, loss), axes.cohort)
        return loss, (
            {
                **extras,
                "queue": memory.enqueue(queue, newest, axis_name=queue_axis),
                "annealing": region.after(extras["annealing"], reading),
            },
            metrics,
        )

    spread = spread_networks(setting)
    whole: Any = PartitionSpec()
    rows_split: Any = PartitionSpec(None, queue_axis) if queue_axis else whole
    return assemble(
        config,
        setting,
        cohort,
        init=init,
        embed=embed,
        objective=objective,
        predict=predictor(cohort, sight),
        crop=sight.crop if patches is None else patches.crop,
        extras={
            "momentum": spread,
            "queue": Queue(rows_split, whole),
            "annealing": whole,
            "views": whole,
        },
        begin=begin,
        load=load,
        given=lambda: {"views": sight.numbers()},
        pair=sight.pair,
        classifies=False,
    )


def _queue_axis(config: ConfigDict, setting: Setting) -> str | None:
    """The mapped axis that the rows of the queue are split over, or None."""
    size, devices = config.method.queue_size, setting.devices
    if config.parallel.mapper == "pmap":
        return None
    if size % devices:
        raise ConfigError(
            f"method.queue_size must be a multiple of the number of devices, {devices}, got {size}."
        )
    return setting.axes.data
