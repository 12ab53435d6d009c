"""What a study compares: arms, each a configuration that every seed is run with."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mcl_jax.config import ConfigError, default, fields, flatten, unknown_field

_HEAD = re.compile(
    r"(?P<name>[^:@\s]+)\s*"
    # The argument of a file is a word with a colon or nothing behind it.
    r"(?:@\s*(?P<file>.*?\.py(?::\w+(?=\s*(?::|$)))?))?\s*"
    r"(?::(?P<changes>.*))?",
    re.DOTALL,
)
_FIELD = re.compile(r"(?:^|[\s,])([A-Za-z_][\w.]*)=")


class Arm(NamedTuple):
    """A configuration that every seed is run with.

    Attributes:
        name: that no other arm of the study has.
        config: whole; its seed is that of the first run.
    """

    name: str
    config: ConfigDict


class ArmText(NamedTuple):
    """An arm as it is typed.

    Attributes:
        name: of the arm.
        file: of its configuration, ``FILE`` or ``FILE:ARG``; None for the study's.
        changes: fields with their values, as texts.
    """

    name: str
    file: str | None
    changes: dict[str, str]


def parse_arms(text: str) -> list[ArmText]:
    """Understands arms that stand one after the other.

    Each is ``NAME``, ``NAME: FIELD=VALUE FIELD=VALUE`` or ``NAME@FILE: FIELD=VALUE``; semicolons or
    ends of lines part arms, spaces or commas part fields.

    Args:
        text: the arms.

    Raises:
        ConfigError: an arm cannot be understood, or changes a field twice.

    Example:
        >>> for arm in parse_arms("solo: method.networks=1; ring@configs/ring.py:smoke"):
        ...     print(arm)
        ArmText(name='solo', file=None, changes={'method.networks': '1'})
        ArmText(name='ring', file='configs/ring.py:smoke', changes={})
    """
    arms = []
    for part in filter(None, map(str.strip, re.split(r"[;\n]", text))):
        found = _HEAD.fullmatch(part)
        if found is None:
            raise ConfigError(
                f"--arms must be NAME: FIELD=VALUE ...; NAME@FILE: FIELD=VALUE ..., got {part!r}."
            )
        arms.append(
            ArmText(found["name"], found["file"], _changes(found["name"], found["changes"]))
        )
    return arms


def _changes(arm: str, text: str | None) -> dict[str, str]:
    """Fields and values of an arm; a value reaches up to the next field."""
    text = (text or "").strip()
    places = list(_FIELD.finditer(text))
    before = text[: places[0].start()] if places else text
    if before.strip():
        raise ConfigError(f"--arms: {arm} must change fields by FIELD=VALUE, got {before!r}.")
    ends = [place.start() for place in places[1:]] + [len(text)]
    changes: dict[str, str] = {}
    for place, end in zip(places, ends, strict=False):  # of no place there is an end too
        name = place[1].removeprefix("config.")
        if name in changes:
            raise ConfigError(f"--arms: {arm} changes {name} twice.")
        changes[name] = text[place.end() : end].strip().rstrip(",").rstrip()
    return changes


def changed(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A copy of a configuration with other values in some of its fields.

    Another ``method.name`` takes effect before the rest, as `with_method` has it.

    Args:
        config: the whole configuration.
        changes: values by the fields' dotted names.

    Raises:
        ConfigError: there is no such field.

    Example:
        >>> changed(default(), {"method.networks": 1}).method.networks
        1
    """
    result = config.copy_and_resolve_references()
    name = changes.get("method.name", config.method.name)
    if name != config.method.name:
        result = with_method(result, str(name))
    known = flatten(result)
    for field in changes:
        if field not in known:
            raise unknown_field(field, known)
    with result.ignore_type():  # `mcl_jax.config.check` tells of wrong types in its own words
        result.update_from_flattened_dict(dict(changes))
    return result


def with_method(config: ConfigDict, name: str) -> ConfigDict:
    """The configuration of another method that keeps what was changed of this one's defaults.

    Args:
        config: of a method.
        name: of the other method, whose defaults the rest has.

    Example:
        >>> config = default("moco")
        >>> config.update_from_flattened_dict({"method.networks": 1, "method.queue_size": 512})
        >>> other = with_method(config, "simclr")
        >>> other.method.networks, "queue_size" in other.method
        (1, False)
    """
    before, after = fields(config.method.name), fields(name)
    kept = {
        field: value
        for field, value in flatten(config).items()
        if field in after and not (field in before and value == before[field].default)
    }
    result = default(name)
    result.update_from_flattened_dict(kept | {"method.name": name})
    return result


def check_arms(arms: list[Arm]) -> None:
    """Raises ConfigError unless there are arms, of different names that may be part of a folder."""
    if len(arms) < 2:
        raise ConfigError(f"--arms must name two arms or more, got {len(arms)}.")
    names = [arm.name for arm in arms]
    for name in names:
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise ConfigError(
                f"--arms must have names of letters, digits and . + - _, got {name!r}."
            )
        if names.count(name) > 1:
            raise ConfigError(f"--arms must have different names, got {name} twice.")


def shared(arm: Arm, reference: Arm) -> str:
    """What runs of one seed have in common in two arms, as a sentence's end.

    Example:
        >>> from mcl_jax.config import default
        >>> solo = Arm("solo", changed(default(), {"method.networks": 1}))
        >>> shared(solo, Arm("cohort", default()))
        'same batches and views, same initialisation of the networks that both have'
        >>> shared(Arm("b", changed(default(), {"data.batch_size": 50})), solo)
        'other batches (data.batch_size), same initialisation of the networks that both have'
    """
    now, there = _seen(arm.config), _seen(reference.config)
    # What one method has not, and another has off, does not part them.
    values = [(name, now.get(name), there.get(name)) for name in now.keys() | there.keys()]
    other = [name for name, a, b in values if a != b and (a or b)]

    def among(*sections: str) -> list[str]:
        return sorted(x for x in other if x.startswith(sections))

    parts = []
    batches, seen = among("data."), among("views.")
    if batches:
        parts.append(f"other batches ({', '.join(batches)})")
    elif seen:
        parts.append(f"same batches, other views ({', '.join(seen)})")
    else:
        parts.append("same batches and views")
    drawn = among(
        "model.", "method.head", "method.embedding_dim", "method.name", "method.predictor_width"
    )
    if drawn:
        parts.append(f"initialisation may differ ({', '.join(drawn)})")
    elif "method.networks" in other:
        parts.append("same initialisation of the networks that both have")
    else:
        parts.append("same initialisation")
    return ", ".join(parts)


def _seen(config: ConfigDict) -> dict[str, Any]:
    """Fields by dotted name, but for those of small crops where there are none."""
    found = flatten(config)
    if found.get("views.small_crops"):
        return found
    return {x: value for x, value in found.items() if not x.startswith("views.small_")}
