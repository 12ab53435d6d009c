"""How each network looks at images, as a configuration says it."""

from ml_collections import ConfigDict

from mcl_jax.config.field import ConfigError

Looks = tuple[str, ...]
HEADS = ("byol", "simsiam", "fast_moco")

_KINDS = {"queries": ("global", "local", "crops"), "targets": ("global", "local")}


def looks_of_networks(config: ConfigDict) -> list[tuple[Looks, Looks]]:
    """[M]: the looks of each network where it learns, and where it is learned from.

    Args:
        config: of a run; of a method without looks they are empty.

    Raises:
        ConfigError: there is no such look, it is there twice, or not one for each network.

    Example:
        >>> from mcl_jax import config
        >>> changed = config.default("global_local")
        >>> changed.update_from_flattened_dict(
        ...     {"method.networks": 2, "method.queries": "global,local+crops"}
        ... )
        >>> looks_of_networks(changed)
        [(('global',), ('global',)), (('local', 'crops'), ('global',))]
    """
    count = config.method.networks
    if "queries" not in config.method:
        return [((), ())] * count
    queries, targets = (_looks(config, name, kinds, count) for name, kinds in _KINDS.items())
    return list(zip(queries, targets, strict=True))


def _looks(config: ConfigDict, name: str, kinds: Looks, count: int) -> list[Looks]:
    """The looks of a field, one entry a network."""
    text = config.method[name]
    found = [tuple(looks.split("+")) for looks in text.split(",")]
    if len(found) not in (1, count):
        raise ConfigError(
            f"method.{name} must be looks of all networks, or of each of the {count} networks of "
            f"method.networks, got {text!r}."
        )
    for looks in found:
        if not set(looks) <= set(kinds) or len(set(looks)) < len(looks):
            raise ConfigError(
                f"method.{name} must be of {', '.join(kinds)}, different ones joined by +, got "
                f"{'+'.join(looks)!r}."
            )
    return found * (count // len(found))


def check_looks(config: ConfigDict) -> None:
    """Stops a run of method global_local whose parts contradict each other.

    Raises:
        ConfigError: as the sentences say.
    """
    options, small = config.method, config.views.get("small_crops", 0)
    if "queries" not in options:
        return
    looks = looks_of_networks(config)
    queries, targets = (set().union(*(own[side] for own in looks)) for side in (0, 1))
    _check_parts(config, queries | targets | ({"local"} if options.local_weight else set()))
    if options.head not in HEADS:
        raise ConfigError(
            f"method.head must be one of {', '.join(HEADS)}, which a predictor can follow, got "
            f"{options.head}."
        )
    _check_small_crops(config)
    if ("crops" in queries) != bool(small):
        raise ConfigError(
            f"views.small_crops must be above 0 for method.queries with crops and 0 for others, "
            f"got {small} with {options.queries}."
        )
    if not options.global_weight and not options.local_weight:
        raise ConfigError(
            "method.global_weight and method.local_weight are both 0: nothing is learned."
        )
    if not options.global_weight and (options.neighbours or options.target_network != "online"):
        raise ConfigError(
            "method.global_weight 0 learns of no targets, so that neither neighbours nor a "
            "momentum network have a use: method.neighbours must be 0 and method.target_network "
            "online."
        )
    both = options.global_weight and options.local_weight
    if not options.local_gradient and not both:
        raise ConfigError(
            "method.local_gradient false wants method.global_weight and local_weight above 0: it "
            "is for the local loss, which then teaches nothing."
        )
    if options.views == 3 and not both:
        raise ConfigError(
            "method.views must be 2 with method.global_weight or local_weight 0: only both losses "
            "have use for three views, got 3."
        )
    if options.neighbours and targets != {"global"}:
        raise ConfigError(
            f"method.neighbours wants method.targets global, one for each image, got "
            f"{options.targets}."
        )
    soft = options.weights.soft_vcl or options.weights.soft_icl
    if options.contrast == "cosine" and soft:
        raise ConfigError(
            "method.contrast cosine has no distributions: method.weights.soft_vcl and soft_icl "
            "must be 0."
        )
    if options.contrast == "cosine" and options.chunk_size:
        raise ConfigError(
            f"method.chunk_size is for contrasts with all rows of a batch, and method.contrast "
            f"cosine has none, got {options.chunk_size}."
        )
    if options.target_network == "online" and options.momentum_schedule != "constant":
        raise ConfigError(
            f"method.momentum_schedule is for method.target_network momentum, got "
            f"{options.momentum_schedule} with online."
        )
    if config.parallel.cohort_devices > 1 and len(set(looks)) > 1:
        raise ConfigError(
            "parallel.cohort_devices above 1 wants all networks to look alike: only like networks "
            "are split over devices."
        )
    if config.model.shared_stages and len(set(looks)) > 1:
        raise ConfigError(
            "model.shared_stages wants all networks to look alike: only like networks share."
        )


def _check_small_crops(config: ConfigDict) -> None:
    """Shares of the area are two, in order; no size is given where there are no small crops."""
    views = config.views
    scale = tuple(views.small_scale)
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(
            f"views.small_scale must be two shares of the area in order, 0 < least <= largest <= "
            f"1, got {scale}."
        )
    if views.small_size and not views.small_crops:
        raise ConfigError(
            f"views.small_size is for views.small_crops, of which there are none, got "
            f"{views.small_size}."
        )


def _check_parts(config: ConfigDict, kinds: set[str]) -> None:
    """Encoders take what is smaller than evaluation's images."""
    if kinds != {"global"} and "vit" in config.model.name:
        raise ConfigError(
            f"method global_local wants a model.name that takes images of any size where it looks "
            f"at parts of them, got {config.model.name}."
        )
