"""Numbers, names and metrics in words."""

from collections.abc import Sequence

# What each metric of the library's methods is, in the order in which they are shown.
METRICS = {
    "loss": ("loss", "What training makes small: all terms with their weights, over all networks."),
    "cross_entropy": (
        "cross-entropy",
        "Classification loss of each network on its training batch, in nats.",
    ),
    "bound": (
        "what views share",
        "Bound on the mutual information of what different networks see, in nats, as these read it "
        "on their training batch: they make it large, generators make it small. With bound dv "
        "few rows read too much; with bound bank it is of a view and the mean of earlier ones, "
        "which may be more than two views share.",
    ),
    "vcl": (
        "VCL",
        "Contrast within each network: its embedding of an image against its own of the rest of "
        "the batch; the sum over networks, in nats.",
    ),
    "icl": (
        "ICL",
        "Contrast across networks: a network's embedding of an image against those of each peer; "
        "the sum over ordered pairs, in nats.",
    ),
    "soft_vcl": (
        "soft VCL",
        "How far each network's similarities within itself are from its peers', as KL divergence; "
        "the sum over ordered pairs.",
    ),
    "soft_icl": (
        "soft ICL",
        "How far each network's similarities to a peer are from the peer's to it, as KL "
        "divergence; the sum over ordered pairs.",
    ),
    "jigsaw": (
        "jigsaw",
        "The same contrast of the images' jigsaw patches, against the same keys, in nats; the loss "
        "has its share of it.",
    ),
    "logit_distillation": (
        "logit distillation",
        "How far the networks' answers are from those of the mean logits, as KL divergence; the "
        "sum over networks.",
    ),
    "deep_mutual": (
        "deep mutual learning",
        "How far the networks' answers are from each other, as KL divergence; the sum over "
        "ordered pairs.",
    ),
    "mean_cosine": (
        "mean cosine",
        "Mean cosine between each network's embeddings of different images of the training batch; "
        "near 1 all images lie on one point.",
    ),
    "effective_rank": (
        "effective rank",
        "How many directions each network's embeddings of a batch use (RankMe, of at most 64 "
        "rows); near 1 all lie on a line.",
    ),
    "embedding_std": (
        "spread of embeddings",
        "Standard deviation of a coordinate of each network's embeddings over a batch, mean over "
        "the coordinates; 0 where all images lie on one point, one over the root of the number of "
        "coordinates where they spread over the sphere.",
    ),
    "positive_similarity": (
        "similarity to positives",
        "Mean cosine between an anchor and its positives in the batch, of each network.",
    ),
    "hardest_negative": (
        "similarity to the hardest negative",
        "Mean over anchors of the largest cosine with a negative in the batch, of each network.",
    ),
    "mutual_information": (
        "bound on mutual information",
        "InfoNCE reading between one network's embeddings (row) and another's keys of the same "
        "images (column), in nats; at most the log of the rows it is read on (the batch's, up to "
        "128). As these are trained on, it may lie above what unseen images would give.",
    ),
    "agreement": (
        "agreement on training batches",
        "Share of the batch's rows that two networks put into the same class, rightly or wrongly.",
    ),
    "accuracy": (
        "accuracy on training batches",
        "Share of right answers on the training batch of the step, of each network and of the mean "
        "of their logits (ensemble).",
    ),
    "ensemble_accuracy": (
        "ensemble on training batches",
        "Share of right answers of the mean logits on the training batch of the step.",
    ),
    "learning_rate": ("learning rate", "The optimiser's learning rate at the step."),
    "images_per_second": ("images per second", "Speed of training alone, since the last line."),
}


def metric(name: str) -> tuple[str, str]:
    """Title and meaning of a metric; of one that is not known, its name.

    Example:
        >>> metric("new_term")
        ('new term', 'Metric new_term.')
    """
    return METRICS.get(name, (name.replace("_", " "), f"Metric {name}."))


def percent(fraction: float | None) -> str:
    """A fraction in per cent, or a dash.

    Example:
        >>> percent(0.8465), percent(None)
        ('84.7 %', '-')
    """
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "network"), count(1200, "row")
        ('1 network', '1,200 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(30.04), duration(400), duration(7300)
        ('30 s', '6 min 40 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def short(text: str, most: int = 18) -> str:
    """A name that fits beside an axis.

    Example:
        >>> short("Ankle boot"), short("sulphur-crested cockatoo")
        ('Ankle boot', 'sulphur-crested c…')
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def listed(names: Sequence[object]) -> str:
    """Names as they stand in a sentence.

    Example:
        >>> listed(["0", "1", "4"])
        '0, 1 and 4'
    """
    words = [str(name) for name in names]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, with three or more that follow one another as a range.

    Example:
        >>> ranges([0, 1, 2, 5, 7, 8])
        '0-2, 5, 7 and 8'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = []
    for run in runs:
        words += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return listed(words)


def figure(value: float) -> str:
    """A number with three digits that matter.

    Example:
        >>> figure(9.2597), figure(0.00013330631), figure(2673.7)
        ('9.26', '0.000133', '2,670')
    """
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
