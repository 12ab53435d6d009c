"""Every field of a configuration: its default, what it means and which values it takes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mcl_jax.config.field import ConfigError, Field
from mcl_jax.config.method_fields import METHOD_DEFAULTS, METHOD_FIELDS

# JAX and NumPy take larger seeds, but JAX drops all but 32 bits without a word.
_SEEDS = 2**32

# What a run on a few hundred images has room for.
_SMALL = {"queue_size": 100, "negatives": 16, "background": 16, "clusters": 10}
_SMALL |= {"neighbours": 100, "head_width": 32, "predictor_width": 16}

_FIELDS = {
    "name": Field("default", "of the run; its results go to runs/<name> without --workdir"),
    "seed": Field(
        0, "of parameters, batches and views; data.seed splits the data", least=0, below=_SEEDS
    ),
    "method.name": Field("supervised_mcl", "the algorithm"),
    # A program grows with them, and takes hours to compile long before the bound.
    "method.networks": Field(
        2, "M, the networks of the cohort; 1 is the solo baseline", least=1, below=1000
    ),
    "method.head": Field(
        "mcl",
        "from features to embeddings",
        choices=("mcl", "linear", "mocov2", "simclr", "byol", "simsiam", "fast_moco"),
    ),
    "method.embedding_dim": Field(128, "D, numbers in an embedding", least=1),
    "method.temperature": Field(0.1, "of the contrastive softmax", above=0),
    "method.topology": Field(
        "all",
        "whom a network's contrast is with: all, the next (ring), or one teacher",
        choices=("all", "ring", "teacher"),
    ),
    "method.teacher": Field(0, "the network that teaches, for topology teacher", least=0),
    "method.pair_weights": Field(
        (), "M x M numbers, row a of what network a learns; instead of a topology", least=0
    ),
    "method.frozen": Field((), "numbers of networks that stay as they are", items=int, least=0),
    "method.frozen_heads": Field(True, "false: heads of frozen networks learn"),
    "model.name": Field(
        "small_resnet",
        "the encoder, or one a network joined by commas, such as resnet32, wrn_16_2, resnet50",
    ),
    "model.width": Field(1.0, "factor of the widths, for ImageNet's ResNets", above=0),
    "model.stem": Field(
        "", "small suits small images, for ImageNet's ResNets", choices=("", "small")
    ),
    "model.shared_stages": Field(
        0, "stages, with the stem, that all networks share: branches above them", least=0
    ),
    "model.weights": Field(
        (), "a .safetensors or .npz file for each network, empty for none", items=str
    ),
    "model.zero_residual": Field(
        False, "residual blocks start as their shortcuts, for ResNets that are no wide ones"
    ),
    "model.remat": Field(False, "computes activations again in the backward pass: less memory"),
    "model.dtype": Field(
        "float32",
        "of the computation; float64 is for checking equalities",
        choices=("float32", "bfloat16", "float64"),
    ),
    "model.convolution": Field(
        "per_network", "plain has second derivatives", choices=("per_network", "plain")
    ),
    # Rows of a class stand together in a batch, so few devices see all classes.
    "model.norm": Field(
        "local",
        "batch statistics, local per device: prefer sync on several; group has none",
        choices=("local", "sync", "grouped", "group"),
    ),
    "model.norm_groups": Field(1, "groups in the whole batch, for norm grouped", least=1),
    "data.source": Field(
        "fashion_mnist",
        "or photographs, digits, tfds:NAME, folder:PATH, parquet:PATH, tar:PATH, npz:PATH",
    ),
    "data.data_dir": Field("", "of tfds:NAME; empty is TFDS's own default"),
    "data.memory_limit": Field(
        2048, "MiB of images up to which a data set lives on the device; above, it streams", least=0
    ),
    "data.workers": Field(
        0, "processes that decode streamed images; 0 decodes in threads", least=0
    ),
    "data.corrupt": Field(
        "stop", "what an unreadable image does to the run", choices=("stop", "skip")
    ),
    "data.label_noise": Field(
        0.0, "share of the training labels that are made wrong, for studies", least=0, below=1
    ),
    "data.unlabelled": Field(
        False, "also learns from the images without labels that tfds:stl10 or an npz has"
    ),
    "data.seed": Field(0, "of the splits", least=0, below=_SEEDS),
    "data.train_size": Field(0, "class-balanced subset of the training rows; 0 takes all", least=0),
    "data.validation_size": Field(
        2000, "rows cut from the official training rows; may be 0", least=0
    ),
    "data.batch_size": Field(100, "B, over all devices", least=2),
    "data.sampler": Field("per_class", "how batches are drawn", choices=("per_class", "shuffled")),
    "data.images_per_class": Field(2, "in a batch, for sampler per_class", least=1),
    "data.image_size": Field(0, "side that streamed images are cropped to", least=0),
    "data.mean": Field((), "of each channel, 0 to 1; empty measures the training images"),
    "data.std": Field((), "of each channel, with data.mean"),
    "views.recipe": Field("cifar", "which operations make a view, such as simclr or moco_v2"),
    "views.size": Field(0, "side of a view that is cropped and scaled; 0 is the images'", least=0),
    "views.strength": Field(1.0, "factor of the colour jitter, for recipes that have one", least=0),
    "views.crop_scale": Field(
        (), "least and largest share of the area that a crop takes; empty is the recipe's"
    ),
    "views.mode": Field(
        "exact", "fused is faster and a little different", choices=("exact", "fused")
    ),
    "views.padding": Field(4, "pixels on each side before the crop, for recipe cifar", least=0),
    "views.flip": Field(True, "left to right, where the recipe does so; false for digits"),
    "optimizer.name": Field("sgd", "how gradients move parameters", choices=("sgd", "adam")),
    "optimizer.beta1": Field(0.9, "decay of adam's mean gradient", least=0, below=1),
    "optimizer.beta2": Field(0.999, "decay of adam's mean square", least=0, below=1),
    "optimizer.learning_rate": Field(0.1, "at its peak", least=0),
    "optimizer.momentum": Field(0.9, "of sgd; 0 has none", least=0, below=1),
    "optimizer.nesterov": Field(True, "Nesterov's momentum, of sgd"),
    "optimizer.weight_decay": Field(5e-4, "joins the gradient before momentum", least=0),
    "optimizer.decay_exclude": Field(
        (), "patterns of parameter names that do not decay", items=str
    ),
    "optimizer.clip_norm": Field(
        0.0, "largest gradient norm of a network; 0 does not clip", least=0
    ),
    "optimizer.constant": Field(
        (), "patterns of parameter names whose learning rate stays at its peak", items=str
    ),
    "optimizer.schedule": Field(
        "cosine",
        "of the learning rate; pycontrast is InfoMin's cosine, with a floor of gamma^3",
        choices=("cosine", "step", "constant", "pycontrast"),
    ),
    "optimizer.warmup_from": Field(0.0, "learning rate that warm-up rises from", least=0),
    "optimizer.warmup_epochs": Field(0.0, "epochs in which the rate rises", least=0),
    "optimizer.milestones": Field((), "epochs at which the rate drops, for schedule step"),
    "optimizer.gamma": Field(0.1, "factor at a milestone", above=0),
    "optimizer.per_epoch": Field(False, "moves the rate at epochs alone, as the authors do"),
    "training.epochs": Field(60, "passes over the training rows", least=1),
    "training.steps": Field(0, "instead of epochs, where it is not 0", least=0, below=2**31),
    "training.steps_per_dispatch": Field(1, "training steps in one call of the device", least=1),
    "training.micro_batches": Field(
        1, "parts of a batch that the encoders see in turn; contrast is over the whole", least=1
    ),
    "training.log_every": Field(50, "steps between lines of metrics.jsonl", least=1),
    "training.eval_every_epochs": Field(
        10, "between figures on validation; 0 only at the end", least=0
    ),
    "training.checkpoint_every_epochs": Field(
        10, "between checkpoints; the end is always kept", least=1
    ),
    "training.keep_checkpoints": Field(2, "the newest so many stay", least=1),
    "evaluation.batch_size": Field(500, "images in one prediction", least=1),
    "evaluation.knn_neighbours": Field(20, "votes of the nearest-neighbour figures", least=1),
    "evaluation.knn_rows": Field(50_000, "at most so many training rows are searched", least=1),
    "logging.tensorboard": Field(True, "events for TensorBoard in the workdir"),
    "logging.wandb": Field("", "project of Weights & Biases; empty is off"),
    "parallel.mapper": Field(
        "shard_map", "how a step is spread over devices", choices=("shard_map", "pmap")
    ),
    "parallel.devices": Field(0, "so many in all; 0 is all there are", least=0),
    "parallel.cohort_devices": Field(
        1, "devices that the networks are split over; the rest split the batch", least=1
    ),
    "parallel.platform": Field(
        "", "where it must run; empty is anywhere", choices=("", "cpu", "gpu", "tpu")
    ),
}

_FIELDS_OF_METHODS: dict[str, dict[str, Field]] = {**METHOD_FIELDS}


def fields(method: str = "supervised_mcl") -> dict[str, Field]:
    """The fields of a method's configurations by their dotted names.

    Args:
        method: its name; of one that nobody told of, only what every configuration has.

    Example:
        >>> fields()["method.networks"].default, fields("moco")["method.queue_size"].default
        (2, 65536)
    """
    known = _FIELDS | _FIELDS_OF_METHODS.get(method, {})
    changed = METHOD_DEFAULTS.get(method, {}) | {"method.name": method}
    return known | {
        name: dataclasses.replace(known[name], default=value) for name, value in changed.items()
    }


def own_fields(method: str) -> dict[str, Field]:
    """What a method's configurations have that others lack, or have with another default.

    Example:
        >>> {name: own_fields("simclr")[name].default for name in ("method.head", "method.region")}
        {'method.head': 'simclr', 'method.region': 'all'}
    """
    return {
        name: field
        for name, field in fields(method).items()
        if name != "method.name" and field != _FIELDS.get(name)
    }


def known_methods() -> tuple[str, ...]:
    """The methods whose fields are known."""
    return tuple(_FIELDS_OF_METHODS)


def knows_method(method: str) -> bool:
    """Whether the fields of a method of this name are known."""
    return method in _FIELDS_OF_METHODS


def extend(method: str, more: Mapping[str, Field]) -> None:
    """Adds fields that one method alone has.

    Args:
        method: its name.
        more: fields by their dotted names, ``"method.queue_size"`` and the like; a name that other
            methods have is this method's own.

    Raises:
        ValueError: a field is there already.
    """
    taken = _FIELDS.keys() & more.keys()
    if taken:
        raise ValueError(f"every configuration has {', '.join(sorted(taken))} already.")
    _FIELDS_OF_METHODS[method] = dict(more)


def default(method: str = "supervised_mcl") -> ConfigDict:
    """Every field of a method's run with its default; ``--help`` says what each means.

    Args:
        method: becomes ``method.name``.
    """
    config = ConfigDict()
    for name, field in fields(method).items():
        *sections, last = name.split(".")
        inner = config
        for section in sections:
            if section not in inner:
                inner[section] = ConfigDict()
            inner = inner[section]
        inner[last] = field.default
    return config


def smoke(config: ConfigDict, arg: str) -> ConfigDict:
    """A configuration as it is, or so small that it runs in under a minute on a CPU.

    Args:
        config: the whole configuration; it is changed.
        arg: what stands behind the colon of ``--config=FILE:smoke``; ``""`` or ``"smoke"``.

    Returns:
        ``config``, with ``"smoke"`` small networks on scikit-learn's digits for a few steps.

    Raises:
        ConfigError: ``arg`` is neither.
    """
    if arg not in ("", "smoke"):
        raise ConfigError(f"the part of --config behind the colon must be smoke, got {arg!r}.")
    if arg == "smoke":
        config.name += "-smoke"
        config.data.update(
            {"source": "digits", "train_size": 200, "validation_size": 100, "batch_size": 20}
        )
        config.data.unlabelled = False
        config.data.update({"images_per_class": 2, "image_size": 0, "mean": (), "std": ()})
        config.views.update({"size": 0, "padding": 1})
        config.model.update({"name": "tiny_resnet", "width": 1.0, "stem": ""})
        if config.views.get("channels"):
            # Digits are gray; the photographs are of 14 classes.
            sizes = {"train_size": 196, "validation_size": 98}
            config.data.update({"source": "photographs", **sizes})
        if config.views.get("patch_size"):
            config.views.update({"patch_size": 4, "patch_distance": 2})
        if config.model.norm == "grouped":
            config.model.norm_groups = min(config.model.norm_groups, 4)
        if config.data.get("labelled_batch"):
            config.data.update({"labelled": 56, "labelled_batch": 5})
        for name, most in _SMALL.items():
            if config.method.get(name, 0) > most:
                config.method[name] = most
        config.training.update({"steps": 4, "log_every": 2})
    return config


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a configuration by their dotted names.

    Example:
        >>> flatten(ConfigDict({"data": {"seed": 3}}))
        {'data.seed': 3}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
