"""The seven methods of PyContrast, the authors' code of InfoMin, as configurations.

Each is a choice of what networks see (modality), where negatives come from (memory), whether there
is a jigsaw branch, which head, and which recipe of views; all else they share. Any other choice is
`pycontrast` with other arguments.
"""

import dataclasses
from typing import Any, Literal

from ml_collections import ConfigDict

from mcl_jax.config.field import ConfigError
from mcl_jax.config.table import default

Modal = Literal["rgb", "cmc"]
Memory = Literal["bank", "queue"]
Head = Literal["linear", "mlp"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """What PyContrast's methods differ in.

    Attributes:
        modal: ``rgb``, or ``cmc``: half of the networks see Y, half DbDr, and learn from each
            other alone.
        jigsaw: whether half of the loss is of jigsaw patches.
        memory: a ``bank`` of all rows, or a ``queue`` of the keys of momentum networks.
        recipe: of the views, ``a`` ... ``e``.
        head: ``linear`` or ``mlp``.
        temperature: of the softmax.
    """

    modal: Modal
    jigsaw: bool
    memory: Memory
    recipe: str
    head: Head
    temperature: float


PRESETS = {
    "insdis": Preset("rgb", False, "bank", "a", "linear", 0.07),
    "cmc": Preset("cmc", False, "bank", "c", "linear", 0.07),
    "moco": Preset("rgb", False, "queue", "a", "linear", 0.07),
    "pirl": Preset("rgb", True, "bank", "a", "linear", 0.07),
    "mocov2": Preset("rgb", False, "queue", "b", "mlp", 0.2),
    "cmcv2": Preset("cmc", False, "queue", "e", "mlp", 0.2),
    "infomin": Preset("rgb", True, "queue", "d", "mlp", 0.15),
}
"""PyContrast's methods by their names in lower case."""


def pycontrast(
    *,
    modal: Modal = "rgb",
    memory: Memory = "queue",
    jigsaw: bool = False,
    head: Head = "linear",
    recipe: str = "a",
    temperature: float = 0.07,
    epochs: int = 200,
    batch_size: int = 256,
    learning_rate: float = 0.03,
    cosine: bool = False,
    warm_up: bool = False,
) -> ConfigDict:
    """A configuration as PyContrast trains with these choices, its ``Customize``.

    ResNet-50 (two of half the width for ``cmc``), 128 numbers in an embedding, 65,536 negatives,
    bank momentum 0.5 or network momentum 0.999, beta 0.5 with ``jigsaw``, crops from 8 % of the
    area with a bank and 20 % with a queue; SGD with momentum 0.9, decay 1e-4 of all parameters,
    divided by ten after epochs 120 and 160. Statistics of batch normalisation are of 8 groups, as
    on their 8 devices. Data are the default's: whoever calls this says which.

    Args:
        modal: as `Preset` has it; and so on.
        memory: the same.
        jigsaw: the same.
        head: the same.
        recipe: the same.
        temperature: the same.
        epochs: of the run.
        batch_size: above 256 the learning rate warms up.
        learning_rate: at its peak.
        cosine: the cosine with a floor, in the place of steps.
        warm_up: from 0.01, in 5 epochs, or 10 of more than 500; whatever the batch.

    Returns:
        The configuration, for any change: ``method.networks`` may be any number, and weights of
        ``method.weights`` add learning from each other.

    Raises:
        ConfigError: a choice is unknown.

    Example:
        >>> config = pycontrast(modal="cmc", memory="bank", recipe="c", jigsaw=True)
        >>> config.method.name, config.method.networks, config.views.channels, config.method.jigsaw
        ('instance_discrimination', 2, 'ydbdr', 0.5)

    Tian et al., arXiv 2005.10243. Here negatives leave an anchor's own row out, and the jigsaw of
    ``cmc`` is across its halves.
    """
    for name, value, choices in (
        ("modal", modal, ("rgb", "cmc")),
        ("memory", memory, ("bank", "queue")),
        ("head", head, ("linear", "mlp")),
        ("recipe", recipe, tuple("abcde")),
    ):
        if value not in choices:
            raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")
    bank, halves = memory == "bank", modal == "cmc"
    config = default("instance_discrimination" if bank else "moco")
    terms = {"vcl": 0.0, "soft_vcl": 0.0, "icl": 0.0, "soft_icl": 0.0}
    _set(
        config,
        {
            "method.networks": 2 if halves else 1,
            "method.head": "linear" if head == "linear" else "mocov2",
            "method.temperature": temperature,
            "method.jigsaw": 0.5 if jigsaw else 0.0,
            "method.negatives" if bank else "method.queue_size": 65_536,
            "model.name": "resnet50",
            "model.width": 0.5 if halves else 1.0,
            "model.norm": "grouped",
            "model.norm_groups": 8,
            "data.batch_size": batch_size,
            "views.recipe": f"pycontrast_{recipe}",
            "views.crop_scale": (0.08 if bank else 0.2, 1.0),
            "views.channels": "ydbdr" if halves else "",
            "training.epochs": epochs,
        },
    )
    config.method.weights.update(terms | {"icl" if halves else "vcl": 1.0})
    _set_optimizer(config, learning_rate, cosine, warm_up or batch_size > 256)
    return config


def preset(name: str, **changes: Any) -> ConfigDict:
    """One of PyContrast's methods.

    Args:
        name: of `PRESETS`.
        **changes: further arguments of `pycontrast`.

    Raises:
        ConfigError: there is no such preset.

    Example:
        >>> config = preset("infomin", epochs=800, cosine=True)
        >>> config.method.temperature, config.views.recipe, config.optimizer.schedule
        (0.15, 'pycontrast_d', 'pycontrast')
    """
    if name not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}.")
    return pycontrast(**dataclasses.asdict(PRESETS[name]) | changes)


def split_smoke(arg: str) -> tuple[str, str]:
    """What stands behind the colon of ``--config=FILE:moco_smoke``: a preset, and ``smoke`` or "".

    Args:
        arg: a name of `PRESETS`, ``smoke``, or both with ``_`` between; no name is ``infomin``.

    Raises:
        ConfigError: it is none of these.

    Example:
        >>> split_smoke("moco_smoke"), split_smoke("cmc"), split_smoke("")
        (('moco', 'smoke'), ('cmc', ''), ('infomin', ''))
    """
    name = arg.removesuffix("smoke").removesuffix("_")
    small = "smoke" if arg.endswith("smoke") else ""
    wanted = "_".join(part for part in (name, small) if part)
    if arg != wanted or (name and name not in PRESETS):
        raise ConfigError(
            f"the part of --config behind the colon must be smoke, or one of {', '.join(PRESETS)}, "
            f"with _smoke or without, got {arg!r}."
        )
    return name or "infomin", small


def _set_optimizer(config: ConfigDict, learning_rate: float, cosine: bool, warm_up: bool) -> None:
    """PyContrast's schedule: of whole epochs but for warm-up, to the last of which it rises."""
    epochs = config.training.epochs
    milestones = () if cosine else tuple(x for x in (120.0, 160.0) if x < epochs)
    plain = "step" if milestones else "constant"
    _set(
        config,
        {
            "optimizer.learning_rate": learning_rate,
            "optimizer.schedule": "pycontrast" if cosine else plain,
            "optimizer.milestones": milestones,
        },
    )
    if warm_up:
        rise = 10.0 if epochs > 500 else 5.0
        _set(config, {"optimizer.warmup_from": 0.01, "optimizer.warmup_epochs": rise})


def _set(config: ConfigDict, values: dict[str, Any]) -> None:
    config.update_from_flattened_dict(values)
