"""Methods that predict targets: settings of method ``global_local``, and their configurations."""

from typing import Any

from ml_collections import ConfigDict

from mcl_jax.config.field import ConfigError
from mcl_jax.config.table import default

_TWO_VIEWS = {"method.views": 2, "method.local_weight": 0.0, "method.neighbours": 0}
PREDICTIVE: dict[str, dict[str, Any]] = {
    "global_local": {},
    "no_local": {"method.views": 2, "method.local_weight": 0.0},
    "no_neighbour": {"method.neighbours": 0},
    "fast_moco": {
        **_TWO_VIEWS,
        "method.queries": "local",
        "method.contrast": "predictions",
        "method.global_weight": 1.0,
    },
    "nnclr": {
        **_TWO_VIEWS,
        "method.target_network": "online",
        "method.neighbours": 16_384,
        "method.contrast": "targets",
        "method.global_weight": 1.0,
        "method.temperature": 0.1,
        "method.embedding_dim": 256,
        "method.predictor_width": 4096,
        "optimizer.constant": (),
    },
    "byol": {
        **_TWO_VIEWS,
        "method.momentum": 0.996,
        "method.momentum_schedule": "cosine",
        "method.contrast": "cosine",
        "method.global_weight": 2.0,
        "method.head": "byol",
        "method.embedding_dim": 256,
        "method.head_width": 4096,
        "method.predictor_width": 4096,
        "optimizer.constant": (),
    },
    "simsiam": {
        **_TWO_VIEWS,
        "method.target_network": "online",
        "method.contrast": "cosine",
        "method.global_weight": 0.5,
        "method.head": "simsiam",
    },
}
"""What each changes of ``global_local``'s defaults, which are the paper's; two are ablations."""


def predictive(name: str = "global_local", native: bool = False) -> ConfigDict:
    """A configuration of one network as Multi-network ... Global and Local ... trains CIFAR-10.

    Views of 224 pixels by MoCo v2's recipe, whatever the images' size, ResNet-18 whose residual
    blocks start as their shortcuts, 200 epochs of batch 256 by SGD at 0.1 with a cosine to 0, decay
    1e-4, gradients clipped to a norm of 1 (arXiv 2306.15930). Heads, targets and losses are those
    of each method's own paper; views and optimiser are the same for all, as a comparison wants it,
    but that BYOL's and NNCLR's predictors follow the schedule, as in their papers.
    Of one network there is no contrast with others: ``method.networks`` makes a cohort.

    Args:
        name: of `PREDICTIVE`.
        native: views of the images' own size, and the stem for small images.

    Raises:
        ConfigError: there is no such method.

    Example:
        >>> config = predictive("byol", native=True)
        >>> config.method.contrast, config.method.momentum, config.model.stem, config.views.size
        ('cosine', 0.996, 'small', 0)

    BYOL's loss is the sum over both views, SimSiam's half of the mean cosine distance, Fast-MoCo's
    and NNCLR's the mean. BYOL and NNCLR were published with LARS, large batches and stronger views,
    NNCLR with a queue of 98,304, 8 % of ImageNet, which would be twice CIFAR's rows.
    """
    if name not in PREDICTIVE:
        raise ConfigError(f"name must be one of {', '.join(PREDICTIVE)}, got {name!r}.")
    config = default("global_local")
    config.update_from_flattened_dict(
        {
            "method.networks": 1,
            "model.name": "resnet18",
            "model.stem": "small" if native else "",
            "model.zero_residual": True,
            "data.batch_size": 256,
            "views.size": 0 if native else 224,
            "training.epochs": 200,
            **PREDICTIVE[name],
        }
    )
    return config


def split_predictive(arg: str) -> tuple[str, bool, str]:
    """What stands behind the colon of ``--config=FILE:byol_native_smoke``.

    Args:
        arg: a name of `PREDICTIVE`, ``native`` and ``smoke``, some or none, joined by ``_``.

    Returns:
        The method, whether images keep their size, and ``smoke`` or "".

    Raises:
        ConfigError: it is none of these.

    Example:
        >>> split_predictive("byol_native"), split_predictive("smoke")
        (('byol', True, ''), ('global_local', False, 'smoke'))
    """
    rest, found = arg, []
    for word in ("smoke", "native"):
        found.append(rest.endswith(word))
        rest = rest.removesuffix(word).removesuffix("_") if found[-1] else rest
    small, native = found
    words = (rest, "native" if native else "", "smoke" if small else "")
    if arg != "_".join(word for word in words if word) or (rest and rest not in PREDICTIVE):
        raise ConfigError(
            f"the part of --config behind the colon must be smoke, or one of "
            f"{', '.join(PREDICTIVE)}, with _native and _smoke or without, got {arg!r}."
        )
    return rest or "global_local", native, "smoke" if small else ""
