"""Groups of like networks, stacked, and a cohort of some such groups."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp

from mcl_jax.axes import gather, positions
from mcl_jax.cohort.network import Network
from mcl_jax.cohort.output import Output

# What a tree of a group that shares stages consists of.
SHARING = {"shared", "members"}


class Group(NamedTuple):
    """Like networks.

    Attributes:
        network: the module that all of them are.
        size: m, how many.
        shared_stages: so many stages of the encoder, and its stem, are one for all of them: the
            branches of the MCL authors' cohorts above two. With 0 each network has its own.
    """

    network: Network
    size: int
    shared_stages: int = 0


class Cohort(NamedTuple):
    """Networks that learn together.

    Attributes:
        groups: of like ones; networks are numbered group by group.
    """

    groups: tuple[Group, ...]

    @property
    def size(self) -> int:
        """M."""
        return sum(group.size for group in self.groups)

    def items(self) -> Iterator[tuple[str, Group]]:
        """Each group with its key in the variables."""
        first = 0
        for group in self.groups:
            last = first + group.size - 1
            yield f"network_{first}" if group.size == 1 else f"networks_{first}_to_{last}", group
            first = last + 1


def like(network: Network, networks: int, shared_stages: int = 0) -> Cohort:
    """A cohort of like networks.

    Args:
        network: the module that all of them are.
        networks: M, at least 1.
        shared_stages: as `Group` has it.

    Returns:
        A cohort of one group.

    Raises:
        ValueError: ``networks`` is below 1, or the encoder has not so many stages.

    Example:
        >>> from mcl_jax import models
        >>> from mcl_jax.cohort import network
        >>> encoder = models.create("small_resnet", num_classes=10)
        >>> [key for key, _ in like(network(encoder), 4).items()]
        ['networks_0_to_3']
    """
    if networks < 1:
        raise ValueError(f"networks must be at least 1, got {networks}.")
    stages: Any = network.encoder
    if shared_stages and not 0 < shared_stages <= stages.stages:
        raise ValueError(
            f"shared_stages must be from 0 to {stages.stages}, the stages of the encoder, got "
            f"{shared_stages}."
        )
    return Cohort((Group(network, networks, shared_stages),))


def networks_of(key: str) -> range | None:
    """The numbers of the networks that a group's key stands for, None if it is no such key.

    Example:
        >>> networks_of("networks_2_to_4"), networks_of("network_3"), networks_of("generator")
        (range(2, 5), range(3, 4), None)
    """
    found = re.fullmatch(r"network_(\d+)|networks_(\d+)_to_(\d+)", key)
    if found is None:
        return None
    one, first, last = found.groups()
    return range(int(one or first), int(one or last) + 1)


Images = jax.Array | tuple[jax.Array, ...]


def init(cohort: Cohort, key: jax.Array, images: Images) -> dict[str, dict[str, Any]]:
    """Initialises every network independently; shared stages are those of a group's first one.

    Args:
        cohort: the networks.
        key: a JAX random key; network a gets ``fold_in(key, a)``.
        images: [B, H, W, c], floating, or one for each group; only the shape matters.

    Returns:
        ``{"params": {KEY: tree}, "batch_stats": {KEY: tree}}``, leaves [m, ...].
    """
    variables: dict[str, dict[str, Any]] = {"params": {}, "batch_stats": {}}
    for (name, group), seen in zip(cohort.items(), _of_groups(cohort, images), strict=True):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.array(networks_of(name)))
        drawn = jax.vmap(lambda key, group=group, seen=seen: group.network.init(key, seen))(keys)
        for collection, trees in variables.items():
            trees[name] = _divide(group, drawn.get(collection, {}), first=True)
    return variables


def apply(
    cohort: Cohort,
    variables: Any,
    images: Images,
    *,
    train: bool,
    axis_name: str | None = None,
) -> tuple[Output, Any]:
    """Shows images to every network, the same to all or others to each group.

    Args:
        cohort: the networks.
        variables: as `init` returns; under ``axis_name`` this device's networks alone.
        images: [B, H, W, c], floating; or a tuple with one for each group, whose networks may
            then see other channels, or another size, of the same B rows.
        train: normalise by the batch and move the running statistics, or use these.
        axis_name: a mapped axis that the networks are split over; embeddings and logits are
            gathered over it, features stay where they are.

    Returns:
        Output of [M, B, ...], and the batch statistics as `init` has them.

    Raises:
        ValueError: there is not one array of images for each group.
    """
    outputs, statistics = [], {}
    for (name, group), seen in zip(cohort.items(), _of_groups(cohort, images), strict=True):
        params, before = variables["params"][name], variables["batch_stats"][name]
        output, statistics[name] = _apply_group(group, params, before, seen, train)
        outputs.append(output)
    features, embeddings, logits = zip(*outputs, strict=True)
    joined = gather(jnp.concatenate(embeddings), axis_name)
    return Output(features, joined, gather(jnp.concatenate(logits), axis_name)), statistics


def apply_patches(
    cohort: Cohort,
    variables: Any,
    patches: Images,
    order: jax.Array,
    *,
    axis_name: str | None = None,
) -> tuple[jax.Array, Any]:
    """Shows patches to every network, in training, whose jigsaw heads embed those of an image.

    Args:
        cohort: networks with jigsaw heads.
        variables: as `apply` has them.
        patches: [B P, h, w, c], floating, those of an image side by side, or such for each group.
        order: int [M, B, P], for all networks, in which their heads join patches.
        axis_name: as `apply` has it.

    Returns:
        Unit vectors [M, B, D], and the batch statistics as `init` has them.

    Raises:
        ValueError: there is not one array of patches for each group, or a network has no jigsaw
            head.
    """
    found, statistics, first = [], {}, 0
    for (name, group), seen in zip(cohort.items(), _of_groups(cohort, patches), strict=True):
        params, before = variables["params"][name], variables["batch_stats"][name]
        here = group.size // (1 if axis_name is None else jax.lax.axis_size(axis_name))
        own = order[first : first + group.size][positions(here, axis_name)]

        def solve(network: Network, variables: Any, order: jax.Array, seen: Any = seen) -> Any:
            return network.apply(
                variables, seen, order, train=True, mutable=["batch_stats"], method="solve"
            )

        embeddings, statistics[name] = _each(group, solve, params, before, own)
        found.append(embeddings)
        first += group.size
    return gather(jnp.concatenate(found), axis_name), statistics


def look(
    cohort: Cohort,
    variables: Any,
    parts: tuple[jax.Array | None, ...],
    *,
    combine: Callable[[jax.Array], jax.Array] | None = None,
    predict: bool = True,
) -> tuple[list[tuple[jax.Array, jax.Array] | None], Any]:
    """Shows parts of images to every network, in training, as `Network.look` has them.

    Args:
        cohort: networks with predictors.
        variables: as `apply` has them; predictors may be missing if they are not called.
        parts: for each group [B, P, h, w, c], floating, or None, which leaves it out.
        combine: features of an image's parts to those that are projected, as there.
        predict: whether predictors follow.

    Returns:
        For each group projections and predictions [m, B, C, D] of this device's networks, or None,
        and the batch statistics as `init` has them.

    Raises:
        ValueError: parts are not one for each group, or a network has no predictor.
    """
    found: list[tuple[jax.Array, jax.Array] | None] = []
    statistics = dict(variables["batch_stats"])
    for (name, group), seen in zip(cohort.items(), parts, strict=True):
        if seen is None:
            found.append(None)
            continue

        def run(network: Network, variables: Any, seen: jax.Array = seen) -> Any:
            return network.apply(
                variables, seen, combine, predict, True, mutable=["batch_stats"], method="look"
            )

        output, statistics[name] = _each(group, run, variables["params"][name], statistics[name])
        found.append(output)
    return found, statistics


def _of_groups(cohort: Cohort, images: Images) -> tuple[jax.Array, ...]:
    """What each group sees."""
    groups = len(cohort.groups)
    if not isinstance(images, tuple):
        return (images,) * groups
    if len(images) != groups:
        raise ValueError(
            f"images must be one array for each of {groups} groups, got {len(images)}."
        )
    return images


def _apply_group(
    group: Group, params: Any, statistics: Any, images: jax.Array, train: bool
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Any]:
    """Features, embeddings and logits [m, B, ...] of a group, and its batch statistics."""

    def see(network: Network, variables: Any) -> tuple[Any, Any]:
        if not train:
            return network.apply(variables, images, train=False), variables
        return network.apply(variables, images, train=True, mutable=["batch_stats"])

    return _each(group, see, params, statistics)


def _each(
    group: Group, run: Callable[..., tuple[Any, Any]], params: Any, statistics: Any, *own: Any
) -> tuple[Any, Any]:
    """What every network of a group makes of something, and its batch statistics.

    Args:
        group: the networks.
        run: (network, variables, what is its own) to what it makes, [...], and the variables that
            it has moved.
        params: of the group.
        statistics: the same.
        *own: what each network gets of its own, [m, ...].
    """
    network = group.network

    def one(params: Any, statistics: Any, *own: Any) -> tuple[Any, Any]:
        params, statistics = merged(params), merged(statistics)
        # Momentum networks lack some parts.
        frozen = [part for part in network.frozen if part in params]
        held = {part: jax.lax.stop_gradient(params[part]) for part in frozen}
        variables = {"params": params | held, "batch_stats": statistics}
        output, moved = run(network, variables, *own)
        return output, _divide(group, moved.get("batch_stats", {}))

    # What is not mapped is computed once: shared stages see the images once for all networks.
    axes: Any = {"shared": None, "members": 0} if group.shared_stages else 0
    in_axes = (axes, axes) + (0,) * len(own)
    return jax.vmap(one, in_axes, (0, axes))(params, statistics, *own)


def _divide(group: Group, tree: Any, first: bool = False) -> Any:
    """A tree as it is, or as ``{"shared", "members"}`` where stages are shared.

    Args:
        group: the networks.
        tree: variables of a collection.
        first: whether leaves have a network axis, of which shared ones keep the first entry.
    """
    if not group.shared_stages:
        return tree
    encoder: Any = group.network.encoder
    parts: dict[str, Any] = {"shared": {}, "members": {}}
    for path, leaf in flax.traverse_util.flatten_dict(tree).items():
        shared = path[0] == "encoder" and encoder.stage_of(path[1]) <= group.shared_stages
        parts["shared" if shared else "members"][path] = leaf[0] if shared and first else leaf
    return {name: flax.traverse_util.unflatten_dict(flat) for name, flat in parts.items()}


def merged(tree: Any) -> Any:
    """The variables of a network out of a tree as it is or as ``{"shared", "members"}``.

    Example:
        >>> merged({"shared": {"encoder": {"a": 1}}, "members": {"encoder": {"b": 2}}})
        {'encoder': {'a': 1, 'b': 2}}
    """
    if tree.keys() != SHARING:
        return tree
    flat = [flax.traverse_util.flatten_dict(tree[name]) for name in ("shared", "members")]
    return flax.traverse_util.unflatten_dict(flat[0] | flat[1])
