"""Supervised mutual contrastive learning with memory banks (arXiv 2104.12565), for many classes.

    L = sum_a CE_a + w.vcl VCL + w.soft_vcl SoftVCL + w.icl ICL + w.soft_icl SoftICL
        + w.logit_distillation LD + w.deep_mutual DML

Every network has a bank with an embedding of each training row, which moves towards the row's
newest one after the loss. Within a network an anchor contrasts ``positives`` rows of its class with
``negatives`` rows of other classes; across networks its own row in the other's bank is a positive
too. Banks are constants: gradients flow to the anchors alone. The soft terms run over the same
keys.

Negatives are drawn for each anchor, as the authors do, or once for the batch
(``shared_negatives``), where each anchor leaves out those of its class: then a few large matrix
products take the place of two million gathered rows.

The authors draw the positive from all rows of the class, so that it may be the anchor's own; here
the own row is left out. A row whose class has no other has no positive.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mcl_jax import losses, memory
from mcl_jax.axes import agreed, gather, positions
from mcl_jax.cohort import Output
from mcl_jax.config import ConfigError
from mcl_jax.data import Batch
from mcl_jax.memory import Draw, RowsByClass
from mcl_jax.methods import networks
from mcl_jax.methods.assembly import assemble, key_beside_networks
from mcl_jax.methods.contrast import soft_temperature
from mcl_jax.methods.method import Method, Setting
from mcl_jax.methods.one_view import one_view
from mcl_jax.methods.registry import register
from mcl_jax.methods.row_bank import row_bank
from mcl_jax.methods.supervised import classified


@register("supervised_bank")
def supervised_bank(config: ConfigDict, setting: Setting) -> Method:
    """Builds the method from ``config.method``, whose fields are described in `mcl_jax.config`.

    Raises:
        ConfigError: the training rows are all of one class, or what `one_view` refuses.
    """
    view, bank, options = one_view(config, setting), row_bank(config, setting), config.method
    classes = _rows_by_class(setting)
    terms_of = shared_terms if options.shared_negatives else anchor_terms
    pair_weights, axes = networks.pair_weights(config), setting.axes

    def init(key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        params, extras = view.init(key, batch)
        return params, {**extras, "bank": bank.init(key_beside_networks(key), params)}

    def objective(
        outputs: Output, extras: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        contrast = draw(
            key,
            batch,
            jax.tree.map(jnp.asarray, classes),
            positives=options.positives,
            negatives=options.negatives,
            shared=options.shared_negatives,
        )
        terms = terms_of(
            outputs.embeddings,
            extras["bank"],
            contrast,
            axis_name=axes.data,
            bank_axis_name=bank.split,
            temperature=options.temperature,
            soft_temperature=soft_temperature(config),
            pair_weights=pair_weights,
        )
        # Rows are moved once all have been read, else XLA would move them in a copy of the bank.
        read, _ = jax.lax.optimization_barrier((extras["bank"], agreed(terms, axes.cohort)))
        moved = bank.moved(read, outputs.embeddings, batch)
        loss, metrics = classified(config, terms._asdict(), outputs, batch, axes.data)
        return loss, ({**extras, "bank": moved}, metrics)

    return assemble(
        config,
        setting,
        view.cohort,
        init=init,
        embed=view.embed,
        objective=objective,
        predict=view.predict,
        crop=view.recipe.crop,
        extras={"bank": bank.spec},
    )


def _rows_by_class(setting: Setting) -> RowsByClass | None:
    """The training rows by class, None for a method that only predicts.

    Raises:
        ConfigError: they have all one class.
    """
    if setting.labels is None:
        return None
    if np.ptp(setting.labels) == 0:
        raise ConfigError(
            f"method.name supervised_bank draws negatives from other classes, but all "
            f"{len(setting.labels)} training rows are of class {setting.labels[0]}."
        )
    return jax.device_get(memory.sort_by_class(jnp.asarray(setting.labels)))


class Contrast(NamedTuple):
    """What anchors are contrasted with, by the rows of a bank.

    Attributes:
        own: [B], int32, each anchor's own row.
        positives: Draw of [B, P], rows of the anchor's class.
        negatives: Draw of [K] or [B, K], rows of other classes.
    """

    own: jax.Array
    positives: Draw
    negatives: Draw


def anchor_terms(
    embeddings: jax.Array,
    bank: jax.Array,
    contrast: Contrast,
    *,
    axis_name: str | None = None,
    bank_axis_name: str | None = None,
    **options: Any,
) -> losses.MCLTerms:
    """The four terms with negatives of each anchor's own.

    Args:
        embeddings: [M, B, D].
        bank: [M, N, D].
        contrast: Contrast of [B, P] and [B, K].
        axis_name: mapped axis that the anchors are split over, or None.
        bank_axis_name: that which the bank is split over: none, or the same.
        **options: temperatures and pair weights of `losses.bank_terms`.
    """
    own, positives, negatives = contrast
    rows = jnp.concatenate([own[:, None], positives.rows, negatives.rows], axis=1)
    none, every = jnp.zeros((1, len(own), 1), bool), jnp.ones((1, len(own), 1), bool)
    of_self = jnp.concatenate([none, every])  # across networks alone
    of_class, of_others = (
        jnp.broadcast_to(x.candidates, (2, *x.candidates.shape)) for x in (positives, negatives)
    )
    positive = jnp.concatenate([of_self, of_class, jnp.zeros_like(of_others)], axis=2)
    candidates = jnp.concatenate([of_self, of_class, of_others], axis=2)
    if bank_axis_name is not None:
        embeddings, positive, candidates = (
            gather(x, axis_name, axis=1) for x in (embeddings, positive, candidates)
        )
        rows, axis_name = gather(rows, axis_name), None
    return losses.bank_terms(
        embeddings,
        bank,
        rows,
        positive,
        candidates,
        soft_candidates=candidates,
        axis_name=axis_name,
        bank_axis_name=bank_axis_name,
        **options,
    )


def shared_terms(
    embeddings: jax.Array,
    bank: jax.Array,
    contrast: Contrast,
    *,
    axis_name: str | None = None,
    bank_axis_name: str | None = None,
    **options: Any,
) -> losses.MCLTerms:
    """The four terms with negatives that all anchors share; arguments are those of `anchor_terms`.

    The keys are the rows of the whole batch, their positives, and the negatives, of which each
    anchor takes its own, its own positives, and those of other classes.
    """
    own, positives, negatives = contrast
    number = positives.rows.shape[1]
    everyone, of_class, others_taken = (
        gather(x, axis_name) for x in (own, positives.rows, positives.candidates)
    )
    rows = jnp.concatenate([everyone, of_class.reshape(-1), negatives.rows])
    keys = memory.read_rows(bank, rows, axis_name=bank_axis_name)
    mine = positions(len(own), axis_name)[:, None] == jnp.arange(len(everyone))
    taken = jnp.repeat(mine, number, axis=1) & others_taken.reshape(-1)
    across = ~jnp.eye(len(embeddings), dtype=bool)[:, :, None, None]
    candidates = _side_by_side(mine & across, taken, negatives.candidates)
    return losses.mcl_terms(
        embeddings,
        keys,
        _side_by_side(mine & across, taken, jnp.zeros_like(negatives.candidates)),
        candidates,
        soft_candidates=candidates,
        axis_name=axis_name,
        chunk_size="auto",
        **options,
    )


def draw(
    key: jax.Array,
    batch: Batch,
    classes: RowsByClass,
    *,
    positives: int,
    negatives: int,
    shared: bool,
) -> Contrast:
    """Draws what anchors are contrasted with; it does not depend on how a batch is divided.

    Args:
        key: a JAX random key, the same on all devices.
        batch: whose rows are the anchors.
        classes: RowsByClass of [N].
        positives: P.
        negatives: K.
        shared: whether all anchors get the same negatives.
    """
    of_class, of_others = jax.random.split(key)

    def anchor(position: jax.Array, label: jax.Array, own: jax.Array) -> list[Draw]:
        """An anchor's own draws."""
        same, other = (jax.random.fold_in(x, position) for x in (of_class, of_others))
        label, own = label[None], own[None]
        draws = [memory.draw_same_class(same, label, own, classes, positives)]
        if not shared:
            draws.append(memory.draw_other_classes(other, label, classes, negatives))
        return jax.tree.map(lambda x: x[0], draws)

    mine, *rest = jax.vmap(anchor)(batch.position, batch.labels, batch.index)
    if shared:
        rest = [memory.draw_other_classes(of_others, batch.labels, classes, negatives, shared=True)]
    return Contrast(batch.index, mine, *rest)


def _side_by_side(*masks: jax.Array) -> jax.Array:
    """Masks over different keys as one over them all."""
    shape = jnp.broadcast_shapes(*(mask.shape[:-1] for mask in masks))
    return jnp.concatenate(
        [jnp.broadcast_to(mask, (*shape, mask.shape[-1])) for mask in masks], axis=-1
    )
