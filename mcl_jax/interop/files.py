"""Networks in safetensors files, under PyTorch's names and in PyTorch's layout."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import mcl_jax
from mcl_jax import atomic
from mcl_jax.interop import fitting, weights

_KEY = "mcl_jax"  # of the metadata


class Stored(NamedTuple):
    """What a file says of one of its networks.

    Attributes:
        name: the architecture.
        classes: C of its classifier; 0 if the file has none.
        head: whether the file has its projection head.
        options: what it has of `mcl_jax.models.create`'s options that change its weights.
        prefix: in front of the names of its weights.
    """

    name: str
    classes: int
    head: bool
    options: dict[str, Any]
    prefix: str


def save_safetensors(
    path: str | os.PathLike[str],
    name: str,
    variables: Any,
    *,
    classifier: bool = True,
    head: bool = True,
    **options: Any,
) -> None:
    """Writes one network to a safetensors file.

    The encoder has PyTorch's names without any prefix, so that `safetensors.torch.load_file` gives
    a state dictionary; a projection head is under ``projection.``. Architecture, number of classes,
    options and the library's version are in the metadata, as JSON under ``mcl_jax``.

    Args:
        path: the file; written whole or not at all.
        name: the architecture, one of `mcl_jax.models.names`.
        variables: of an encoder, or of encoder and head as a cohort's member has them.
        classifier: whether the classifier is written.
        head: whether the projection head, if there is one, is written.
        **options: what the network has of `mcl_jax.models.create`'s options that change its weights
            (``width``, ``stem``, ``norm``).

    Raises:
        ValueError: the architecture is unknown, or the variables are not its.
    """
    settings = {"classifier": classifier, "head": head}
    _write(path, [_network(name, variables, "", settings, options)])


def load_safetensors(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    network: int | None = None,
    prefix: str | None = None,
    classifier: bool = True,
    head: bool = True,
    into: Any = None,
    **options: Any,
) -> Any:
    """Reads one network from a safetensors file.

    What `save_safetensors` and `save_cohort` wrote says itself what it is. Of any other file, such
    as timm's, the architecture has to be given, and its weights are taken as `load_torch` does.

    Args:
        path: the file.
        name: the architecture; None for what the file says.
        network: which of a cohort's networks, from 0; needed where the file has more than one.
        prefix: for a file from elsewhere, as in `load_torch`.
        classifier: whether the classifier, if a file of ours has one, is read.
        head: whether the projection head, if a file of ours has one, is read.
        into: variables that keep what is not read, as in `load_torch`; a head is read into those
            of encoder and head only.
        **options: for a file from elsewhere, as in `load_torch`.

    Returns:
        NumPy arrays in the structure of ``into``; without it the variables of an encoder, or of
        encoder and head if a head is read.

    Raises:
        ValueError: the file is no safetensors file, holds another architecture, or does not say
            which; or as in `load_torch`.
    """
    stored = describe(path)
    if not stored:
        if name is None:
            raise ValueError(f"{path} does not say which architecture it holds; give its name.")
        if network is not None:
            raise ValueError(f"{path} does not number its networks; give a prefix, not a network.")
        found = _read(path, "")
        return weights.load_torch(
            name, found, prefix=prefix, classifier=classifier, into=into, **options
        )
    if prefix is not None or options:
        given = [*(["prefix"] if prefix is not None else []), *options]
        raise ValueError(f"{path} says itself what it holds; leave out {', '.join(given)}.")
    one = _choose(path, stored, network)
    if name not in (None, one.name):
        raise ValueError(f"{path} holds {one.name!r}, not {name!r}.")
    return _load(path, one, classifier=classifier, head=head, into=into)


def save_cohort(
    path: str | os.PathLike[str],
    names: Sequence[str],
    members: Sequence[Any],
    *,
    classifier: bool = True,
    head: bool = True,
    **options: Any,
) -> None:
    """Writes all networks of a cohort to one safetensors file.

    The names of network a begin with ``module_list.a.``, as the MCL authors number networks, so
    that their cohorts of PyTorch modules load the encoders.

    Args:
        path: the file; written whole or not at all.
        names: the architecture of each network.
        members: the variables of each, as in `save_safetensors`.
        classifier: whether classifiers are written.
        head: whether projection heads, where there are any, are written.
        **options: of all networks, as in `save_safetensors`.

    Raises:
        ValueError: there are not as many names as members, or as in `save_safetensors`.
    """
    if len(names) != len(members) or not names:
        raise ValueError(
            f"a cohort wants a name for each member; got {len(names)} names and {len(members)} "
            "members."
        )
    settings = {"classifier": classifier, "head": head}
    _write(
        path,
        [
            _network(name, member, f"module_list.{index}.", settings, options)
            for index, (name, member) in enumerate(zip(names, members, strict=True))
        ],
    )


def load_cohort(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Reads all networks that `save_cohort` (or `save_safetensors`) wrote.

    Args:
        path: the file.

    Returns:
        The architectures' names, and for each the variables that `load_safetensors` returns.

    Raises:
        ValueError: the file is no safetensors file, or not of this library.
    """
    stored = describe(path)
    if not stored:
        raise ValueError(
            f"{path} does not say what it holds; load_safetensors reads a network by its name."
        )
    return tuple(one.name for one in stored), tuple(_load(path, one) for one in stored)


def describe(path: str | os.PathLike[str]) -> tuple[Stored, ...]:
    """What a safetensors file says of its networks, without reading them.

    Args:
        path: the file.

    Returns:
        One entry a network; none for a file from elsewhere.

    Raises:
        ValueError: the file is no safetensors file, or another version of the library wrote
            metadata that this one does not know.
    """
    with _open(path) as file:
        metadata = (file.metadata() or {}).get(_KEY)
    if metadata is None:
        return ()
    try:
        return tuple(Stored(**network) for network in json.loads(metadata)["networks"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"the metadata of {path} are not those of this version of mcl_jax; got {metadata}."
        ) from error


def _network(
    name: str, variables: Any, prefix: str, settings: Mapping[str, bool], options: Mapping[str, Any]
) -> tuple[Stored, dict[str, np.ndarray]]:
    """What is written of one network: its description and its arrays."""
    classifier, head = settings["classifier"], settings["head"] and weights.is_member(variables)
    arrays = weights.to_torch(
        name, variables, prefix=prefix, classifier=classifier, head=head, **options
    )
    classes = [
        a.shape[0] for k, a in arrays.items() if fitting.is_classifier(k.removeprefix(prefix))
    ]
    return Stored(name, classes[0] if classes else 0, head, dict(options), prefix), arrays


def _write(
    path: str | os.PathLike[str], networks: Sequence[tuple[Stored, dict[str, np.ndarray]]]
) -> None:
    import safetensors.numpy

    arrays = {key: array for _, found in networks for key, array in found.items()}
    description = {
        "networks": [stored._asdict() for stored, _ in networks],
        "version": mcl_jax.__version__,
    }
    whole = safetensors.numpy.save(arrays, {_KEY: json.dumps(description)})
    with atomic.open_to_replace(path, "wb") as file:
        file.write(whole)


def _open(path: str | os.PathLike[str]) -> Any:
    import safetensors

    try:
        return safetensors.safe_open(path, framework="numpy")
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or a damaged one: {error}.") from error


def _read(path: str | os.PathLike[str], prefix: str) -> dict[str, np.ndarray]:
    with _open(path) as file:
        names = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118
        return {key: file.get_tensor(key) for key in names}


def _choose(path: str | os.PathLike[str], stored: Sequence[Stored], network: int | None) -> Stored:
    if network is None and len(stored) == 1:
        return stored[0]
    if network is None or not 0 <= network < len(stored):
        held = ", ".join(one.name for one in stored)
        raise ValueError(
            f"network must be from 0 to {len(stored) - 1}, as {path} holds {held}; got {network}."
        )
    return stored[network]


def _load(
    path: str | os.PathLike[str],
    one: Stored,
    *,
    classifier: bool = True,
    head: bool = True,
    into: Any = None,
) -> Any:
    """One network of a file of ours."""
    return weights.load_torch(
        one.name,
        _read(path, one.prefix),
        prefix=one.prefix,
        classifier=classifier and one.classes > 0,
        head=head and one.head and (into is None or weights.is_member(into)),
        into=into,
        **({} if into is not None else one.options),
    )
