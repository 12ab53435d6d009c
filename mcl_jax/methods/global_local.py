"""A cohort that learns without labels from what is predicted of whole views and of their parts.

Multi-network Contrastive Learning Based on Global and Local Representations, arXiv 2306.15930; and,
as settings of it, Fast-MoCo (arXiv 2207.08220), NNCLR (arXiv 2104.14548), BYOL (arXiv 2006.07733)
and SimSiam (arXiv 2011.10566). Each of M networks has an encoder f, a head g and a predictor q.
Of view v of an image

    p_v   = q(g(f(x_v)))       what it predicts, of whatever ``method.queries`` looks at
    k_v,c = sg g(mean of f of the c-th two quarters of x_v),  c = 1 ... 6    local
    t_v   = the target, of ``method.targets``: by a momentum network, or by itself under sg; with
            ``method.neighbours``, the key of a queue of earlier targets that is most like it

and over the views 0, 1 and, if there are three, 2

    local  = (C(p_1, k_0) + C(p_0, k_1)) / 2, its mean over c
    global = (G(p_0, t_last) + G(p_last, t_0)) / 2
    L      = local_weight local + global_weight global

C is the contrast of predictions with the keys of the batch, or their squared distance where G is
that. G, by ``method.contrast``, is that
(``predictions``), the contrast of targets with the predictions of the batch (``targets``), of both
with all others of both (``nt_xent``), or ``2 - 2 cos`` (``cosine``). Each is the four terms of
mutual contrast under ``method.weights``: network a predicts what its own targets are (VCL) and what
those of every other network are (ICL), whatever the two look at. Vectors are compared by cosine.

A step first makes all predictions, view by view, then local keys, then targets; running statistics
move in this order. Momentum networks move before their targets are made. Both views' neighbours are
looked up before the last view's targets, of the whole batch and of any length, take the oldest
places in the queue.

The paper's figure stops the gradient at k alone. In the authors' code p is detached there as well,
so that the local loss trains nothing: ``method.local_gradient=False``. They never start the
momentum network from the network it follows; here it starts as a copy.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import cohort as cohorts
from mcl_jax import losses, memory
from mcl_jax.axes import agreed, gather
from mcl_jax.config import looks_of_networks
from mcl_jax.data import Batch
from mcl_jax.memory import Queue
from mcl_jax.methods import momentum, networks, pretrained
from mcl_jax.methods.assembly import assemble, key_beside_networks, spread_networks
from mcl_jax.methods.contrast import bound_temperature, soft_temperature, weighted
from mcl_jax.methods.diagnostics import diagnostics
from mcl_jax.methods.looks import Embedded, looking
from mcl_jax.methods.method import Method, Setting
from mcl_jax.methods.prediction_terms import Contrast, contrast
from mcl_jax.methods.registry import register
from mcl_jax.methods.seeing import predictor

_LOCAL = ("local",)


@register("global_local")
def global_local(config: ConfigDict, setting: Setting) -> Method:
    """Builds the method from ``config.method``, whose fields are described in `mcl_jax.config`.

    Raises:
        ConfigError: what `networks.build` and `looking` refuse.
    """
    cohort = networks.build(config, setting)
    options, axes = config.method, setting.axes
    count = options.views
    each = looks_of_networks(config)
    firsts = [(cohorts.networks_of(name) or range(1))[0] for name, _ in cohort.items()]
    of_queries, of_targets = ([each[first][side] for first in firsts] for side in (0, 1))
    local_keys = [_LOCAL] * len(firsts)
    sees = looking(config, setting, cohort, count, _kinds(config))
    last = count - 1
    slow, stored = options.target_network == "momentum", options.neighbours > 0
    compared = Contrast(
        temperature=options.temperature,
        soft_temperature=soft_temperature(config),
        pair_weights=networks.pair_weights(config),
        chunk_size=options.chunk_size or None,
        axis_name=axes.data,
    )

    def init(key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        variables = cohorts.init(cohort, key, sees.whole.plain(batch.images[:1]))
        extras = {"batch_stats": variables["batch_stats"], **sees.numbers()}
        if slow:
            extras |= {"momentum": _without_predictors(variables), "begun": jnp.zeros((), int)}
        if stored:
            shape = (cohort.size, options.neighbours, options.embedding_dim)
            queue = memory.init_queue(key_beside_networks(key), *shape)
            dtype = jax.tree.leaves(variables["params"])[0].dtype
            extras["queue"] = queue._replace(keys=queue.keys.astype(dtype))
        return variables["params"], extras

    def load(params: Any, extras: Any, weights: Any) -> tuple[Any, Any]:
        params, extras = pretrained.load(params, extras, weights)
        if not slow:
            return params, extras
        copied = {"params": params, "batch_stats": extras["batch_stats"]}
        return params, {**extras, "momentum": _without_predictors(copied)}

    def begin(params: Any, extras: Any, batch: Batch) -> tuple[Any, Batch]:
        if not slow:
            return extras, batch
        kept, done = options.momentum, extras["begun"]
        if options.momentum_schedule == "cosine":
            kept = 1 - (1 - kept) * (1 + jnp.cos(jnp.pi * done / setting.steps)) / 2
        own = _without_predictors({"params": params})["params"]
        moved = momentum.move(extras["momentum"]["params"], own, kept)
        after = {**extras["momentum"], "params": moved}
        return {**extras, "momentum": after, "begun": done + 1}, batch

    def embed(
        params: Any, extras: Any, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[dict[str, jax.Array], Any]:
        del train

        def run(
            own: Any, stats: Any, looks: Any, of_views: Iterable[int], predict: bool = False
        ) -> tuple[list[Embedded], Any]:
            found = []
            for view in of_views:
                variables = {"params": own, "batch_stats": stats}
                one, stats = sees.embed(variables, looks, view, batch, key, extras, predict=predict)
                found.append(one)
            return found, stats

        queries, stats = run(params, extras["batch_stats"], of_queries, range(count), predict=True)
        outputs = {"predictions": _by_view(x.predictions for x in queries)}
        still = jax.lax.stop_gradient(params)
        if options.local_weight:
            keys, stats = run(still, stats, local_keys, (0, 1))
            outputs["local"] = _by_view(x.projections for x in keys)
        ends, after = (0, last), extras
        if slow:
            follower = extras["momentum"]
            targets, moved = run(follower["params"], follower["batch_stats"], of_targets, ends)
            after = {**extras, "momentum": {**follower, "batch_stats": moved}}
        elif of_targets == of_queries:
            targets = [queries[view] for view in ends]
        else:
            targets, stats = run(still, stats, of_targets, ends)
        outputs["targets"] = _by_view(x.projections for x in targets)
        return outputs, {**after, "batch_stats": stats}

    def objective(
        outputs: dict[str, jax.Array], extras: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        del key
        made, targets = outputs["predictions"], jax.lax.stop_gradient(outputs["targets"])
        newest = targets[:, :, 1, 0]
        if stored:
            found = [memory.nearest(extras["queue"], targets[:, :, x, 0]) for x in (0, 1)]
            targets = _by_view(x[:, :, None] for x in found)
        predictions = losses.l2_normalize(made)
        targets = losses.l2_normalize(targets)

        def both(form: str, pairs: Iterable[tuple[jax.Array, jax.Array]]) -> losses.MCLTerms:
            ways = [contrast(form, x, y, batch.position, compared) for x, y in pairs]
            return jax.tree.map(lambda *x: sum(x) / len(x), *ways)

        crossed = (
            (predictions[:, :, 0], targets[:, :, 1]),
            (predictions[:, :, last], targets[:, :, 0]),
        )
        parts = {"global": (options.global_weight, both(options.contrast, crossed))}
        if options.local_weight:
            keys = losses.l2_normalize(jax.lax.stop_gradient(outputs["local"]))
            taught = predictions if options.local_gradient else jax.lax.stop_gradient(predictions)
            form = "cosine" if options.contrast == "cosine" else "predictions"
            crossed = ((taught[:, :, 1], keys[:, :, 0]), (taught[:, :, 0], keys[:, :, 1]))
            parts["local"] = (options.local_weight, both(form, crossed))
        terms = jax.tree.map(lambda *x: sum(x), *[_scaled(*part) for part in parts.values()])
        loss = weighted(config, terms._asdict())
        metrics = {
            "loss": loss,
            **terms._asdict(),
            **{f"{name}_loss": weighted(config, x._asdict()) for name, (_, x) in parts.items()},
            **diagnostics(
                predictions[:, :, 0, 0],
                targets[:, :, 1, 0],
                temperature=bound_temperature(config),
                axis_name=axes.data,
            ),
        }
        if stored:
            whole = agreed(gather(newest, axes.data, axis=1), axes.data)
            whole = agreed(whole, axes.cohort)
            extras = {**extras, "queue": memory.enqueue(extras["queue"], whole)}
        return loss, (extras, metrics)

    spread, whole = spread_networks(setting), PartitionSpec()
    lies: dict[str, Any] = dict.fromkeys(sees.numbers(), whole)
    lies |= {"momentum": spread, "begun": whole} if slow else {}
    lies |= {"queue": Queue(whole, whole)} if stored else {}  # type: ignore[arg-type]
    return assemble(
        config,
        setting,
        cohort,
        init=init,
        embed=embed,
        objective=objective,
        predict=predictor(cohort, sees.whole),
        crop=sees.crop,
        extras=lies,
        begin=begin,
        load=load,
        given=sees.numbers,
        pair=sees.whole.pair,
        classifies=False,
    )


def _kinds(config: ConfigDict) -> set[str]:
    """Every look that a run has."""
    local = {"local"} if config.method.local_weight else set()
    return local.union(*(set(x + y) for x, y in looks_of_networks(config)))


def _by_view(parts: Iterable[jax.Array]) -> jax.Array:
    """Arrays [M, B, C, D], one a view, as [M, B, V, C, D]."""
    return jnp.stack(list(parts), axis=2)


def _scaled(weight: float, terms: losses.MCLTerms) -> losses.MCLTerms:
    return jax.tree.map(lambda x: weight * x, terms)


def _without_predictors(variables: Any) -> Any:
    """Variables of a cohort but for those of predictors, which momentum networks lack."""

    def bare(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        return {name: bare(inner) for name, inner in tree.items() if name != "predictor"}

    return bare(variables)
