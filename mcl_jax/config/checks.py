"""Whether a configuration can be run: its names, types, values, and what contradicts what."""

import difflib
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from ml_collections import ConfigDict

from mcl_jax.config.field import ConfigError, Field
from mcl_jax.config.looks import check_looks
from mcl_jax.config.table import fields, flatten, knows_method


def check(config: ConfigDict, devices: int = 1) -> None:
    """Stops a run that cannot go well.

    Args:
        config: the whole configuration.
        devices: number of devices on the data axis; whatever 1 is refused for, more are too.

    Raises:
        ConfigError: a field is unknown or missing, or a value is of another type, is out of range
            or contradicts another.
    """
    flat = flatten(config)
    method = str(flat.get("method.name", ""))
    known = fields(method)
    # Of a method that nobody knows the name is wrong, which those say who know the methods.
    own = {name: x for name, x in flat.items() if knows_method(method) or name in known}
    _check_names(own, known)
    for name, field in known.items():
        _check_type(name, flat[name], field)
        _check_value(name, flat[name], field)
    _check_name_of_run(config.name)
    _check_statistics(config)
    _check_cohort(config)
    _check_pairs(config)
    _check_split(config, devices)
    _check_optimizer(config)
    _check_evaluation(config)
    _check_region(config)
    _check_form(config)
    _check_jigsaw(config)
    _check_terms(config)
    _check_views(config)
    _check_learned_views(config, devices)
    check_looks(config)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known field that a dotted name was most probably meant to be, or None.

    Example:
        >>> nearest("trainig.epoch", ["training.epochs", "training.steps"])
        'training.epochs'
        >>> nearest("networks", ["method.networks", "model.norm"])
        'method.networks'
    """
    known = list(known)
    whole = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    if whole:
        return whole[0]
    # The right word in the wrong section, or in none.
    by_word: dict[str, str] = {}
    for each in known:
        by_word.setdefault(each.rpartition(".")[2], each)
    words = difflib.get_close_matches(name.rpartition(".")[2], by_word, n=1, cutoff=0.75)
    return by_word[words[0]] if words else None


def unknown_field(name: str, known: Iterable[str]) -> ConfigError:
    """What is said of a field that no configuration has."""
    near = nearest(name, known)
    hint = f"; did you mean {near}?" if near else "; --help lists all fields."
    return ConfigError(f"the configuration has no field {name}{hint}")


def _check_type(name: str, value: Any, field: Field) -> None:
    """Raises ConfigError unless a value is of the field's type."""
    kind = type(field.default)
    if kind is tuple:
        right = isinstance(value, tuple | list) and all(_is(x, field.items) for x in value)
    else:
        right = _is(value, kind)
    if not right:
        raise ConfigError(f"{name} must be {wanted(field)}, got {value!r}.")


def wanted(field: Field) -> str:
    """The type of a field's values as a person would say it.

    Example:
        >>> wanted(Field(3, "of something")), wanted(Field((), "of each", items=str))
        ('a whole number', "a tuple of texts such as ('a', 'b')")
    """
    if isinstance(field.default, tuple):
        kinds = {str: "texts such as ('a', 'b')", int: "whole numbers such as (1, 2)"}
        return f"a tuple of {kinds.get(field.items, 'numbers such as (1, 2)')}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return words[type(field.default)]


def _is(value: Any, kind: type) -> bool:
    """Whether a value is of a kind: a whole number is a number, but true is none."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _check_names(flat: dict[str, Any], known: dict[str, Field]) -> None:
    """Every field must be there and no other."""
    for name in flat:
        if name not in known:
            inner = [each for each in known if each.startswith(f"{name}.")]
            if inner:
                raise ConfigError(
                    f"{name} must hold fields such as {inner[0]}, got {flat[name]!r}."
                )
            raise unknown_field(name, known)
    missing = [name for name in known if name not in flat]
    if missing:
        raise ConfigError(
            f"the configuration lacks {', '.join(missing[:3])}; mcl_jax.config.default(METHOD) has "
            f"every field of a method."
        )


def _check_value(name: str, value: Any, field: Field) -> None:
    """Choices, bounds and finiteness."""
    if field.choices and value not in field.choices:
        raise ConfigError(
            f"{name} must be {_one_of(field.choices)}, got {value!r}{_hint(value, field.choices)}"
        )
    numbers = value if isinstance(value, tuple | list) else (value,)
    for number in numbers:
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{name} must be finite, got {number}.")
    tests: tuple[tuple[float | None, str, Callable[[float, float], bool]], ...] = (
        (field.least, "at least", lambda value, bound: value >= bound),
        (field.above, "above", lambda value, bound: value > bound),
        (field.below, "below", lambda value, bound: value < bound),
    )
    for bound, words, holds in tests:
        if bound is not None and not all(holds(number, bound) for number in numbers):
            raise ConfigError(f"{name} must be {words} {bound}, got {value}.")


def _one_of(choices: tuple[str, ...]) -> str:
    """``"empty"`` stands for what cannot be seen."""
    return "one of " + ", ".join(choice or "'' (any)" for choice in choices)


def _hint(value: str, choices: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(value, choices, n=1)
    return f"; did you mean {near[0]}?" if near else "."


def _check_name_of_run(name: str) -> None:
    """It names a folder."""
    if name != name.strip() or name in ("", ".", "..") or re.search(r"[/\\\0\n]", name):
        raise ConfigError(
            f"name must be able to name a folder, since results go to runs/<name>, got {name!r}."
        )


def _check_statistics(config: ConfigDict) -> None:
    """Mean and spread of channels."""
    mean, std = config.data.mean, config.data.std
    if len(mean) != len(std):
        raise ConfigError(
            f"data.mean and data.std must have one number a channel each, got {len(mean)} and "
            f"{len(std)}."
        )
    if not all(0 <= number <= 1 for number in mean):
        raise ConfigError(
            f"data.mean must be from 0 to 1, where 1 is the brightest pixel, got {mean}."
        )
    if not all(spread > 0 for spread in std):
        raise ConfigError(f"data.std must be above 0, got {std}.")


def _check_cohort(config: ConfigDict) -> None:
    """Networks that are not all alike, or not all trained."""
    networks, frozen = config.method.networks, tuple(config.method.frozen)
    encoders, files = config.model.name.split(","), len(config.model.weights)
    if len(encoders) not in (1, networks):
        raise ConfigError(
            f"model.name must name one encoder, or one for each of the {networks} networks of "
            f"method.networks, got {len(encoders)}."
        )
    if files not in (0, networks):
        raise ConfigError(
            f"model.weights must name a file, or nothing, for each of the {networks} networks, got "
            f"{files}."
        )
    if len(set(frozen)) < len(frozen) or any(number >= networks for number in frozen):
        raise ConfigError(
            f"method.frozen must hold different numbers from 0 to {networks - 1}, got {frozen}."
        )
    if len(frozen) == networks:
        raise ConfigError("method.frozen must leave a network that learns, got all.")
    if not frozen and not config.method.frozen_heads:
        raise ConfigError("method.frozen_heads false is for method.frozen, which is empty.")
    options = config.method
    distils = "distillation_students" in options and options.weights.logit_distillation
    last = distils and options.distillation_students == "last"
    if last and networks - 1 in frozen:
        raise ConfigError(
            f"method.distillation_students last wants a last network that learns, but "
            f"method.frozen holds {networks - 1}."
        )
    alike = len(encoders) == 1 and not frozen
    if config.model.shared_stages and not (alike and not files):
        raise ConfigError(
            "model.shared_stages wants one model.name, no model.weights and no method.frozen."
        )
    spread = config.parallel.cohort_devices
    if spread > 1 and not (alike and not config.model.shared_stages):
        raise ConfigError(
            "parallel.cohort_devices above 1 wants one model.name, no method.frozen and no "
            "model.shared_stages: only like networks are split over devices."
        )
    for name in ("channels", "frequency"):
        if spread > 1 and config.views.get(name):
            raise ConfigError(
                f"parallel.cohort_devices above 1 wants no views.{name}: only like networks are "
                f"split over devices."
            )
    if networks % spread:
        raise ConfigError(
            f"parallel.cohort_devices must divide method.networks, {networks}, got {spread}."
        )


def _check_pairs(config: ConfigDict) -> None:
    """Who learns from whom."""
    networks, weights = config.method.networks, config.method.pair_weights
    if weights and config.method.topology != "all":
        raise ConfigError(
            f"method.pair_weights stand instead of a method.topology, got both: "
            f"{config.method.topology}."
        )
    if len(weights) not in (0, networks**2):
        raise ConfigError(
            f"method.pair_weights must hold {networks} x {networks} numbers, got {len(weights)}."
        )
    teacher, taught = config.method.teacher, config.method.topology == "teacher"
    if teacher >= networks or (teacher and not taught):
        raise ConfigError(
            f"method.teacher must be from 0 to {networks - 1}, and 0 unless method.topology is "
            f"teacher, got {teacher}."
        )


def _check_split(config: ConfigDict, devices: int) -> None:
    """Batch, micro-batches, groups of statistics and devices must divide."""
    batch, groups, norm = config.data.batch_size, config.model.norm_groups, config.model.norm
    micro = config.training.micro_batches
    if batch % devices:
        raise ConfigError(
            f"data.batch_size must be a multiple of the number of devices, {devices}, got {batch}."
        )
    if batch // devices % micro:
        raise ConfigError(
            f"training.micro_batches must divide the {batch // devices} rows of a device, got "
            f"{micro}."
        )
    if norm != "grouped" and groups != 1:
        raise ConfigError(f"model.norm_groups is for model.norm grouped, got {groups} with {norm}.")
    parts = devices * micro
    if norm == "grouped" and (groups % parts or batch % groups):
        of = f"devices, {devices}," if micro == 1 else f"devices times micro-batches, {parts},"
        raise ConfigError(
            f"model.norm_groups must be a multiple of the number of {of} and divide "
            f"data.batch_size, {batch}, got {groups}."
        )
    parts = {"local": parts, "grouped": groups, "sync": micro, "group": 1}[norm]
    if batch // parts < 2:
        raise ConfigError(
            f"data.batch_size must give batch statistics two rows or more, got {batch} in {parts} "
            f"parts."
        )


def _check_optimizer(config: ConfigDict) -> None:
    """Momentum, schedule and patterns."""
    options = config.optimizer
    if options.nesterov and not options.momentum:
        raise ConfigError(
            "optimizer.nesterov wants optimizer.momentum above 0, got 0; without momentum it must "
            "be false."
        )
    if (options.schedule == "step") != bool(options.milestones):
        raise ConfigError(
            f"optimizer.milestones must be given for optimizer.schedule step and for no other, got "
            f"{options.milestones} with {options.schedule}."
        )
    if options.warmup_from and not options.warmup_epochs:
        raise ConfigError(
            f"optimizer.warmup_from is for optimizer.warmup_epochs above 0, got "
            f"{options.warmup_from}."
        )
    pairs = zip((0, *options.milestones), options.milestones, strict=False)
    if not all(before < after for before, after in pairs):
        raise ConfigError(
            f"optimizer.milestones must rise, from above 0, got {options.milestones}."
        )
    # Whoever gives steps may be trying out the beginning of a longer run.
    last = max((options.warmup_epochs, *options.milestones))
    if not config.training.steps and last and last >= config.training.epochs:
        name = "warmup_epochs" if last == options.warmup_epochs else "milestones"
        raise ConfigError(
            f"optimizer.{name} must be below training.epochs, {config.training.epochs}, got "
            f"{options[name]}; to try a run's beginning, give training.steps."
        )
    for name in ("decay_exclude", "constant"):
        for pattern in options[name]:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"optimizer.{name} must hold regular expressions, got {pattern!r}: {error}."
                ) from error


def _check_evaluation(config: ConfigDict) -> None:
    """Neighbours are searched for among enough rows."""
    neighbours, rows = config.evaluation.knn_neighbours, config.evaluation.knn_rows
    if neighbours > rows:
        raise ConfigError(
            f"evaluation.knn_neighbours must be at most evaluation.knn_rows, {rows}, got "
            f"{neighbours}."
        )


def _check_form(config: ConfigDict) -> None:
    """Noise contrast is of rows drawn from all."""
    options = config.method
    if options.get("form") != "nce":
        return
    if not options.negatives:
        raise ConfigError("method.form nce draws rows: method.negatives must be at least 1, got 0.")
    if options.region != "all":
        raise ConfigError(
            f"method.form nce draws from all rows: method.region must be all, got {options.region}."
        )


def _check_region(config: ConfigDict) -> None:
    """Shares of the keys, and annealing where there is a region."""
    options = config.method
    if "region" not in options:
        return
    if options.outer > 1:
        raise ConfigError(f"method.outer must be at most 1, got {options.outer}.")
    if options.region == "all" and options.annealing != "constant":
        raise ConfigError(
            f"method.annealing is for a method.region other than all, got {options.annealing}."
        )


def _check_jigsaw(config: ConfigDict) -> None:
    """Networks that learn, by a contrast that reads no denominator off the queries."""
    share = config.method.get("jigsaw", 0)
    if share and config.method.get("form") == "nce":
        raise ConfigError(f"method.jigsaw is for method.form softmax, got {share} with nce.")
    if share and config.method.frozen:
        raise ConfigError(
            f"method.jigsaw wants networks that all learn, and no method.frozen, got {share} with "
            f"{tuple(config.method.frozen)}."
        )
    if share and "vit" in config.model.name:
        raise ConfigError(
            f"method.jigsaw wants a model.name that takes images of any size, whose patches are "
            f"smaller than views, got {config.model.name}."
        )


def _check_terms(config: ConfigDict) -> None:
    """Where mutual contrast is all that is learned from, some of it must count."""
    networks, weights = config.method.networks, config.method.get("weights", {})
    if set(weights) != {"vcl", "soft_vcl", "icl", "soft_icl"} or weights.vcl:
        return
    if networks == 1 or not any(weights.values()):
        raise ConfigError(
            f"method.weights must hold a term above 0 for method.networks {networks} to learn "
            f"from{', which is vcl' if networks == 1 else ''}, got {dict(weights)}."
        )


def _check_learned_views(config: ConfigDict, devices: int) -> None:
    """Who sees what, and rows whose labels count."""
    options, data = config.method, config.data
    if "generators" not in options:
        return
    count, own = options.networks, options.generators == "own"
    if count < 2 or (count % 2 and not own):
        raise ConfigError(
            f"method.networks must be {'2 or more' if own else 'even'} for method.generators "
            f"{options.generators}, got {count}."
        )
    if options.seen_channels > 1 and not own:
        raise ConfigError(
            f"method.seen_channels is for method.generators own, got {options.seen_channels} with "
            f"{options.generators}."
        )
    if own and config.model.shared_stages:
        raise ConfigError(
            f"model.shared_stages must be 0 for method.generators own, whose networks see "
            f"different things, got {config.model.shared_stages}."
        )
    if options.topology != "all" or options.pair_weights:
        raise ConfigError(
            "method.topology and method.pair_weights are for terms of mutual contrast: the bound "
            "of learned_views is the mean over all pairs that see different things."
        )
    if options.bound == "dv" and options.head != "linear":
        raise ConfigError(
            f"method.head must be linear for method.bound dv, whose scores have no bound, got "
            f"{options.head}."
        )
    if not options.information_weight and not options.class_weight:
        raise ConfigError(
            "method.information_weight and method.class_weight are both 0: nothing is learned."
        )
    if data.sampler != "shuffled":
        raise ConfigError(
            f"data.sampler must be shuffled for a bound on what views share, got {data.sampler}."
        )
    labelled, batch = data.labelled_batch, data.batch_size
    if data.labelled and not labelled:
        raise ConfigError(
            f"data.labelled wants data.labelled_batch above 0, got {data.labelled} with 0."
        )
    if data.unlabelled and options.class_weight and not labelled:
        raise ConfigError(
            "data.unlabelled wants data.labelled_batch above 0 where method.class_weight is: "
            "classifiers see labelled rows alone."
        )
    if not labelled:
        return
    if labelled > batch - 2 or (data.labelled and labelled > data.labelled):
        raise ConfigError(
            f"data.labelled_batch must be at most data.labelled, and leave two of the {batch} rows "
            f"of a batch, got {labelled} of {data.labelled or 'all'}."
        )
    parts = devices * config.training.micro_batches
    if math.gcd(batch, labelled) % parts:
        raise ConfigError(
            f"data.labelled_batch and data.batch_size must be multiples of devices times "
            f"micro-batches, {parts}, got {labelled} and {batch}."
        )
    norm, groups = config.model.norm, config.model.norm_groups
    if math.gcd(batch, labelled) % groups:
        raise ConfigError(
            f"model.norm_groups must divide data.labelled_batch and the other rows of a batch, "
            f"{labelled} and {batch - labelled}, got {groups}."
        )
    runs = {"local": parts, "grouped": groups, "sync": config.training.micro_batches, "group": 0}
    if min(labelled, batch - labelled) < 2 * runs[norm]:
        raise ConfigError(
            f"data.labelled_batch must give batch statistics two rows or more, and leave as many, "
            f"got {labelled} of {batch} in {runs[norm]} parts."
        )


def _check_views(config: ConfigDict) -> None:
    """What is divided among networks, and patches in the place of crops."""
    options = config.views
    if options.get("channels") and options.get("frequency"):
        raise ConfigError(
            f"views.channels and views.frequency each divide a view among networks, got both: "
            f"{options.channels} and {options.frequency}."
        )
    if options.get("learned") and not options.channels:
        raise ConfigError(
            f"views.learned wants views.channels, the colour space that its generators change, got "
            f"{options.learned} without."
        )
    if options.get("patch_distance") and not options.patch_size:
        raise ConfigError(
            f"views.patch_distance is for a views.patch_size above 0, got {options.patch_distance}."
        )
    if not options.get("patch_size"):
        return
    if "vit" in config.model.name:
        raise ConfigError(
            f"views.patch_size wants encoders that see images of any size, which patches and the "
            f"whole images of evaluation differ in, got model.name={config.model.name}."
        )
    for name, off in (("size", "0"), ("crop_scale", "empty")):
        if options[name]:
            raise ConfigError(
                f"views.{name} must be {off} with views.patch_size, whose patches are not cropped "
                f"or scaled, got {options[name]}."
            )
