"""Fields that some methods have and others have not, and what methods change of common defaults."""

from typing import Any

from mcl_jax.config.field import Field

Fields = dict[str, Field]


def _weights(vcl: float, soft_vcl: float, icl: float, soft_icl: float) -> Fields:
    """The weights of the terms of mutual contrast, with their defaults."""
    meanings = {
        "vcl": (vcl, "of contrast within a network; the authors' alpha"),
        "soft_vcl": (soft_vcl, "of learning a peer's similarities within itself; gamma"),
        "icl": (icl, "of contrast across networks; beta"),
        "soft_icl": (soft_icl, "of learning a peer's similarities across networks; lambda"),
    }
    return {
        f"method.weights.{name}": Field(default, meaning, least=0)
        for name, (default, meaning) in meanings.items()
    }


_SOFT: Fields = {"method.soft_temperature": Field(3.0, "T of the KL terms", above=0)}
_CHUNKS: Fields = {
    "method.chunk_size": Field(
        0, "keys the contrastive terms meet at once, for large batches; 0 is all", least=0
    ),
}
_DISTILLATION: Fields = {
    "method.distillation_students": Field(
        "all",
        "whom the ensemble teaches; last is the authors' choice above two",
        choices=("all", "last"),
    ),
    "method.weights.logit_distillation": Field(0.0, "from the ensemble's mean logits", least=0),
    "method.weights.deep_mutual": Field(0.0, "from each other network's logits", least=0),
}
_CHANNELS: Fields = {
    "views.channels": Field(
        "",
        "a colour space: half of the networks see its first channel, half the other two",
        choices=("", "rgb", "lab", "ydbdr", "yiq", "ycbcr", "hsv"),
    ),
    "views.learned": Field(
        "",
        "workdir or file of a learned_views run, whose generators stand before views.channels; "
        "{seed} is the run's seed",
    ),
    "views.frequency": Field(
        0.0,
        "sigma of a blur in pixels of a view: half of the networks see the view blurred, half what "
        "the blur took away; 0 is off",
        least=0,
    ),
}
_TWO_VIEWS: Fields = {
    "views.second_recipe": Field("", "of the second view; empty is the first's"),
    "views.patch_size": Field(
        0, "side of patches that stand in the place of the two views' crops; 0 is off", least=0
    ),
    "views.patch_distance": Field(
        0, "pixels from the first patch to the second, down and to the right", least=0
    ),
    **_CHANNELS,
}


def _region(*more: str) -> Fields:
    """Which keys are negatives, by their similarity to the anchor."""
    return {
        "method.region": Field(
            "all",
            "keys that are negatives: all, or those most like the anchor (ball), without the very "
            "nearest (ring)" + (", or without its own cluster (cave)" if more else ""),
            choices=("all", "ball", "ring", *more),
        ),
        "method.outer": Field(
            0.1, "share of the keys that a region takes, at the end of annealing", above=0
        ),
        "method.inner": Field(
            0.1, "share of these nearest ones that a ring leaves out", least=0, below=1
        ),
        "method.annealing": Field(
            "constant",
            "how the outer share falls from 1",
            choices=("constant", "linear", "step", "exponential", "adaptive"),
        ),
        "method.annealing_epochs": Field(
            100.0, "epochs that it falls in, for annealing linear and step", above=0
        ),
    }


_BANK: Fields = {
    "method.bank_momentum": Field(
        0.5, "of a bank's row; 0 replaces it by the newest embedding", least=0, below=1
    ),
}
_JIGSAW: Fields = {
    "method.jigsaw": Field(
        0.0,
        "share of the loss that is of patches of the images, InfoMin's beta; 0 has none",
        least=0,
        below=1,
    ),
}
_CLUSTERS: Fields = {
    "method.clusters": Field(
        0, "of k-means over the bank, for neighbours; 0 is one for 43 rows", least=0
    ),
    "method.cluster_runs": Field(3, "clusterings, each from a start of its own", least=1),
    "method.combine": Field(
        "union", "of the clusters of all runs", choices=("union", "intersection")
    ),
}

_LEARNED_VIEWS: Fields = {
    "method.bound": Field(
        "info_nce",
        "on what views share: of the batch's other rows, dv of critics without a bound on their "
        "scores, or of rows drawn from a bank",
        choices=("info_nce", "dv", "bank"),
    ),
    "method.information_weight": Field(1.0, "of the bound, which generators make small", least=0),
    "method.class_weight": Field(
        1.0, "of what classifiers of the views lose; 0 has none: unsupervised", least=0
    ),
    "method.generators": Field(
        "shared",
        "shared: halves of the networks see the first channel and the other two of one; own: each "
        "network sees the first channels of its own",
        choices=("shared", "own"),
    ),
    "method.seen_channels": Field(1, "1 or 2, for generators own", least=1, below=3),
    "method.coupling": Field(
        "additive",
        "of generators: additive preserves volume, two_way is additive in both directions",
        choices=("additive", "affine", "two_way"),
    ),
    "method.generator_blocks": Field(4, "couplings, or pairs of them, in a generator", least=1),
    "method.generator_hidden": Field(8, "numbers within a coupling", least=1),
    "method.generator_rate": Field(
        5.0, "learning rate of generators and classifiers over the networks'", above=0
    ),
    "method.classifier": Field("", "encoder of the views' classifiers; empty is model.name"),
    **_BANK,
    "method.negatives": Field(4096, "rows drawn for each anchor, for bound bank", least=1),
    "data.labelled": Field(
        0, "class-balanced training rows whose labels count; 0 is all of them", least=0
    ),
    "data.labelled_batch": Field(
        0, "such rows of a batch, for classifiers alone; 0: all rows are for both", least=0
    ),
    "views.channels": Field(
        "rgb",
        "the colour space whose channels generators change",
        choices=("rgb", "lab", "ydbdr", "yiq", "ycbcr", "hsv"),
    ),
}

_GLOBAL_LOCAL: Fields = {
    "method.queries": Field(
        "global",
        "what predictions are made of: global, local, crops, or some joined by +; one for all "
        "networks, or one for each, joined by commas",
    ),
    "method.targets": Field("global", "what targets are made of: global, local, or both, the same"),
    "method.target_network": Field(
        "momentum",
        "who makes targets: a momentum network, or each network itself without gradient",
        choices=("momentum", "online"),
    ),
    "method.momentum": Field(0.99, "of momentum networks; online has none", least=0, below=1),
    "method.momentum_schedule": Field(
        "constant", "cosine rises to 1, as BYOL's", choices=("constant", "cosine")
    ),
    "method.neighbours": Field(
        16384, "earlier targets, of which the nearest stands for a target; 0: itself", least=0
    ),
    "method.contrast": Field(
        "nt_xent",
        "of predictions and targets: which of them are anchors, both (nt_xent), or cosine alone",
        choices=("nt_xent", "predictions", "targets", "cosine"),
    ),
    "method.global_weight": Field(6.0, "of what is predicted of targets", least=0),
    "method.local_weight": Field(
        1.0, "of what is predicted of pairs of quarters; 0 leaves them out", least=0
    ),
    "method.local_gradient": Field(
        True, "false: the local loss trains nothing, as in the released code"
    ),
    "method.views": Field(
        3,
        "of an image; of three, local is of the first two, targets of first and last",
        least=2,
        below=4,
    ),
    "method.head_width": Field(2048, "of the head's hidden layers", least=1),
    "method.predictor_width": Field(512, "of the predictor's hidden layer", least=1),
    "views.second_recipe": Field("", "of the second view; empty is the first's"),
    "views.small_crops": Field(0, "of each view, for look crops", least=0),
    "views.small_size": Field(0, "side of small crops; 0 is half a view's", least=0),
    "views.small_scale": Field((0.05, 0.14), "least and largest share of the area of small crops"),
    **_CHANNELS,
}

METHOD_FIELDS: dict[str, Fields] = {
    "supervised_mcl": {
        **_weights(0.1, 1.0, 0.1, 1.0),
        **_SOFT,
        "method.soft_self": Field(True, "the anchor's own column in soft terms, as the authors do"),
        "method.numerator": Field(
            "mean_log", "how several positives are joined", choices=("mean_log", "log_sum")
        ),
        **_CHUNKS,
        **_DISTILLATION,
    },
    "supervised_bank": {
        **_weights(0.1, 1.0, 0.1, 1.0),
        **_SOFT,
        **_BANK,
        "method.negatives": Field(8192, "rows of other classes, drawn for each anchor", least=1),
        "method.shared_negatives": Field(False, "draws them once for the batch, far cheaper"),
        "method.positives": Field(1, "rows of the anchor's class, drawn for each anchor", least=1),
        **_DISTILLATION,
    },
    "moco": {
        **_weights(1.0, 1.0, 1.0, 1.0),
        **_SOFT,
        "method.queue_size": Field(65536, "K, keys of earlier batches", least=1),
        "method.momentum": Field(0.999, "of the networks that make keys", least=0, below=1),
        **_JIGSAW,
        **_region(),
        **_CHUNKS,
        **_TWO_VIEWS,
    },
    "simclr": {
        **_weights(1.0, 1.0, 1.0, 1.0),
        **_SOFT,
        **_region(),
        **_CHUNKS,
        **_TWO_VIEWS,
    },
    "instance_discrimination": {
        **_weights(1.0, 1.0, 1.0, 1.0),
        **_SOFT,
        **_BANK,
        "method.form": Field(
            "softmax", "of the objective; nce is the original one", choices=("softmax", "nce")
        ),
        "method.negatives": Field(
            4096, "keys drawn from the region for each anchor; 0 takes all of it", least=0
        ),
        **_JIGSAW,
        **_region("cave"),
        **_CLUSTERS,
        **_CHANNELS,
    },
    "local_aggregation": {
        **_weights(1.0, 0.0, 0.0, 0.0),
        **_SOFT,
        **_BANK,
        "method.background": Field(4096, "nearest rows that neighbours stand out from", least=2),
        "method.warm_start_epochs": Field(
            10, "epochs of instance discrimination before neighbours count", least=0
        ),
        **_CLUSTERS,
        **_CHANNELS,
    },
    "learned_views": _LEARNED_VIEWS,
    "global_local": {**_weights(1.0, 0.0, 1.0, 0.0), **_SOFT, **_CHUNKS, **_GLOBAL_LOCAL},
}

# Learning without labels: rows in any order, the papers' temperature and head.
_WITHOUT_LABELS: dict[str, Any] = {
    "method.temperature": 0.07,
    "method.head": "linear",
    "data.sampler": "shuffled",
    "optimizer.nesterov": False,
    "optimizer.weight_decay": 1e-4,
    "optimizer.learning_rate": 0.03,
}
METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "supervised_bank": {"method.temperature": 0.07, "data.sampler": "shuffled"},
    "moco": _WITHOUT_LABELS | {"views.recipe": "moco_v1"},
    "simclr": _WITHOUT_LABELS | {"views.recipe": "simclr", "method.head": "simclr"},
    "instance_discrimination": _WITHOUT_LABELS | {"views.recipe": "instance_discrimination"},
    "local_aggregation": _WITHOUT_LABELS | {"views.recipe": "instance_discrimination"},
    "global_local": _WITHOUT_LABELS
    | {
        "method.temperature": 1.0,
        "method.head": "fast_moco",
        "method.embedding_dim": 2048,
        "views.recipe": "moco_v2",
        "optimizer.learning_rate": 0.1,
        "optimizer.clip_norm": 1.0,
        "optimizer.constant": ("predictor",),
    },
    "learned_views": _WITHOUT_LABELS
    | {
        "views.recipe": "imagenet",
        "views.crop_scale": (0.2, 1.0),
        "optimizer.name": "adam",
        "optimizer.beta1": 0.5,
        "optimizer.learning_rate": 2e-4,
        "optimizer.weight_decay": 0.0,
    },
}
