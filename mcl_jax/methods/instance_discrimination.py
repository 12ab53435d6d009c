"""Instance discrimination (arXiv 1805.01978) of a cohort, against regions of its banks.

    L = w.vcl sum_a I(q_a, bank_a) + w.icl sum_{a != b} I(q_a, bank_b)
        + w.soft_vcl SoftVCL + w.soft_icl SoftICL

I is the contrast of an anchor's own row with other rows of the data set: with all of them, with a
ball, a ring (Conditional Negative Sampling, arXiv 2010.02037) or a cave of ranks among them (On
Mutual Information in Contrastive Learning, arXiv 2005.13149), or with K rows drawn from these, with
replacement. Each pair of networks has a region of its own, of the scores of network a's queries in
network b's bank. ``form`` nce is the original noise contrast, of rows drawn from all, with a
running estimate of the softmax's denominator for each pair.

One network is the papers' method. Two of which each sees its own channels, with ``weights.icl``
alone, are contrastive multiview coding (CMC, arXiv 1906.05849).

With ``method.jigsaw`` patches of the images are queries too (`jigsaw`); with one network that is
PIRL (arXiv 1912.01991) as PyContrast has it. They meet the rows that the image's query meets, and
each has its own region of ranks.

The authors leave an anchor's own row in the pool, so that it can be drawn as a negative of itself,
and a ball nearly always has it; here it is in no pool. Soft terms run over all rows, or over the
own row and K drawn from all, whatever the region.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import losses
from mcl_jax.axes import agreed
from mcl_jax.cohort import Output
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.losses import MCLTerms, Partition
from mcl_jax.losses.bounds import within
from mcl_jax.methods import banked, drawn_rows, negatives, networks
from mcl_jax.methods.banked import WithJigsaw
from mcl_jax.methods.clusters import Clusters, clusters
from mcl_jax.methods.contrast import soft_temperature, weighted
from mcl_jax.methods.drawn_rows import Drawn
from mcl_jax.methods.method import Method, Setting
from mcl_jax.methods.negatives import Region
from mcl_jax.methods.registry import register
from mcl_jax.methods.row_bank import Anchors, RowBank

# Rows a draw, up to which products with all rows are faster than gathering those that are drawn.
_FEW = 32


@register("instance_discrimination")
def instance_discrimination(config: ConfigDict, setting: Setting) -> Method:
    """Builds the method from ``config.method``, whose fields are described in `mcl_jax.config`.

    Raises:
        ConfigError: rows are too few, or what `networks.build`, `seeing` and `negatives.region`
            refuse.
    """
    cohort = banked.cohort_with_banks(config, setting)
    bank, nce = cohort.bank, config.method.form == "nce"
    if setting.labels is not None and bank.rows < 2:
        raise ConfigError(
            f"method.name {config.method.name} wants two training rows or more, got {bank.rows}."
        )
    region = negatives.region(config, setting)
    cave = None
    if region.kind == "cave":
        cave = clusters(config, setting, bank, setting.steps_per_epoch)
    contrast = _Contrast(config, bank, region, cave, networks.pair_weights(config))

    def init(key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        params, extras = cohort.init(key, batch)
        extras["annealing"] = region.init()
        if cave is not None:
            extras["clusters"] = cave.init()
        if nce:
            pairs = (bank.networks, bank.networks)
            extras["partition"] = Partition(
                *(jnp.broadcast_to(x, pairs) for x in losses.init_partition())
            )
        return params, extras

    def objective(
        outputs: Output | WithJigsaw, extras: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        def terms_of(queries: jax.Array) -> tuple[MCLTerms, dict[str, Any]]:
            anchors = bank.anchors_of(queries, batch)
            if config.method.negatives:
                return contrast.with_drawn(extras, anchors, key)
            return contrast.with_all(extras, anchors), {}

        seen = outputs.output if isinstance(outputs, WithJigsaw) else outputs
        terms, changed = terms_of(seen.embeddings)
        loss, of_patches = weighted(config, terms._asdict()), {}
        if cohort.jigsaw is not None and isinstance(outputs, WithJigsaw):
            of_patches = {"jigsaw": weighted(config, terms_of(outputs.jigsaw)[0]._asdict())}
            loss = cohort.jigsaw.mixed(loss, of_patches["jigsaw"])
        changed["annealing"] = region.after(extras["annealing"], agreed(loss, bank.cohort))
        changed["bank"] = bank.moved(extras["bank"], seen.embeddings, batch)
        read = banked.readings(config, bank, seen, extras["bank"], batch)
        outer = region.metrics(extras["annealing"])
        metrics = {"loss": loss, **terms._asdict(), **of_patches, **outer, **read}
        return loss, ({**extras, **changed}, metrics)

    specs = {"annealing": PartitionSpec()}
    specs |= {"clusters": cave.spec} if cave is not None else {}
    specs |= {"partition": PartitionSpec()} if nce else {}
    refresh = {"refresh": cave.refresh} if cave is not None else {}
    pair = cohort.seeing.pair
    return banked.method(config, setting, cohort, init, objective, specs, pair=pair, **refresh)


class _Contrast(NamedTuple):
    """What the terms of a step need besides state and anchors."""

    config: ConfigDict
    bank: RowBank
    region: Region
    cave: Clusters | None
    pair_weights: jax.Array | None

    def with_all(self, extras: Any, anchors: Anchors) -> MCLTerms:
        """The terms with all rows of the region as negatives."""
        rows = extras["bank"]
        own, real = self.bank.own(rows, anchors.rows), self.bank.real(rows)
        bounds, candidates = self.bounds(extras, anchors), real
        if self.cave is not None:
            candidates &= ~self.cave.neighbours(extras["clusters"], anchors.rows) | own
        return losses.mcl_terms(
            anchors.queries,
            rows,
            own,
            candidates,
            soft_candidates=real,
            region=bounds,
            temperature=self.config.method.temperature,
            soft_temperature=soft_temperature(self.config),
            pair_weights=self.pair_weights,
            axis_name=self.bank.anchors,
            chunk_size="auto",
            keys_axis_name=self.bank.split,
        )

    def with_drawn(
        self, extras: Any, anchors: Anchors, key: jax.Array
    ) -> tuple[MCLTerms, dict[str, Any]]:
        """The terms with K rows drawn from the region, and the extras that they change."""
        options, bank, weights = self.config.method, self.bank, self.pair_weights
        rows, T = extras["bank"], self.config.method.temperature
        numbers = drawn_rows.numbers(key, anchors.position, options.negatives)
        others = drawn_rows.from_others(numbers, anchors.rows, bank.rows)
        drawn = drawn_rows.of_rows(others, rows.shape[1], bank.split)
        drawn = self.with_own(rows, anchors, drawn)
        scores = None
        if self.region.kind != "all" or rows.shape[1] < _FEW * options.negatives:
            scores = losses.cross_network_logits(anchors.queries, rows, 1.0)
            logits = drawn_rows.read(scores, drawn, bank.split) / T
        else:
            logits = drawn_rows.products(anchors.queries, rows, drawn, bank.split) / T
        soft_vcl, soft_icl = self.soft_terms(logits)
        if options.form == "nce":
            partition = self.partition(extras["partition"], logits)
            log_z = losses.log_partition(partition, bank.rows)
            vcl, icl = drawn_rows.nce_terms(logits, log_z, bank.rows, weights, bank.anchors)
            return MCLTerms(vcl, soft_vcl, icl, soft_icl), {"partition": partition}
        if self.region.kind != "all":
            assert scores is not None
            inside = self.inside(extras, anchors, scores)
            drawn = drawn_rows.from_region(numbers, inside, bank.split)
            drawn = self.with_own(rows, anchors, drawn)
            logits = drawn_rows.read(scores, drawn, bank.split) / T
        vcl, icl = drawn_rows.softmax_terms(logits, drawn.exists, weights, bank.anchors)
        return MCLTerms(vcl, soft_vcl, icl, soft_icl), {}

    def with_own(self, rows: jax.Array, anchors: Anchors, drawn: Drawn) -> Drawn:
        """Puts each anchor's own row in front of what it has drawn."""
        return drawn_rows.with_own(anchors.rows, drawn, rows.shape[1], self.bank.split)

    def soft_terms(self, logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Soft VCL and soft ICL of logits [M, M, B, K] of the same rows for all pairs."""
        T = soft_temperature(self.config)
        if T is None:
            return jnp.zeros(()), jnp.zeros(())
        soft_vcl, soft_icl = (
            term(
                logits,
                soft_temperature=T,
                pair_weights=self.pair_weights,
                axis_name=self.bank.anchors,
            )
            for term in (losses.soft_vcl, losses.soft_icl)
        )
        return soft_vcl, soft_icl

    def bounds(self, extras: Any, anchors: Anchors) -> losses.ScoreBounds | None:
        """The ranks of the region; of a cave those of the ball that it is cut out of."""
        rows = extras["bank"]
        return self.region.bounds(
            extras["annealing"],
            anchors.queries,
            rows,
            pool=self.bank.others(rows, anchors.rows),
            keys_axis_name=self.bank.split,
        )

    def inside(self, extras: Any, anchors: Anchors, scores: jax.Array) -> jax.Array:
        """Marks the rows of the region: [M, M, B, N] of their scores."""
        rows = extras["bank"]
        bounds = self.bounds(extras, anchors)
        assert bounds is not None
        inside = within(jax.lax.stop_gradient(scores), bounds, self.bank.places(rows))
        inside &= self.bank.others(rows, anchors.rows)
        if self.cave is not None:
            inside &= ~self.cave.neighbours(extras["clusters"], anchors.rows)
        return inside

    def partition(self, before: Partition, logits: jax.Array) -> Partition:
        """The denominators of all pairs [M, M], of logits [M, M, B, 1 + K] whose rest is drawn."""
        drawn = agreed(logits[..., 1:], self.bank.cohort)

        def update(one: Partition, logits: jax.Array) -> Partition:
            return losses.update_partition(one, logits, axis_name=self.bank.anchors)

        return jax.vmap(jax.vmap(update))(before, drawn)
