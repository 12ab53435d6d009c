"""The interface between an algorithm and the trainer."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.sharding import PartitionSpec

from mcl_jax.axes import Axes
from mcl_jax.cohort import Output
from mcl_jax.data import Batch, Split
from mcl_jax.views.steps import Crop

Tree = Any

_WHOLE = PartitionSpec()


class Setting(NamedTuple):
    """What a method is built for, besides its configuration.

    Attributes:
        num_classes: C.
        mean: [c], of the training images scaled to 0 ... 1.
        std: [c].
        axes: names of the mapped axes that `embed` and `objective` run under.
        devices: number of devices on the data axis.
        optimizer: the configured gradient transformation, for an `Update`.
        image_shape: H, W, c of the images that the step gets; None leaves views at their
            recipe's own size.
        cropped: whether the host has cropped them at random already.
        steps: of the whole run.
        steps_per_epoch: steps in one pass over the training rows.
        labels: [N], int32, of the training rows; None where nobody knows them, as for a method
            that only predicts.
    """

    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    axes: Axes
    devices: int
    optimizer: optax.GradientTransformation
    image_shape: tuple[int, int, int] | None = None
    cropped: bool = False
    steps: int = 1
    steps_per_epoch: int = 1
    labels: np.ndarray | None = None


def moves_all(path: str) -> bool:
    """Chooses every parameter."""
    del path
    return True


@dataclasses.dataclass(frozen=True)
class Update:
    """Who is moved by which loss, with which optimiser, and how often.

    Attributes:
        optimizer: sees the chosen parameters alone.
        loss: name of the loss that the parameters descend.
        moves: chooses parameters by their path, as ``"encoder/conv1/kernel"``.
        every: moves at steps that are multiples of this.
    """

    optimizer: optax.GradientTransformation
    loss: str = "loss"
    moves: Callable[[str], bool] = moves_all
    every: int = 1


@dataclasses.dataclass(frozen=True)
class Specs:
    """How a method's state lies over the mesh: a PartitionSpec, or a tree prefix of them.

    The optimiser's state lies as the parameters it belongs to.
    """

    params: Any = _WHOLE
    extras: Any = _WHOLE


def _begin_as_it_is(params: Tree, extras: Tree, batch: Batch) -> tuple[Tree, Batch]:
    """Nothing is done before rows are embedded."""
    del params
    return extras, batch


def _read_nothing() -> None:
    """A run starts from what is drawn."""


def _leave_none(
    params: Tree, extras: Tree, images: np.ndarray
) -> Mapping[str, Mapping[str, np.ndarray]]:
    """A checkpoint is enough."""
    del params, extras, images
    return {}


def _give_none() -> Mapping[str, Tree]:
    """All extras are made by ``init``."""
    return {}


def _load_nothing(params: Tree, extras: Tree, weights: Tree) -> tuple[Tree, Tree]:
    """What is drawn stays."""
    del weights
    return params, extras


@dataclasses.dataclass(frozen=True)
class Method:
    """A paper's algorithm as pure functions.

    The trainer calls ``begin``, ``embed`` and then ``objective`` once a step, on each device, under
    the axes of `Setting`. A loss must be a mean over all devices' anchors (numerators and counts
    summed over the data axis before dividing) and the same on all of that axis; so must metrics,
    and extras. Over the cohort axis, which ``embed`` gathers embeddings and logits over, the
    trainer averages loss and metrics.

    Attributes:
        init: (key, batch) to (params, extras); extras hold all that is no parameter: batch
            statistics, momentum networks, queues, banks, annealing.
        begin: (params, extras, batch) to (extras, batch), before the batch is divided into
            micro-batches: moves momentum networks, exchanges rows between devices.
        embed: (params, extras, batch, key, train) to (outputs, extras); outputs are a tree of
            embeddings and logits, [M, B, ...]; of a few micro-batches they are joined along B, and
            extras are averaged, but for those that are returned as they came.
        objective: (outputs, extras, batch, key) to (loss, (extras, metrics)); the loss is a
            scalar, or a dict of scalars where several updates descend different ones; metrics are
            a dict of scalars and of [M].
        predict: (params, extras, uint8 images [B, H, W, c]) to Output of the networks that this
            device has; uses no axis.
        updates: what moves the parameters; one entry for most methods.
        refresh: (state, training split) to the extras that are new after an epoch, by their keys,
            or to None; deterministic. It is called before the first step too. The state's extras
            are whole, in host memory. Most methods have none.
        specs: how parameters and extras lie over the mesh.
        read: () to arrays from files that a run starts from, or None; on the host.
        load: (params, extras, those arrays) to (params, extras).
        given: () to those of the first extras, by their keys, that the program which makes them is
            given as inputs, so that it stays the same when they change: ``init`` makes the same.
        crop: what the host cuts out of images that it decodes on the way; None is their middle. A
            tuple is one for each of V views: a batch's images are then [B, V, H, W, c].
        classifies: whether the networks' logits are answers; if not, nearest neighbours answer.
        pair: (keys [B], uint8 images [B, H, W, c]) to two views of each that are contrasted, as
            `mcl_jax.meter` takes them; None where positives are other images.
        alternating: whether updates are made one after the other, in their order, each descending
            its loss at the parameters that those before it have left, as min-max training has it.
            Others stand still meanwhile: nothing is differentiated by them. ``begin`` is called
            once, every update sees the extras that it leaves, and those of the last update, with
            its metrics, are the step's. If not, all descend at the same parameters.
        leaves: (params, extras, uint8 images [n, H, W, c]) to files of arrays, by their names, that
            a finished run leaves in its workdir: ``{"name.npz": {array: ...}}``; on the host, with
            whole arrays and a few test images. Arrays uint8 [n, H, W, 1 or 3] in ``pictures.npz``
            are shown on the run's page under their names.
    """

    init: Callable[[jax.Array, Batch], tuple[Tree, Tree]]
    embed: Callable[[Tree, Tree, Batch, jax.Array, bool], tuple[Tree, Tree]]
    objective: Callable[[Tree, Tree, Batch, jax.Array], tuple[Any, tuple[Tree, dict[str, Any]]]]
    predict: Callable[[Tree, Tree, jax.Array], Output]
    updates: tuple[Update, ...]
    begin: Callable[[Tree, Tree, Batch], tuple[Tree, Batch]] = _begin_as_it_is
    refresh: Callable[[Any, Split], Mapping[str, Tree] | None] | None = None
    specs: Specs = dataclasses.field(default_factory=Specs)
    read: Callable[[], Tree | None] = _read_nothing
    load: Callable[[Tree, Tree, Tree], tuple[Tree, Tree]] = _load_nothing
    given: Callable[[], Mapping[str, Tree]] = _give_none
    crop: Crop | tuple[Crop | None, ...] | None = None
    classifies: bool = True
    pair: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]] | None = None
    alternating: bool = False
    leaves: Callable[[Tree, Tree, np.ndarray], Mapping[str, Mapping[str, np.ndarray]]] = _leave_none
