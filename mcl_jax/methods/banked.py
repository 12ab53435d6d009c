"""The parts that methods share which show one view to every network and keep banks of rows."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec
from ml_collections import ConfigDict

from mcl_jax import cohort
from mcl_jax.axes import Axes
from mcl_jax.cohort import Cohort, Output
from mcl_jax.data import Batch
from mcl_jax.methods import networks, seeing
from mcl_jax.methods.assembly import assemble, key_beside_networks
from mcl_jax.methods.contrast import bound_temperature
from mcl_jax.methods.diagnostics import diagnostics
from mcl_jax.methods.jigsaw import Branch, branch
from mcl_jax.methods.method import Method, Setting
from mcl_jax.methods.one_view import averaged
from mcl_jax.methods.row_bank import RowBank, row_bank
from mcl_jax.methods.seeing import Seeing
from mcl_jax.views.draws import row_keys


class WithJigsaw(NamedTuple):
    """What networks say of images, and jigsaw queries [M, B, D] of their patches."""

    output: Output
    jigsaw: jax.Array


class CohortWithBanks(NamedTuple):
    """A cohort that sees one view of each image, in all channels or its own, with a bank a network.

    ``init``, ``embed`` and ``predict`` are those of `Method`; the bank is ``extras["bank"]``.
    """

    networks: Cohort
    seeing: Seeing
    bank: RowBank
    axes: Axes
    jigsaw: Branch | None = None

    def init(self, key: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Initialises networks and banks; of the batch only the shape matters."""
        variables = cohort.init(self.networks, key, self.seeing.plain(batch.images[:1]))
        bank = self.bank.init(key_beside_networks(key), variables["params"])
        return variables["params"], {
            "batch_stats": variables["batch_stats"],
            "bank": bank,
            "views": self.seeing.numbers(),
        }

    def embed(
        self, params: Any, extras: Any, batch: Batch, key: jax.Array, train: bool
    ) -> tuple[Any, Any]:
        """Runs the cohort on a view; the running statistics are averaged over devices.

        Returns:
            Output, or with a jigsaw branch a `WithJigsaw`; and the extras.
        """
        if not train:
            return self.predict(params, extras, batch.images), extras
        before = extras["batch_stats"]
        output, batch_stats = cohort.apply(
            self.networks,
            {"params": params, "batch_stats": before},
            self.seeing.view(0, row_keys(key, batch.position), batch.images, extras["views"]),
            train=True,
            axis_name=self.axes.cohort,
        )
        batch_stats = averaged(batch_stats, before, self.axes.data)
        outputs: Any = output
        if self.jigsaw is not None:
            variables = {"params": params, "batch_stats": batch_stats}
            found, batch_stats = self.jigsaw.embed(variables, batch, key, extras["views"])
            outputs = WithJigsaw(output, found)
        return outputs, {**extras, "batch_stats": batch_stats}

    def predict(self, params: Any, extras: Any, images: jax.Array) -> Output:
        """Output of [M, B, ...] for uint8 images [B, H, W, c], nothing random."""
        return seeing.predictor(self.networks, self.seeing)(params, extras, images)


def cohort_with_banks(config: ConfigDict, setting: Setting) -> CohortWithBanks:
    """Builds the cohort and its banks from a configuration.

    Raises:
        ConfigError: the networks cannot be built, or the views not made of the images.
    """
    built = networks.build(config, setting)
    shown = seeing.seeing(config, setting, built, 1)
    patches = branch(config, setting, built, shown)
    return CohortWithBanks(built, shown, row_bank(config, setting), setting.axes, patches)


def readings(
    config: ConfigDict, bank: RowBank, outputs: Output, rows: jax.Array, batch: Batch
) -> dict[str, jax.Array]:
    """`diagnostics` of a batch, each anchor's own key being its row in the bank.

    The bound is one on the mutual information of a view and the views that a row was made of.
    """
    return diagnostics(
        outputs.embeddings,
        bank.own_rows(rows, batch),
        temperature=bound_temperature(config),
        axis_name=bank.data,
    )


def method(
    config: ConfigDict,
    setting: Setting,
    cohort: CohortWithBanks,
    init: Callable[..., Any],
    objective: Callable[..., Any],
    extras: Mapping[str, Any],
    **more: Any,
) -> Method:
    """The method of a cohort with banks: all that learns descends one objective.

    Args:
        config: of the run.
        setting: what the method is built for.
        cohort: as `cohort_with_banks` builds it.
        init: as its own, with further extras.
        objective: as `Method` has it.
        extras: how these further ones lie over the mesh.
        **more: further fields of `Method`.
    """
    return assemble(
        config,
        setting,
        cohort.networks,
        init=init,
        embed=cohort.embed,
        objective=objective,
        predict=cohort.predict,
        crop=cohort.seeing.crop if cohort.jigsaw is None else cohort.jigsaw.crop,
        extras={"bank": cohort.bank.spec, "views": PartitionSpec(), **extras},
        given=lambda: {"views": cohort.seeing.numbers()},
        classifies=False,
        **more,
    )
