"""Figures of a study as the texts of a table's cells."""

from typing import Any

WHO = {
    "mean": "mean of members",
    "best": "member best on validation",
    "averaged": "ensemble, answers averaged",
    "concatenated": "ensemble, features joined",
}


def rows(study: dict[str, Any], *arms: str) -> dict[str, str]:
    """Whose figures of some arms are worth a row, with their names: `WHO`, or the one network's.

    Example:
        >>> rows({"arms": {"solo": {"networks": 1}, "cohort": {"networks": 2}}}, "solo")
        {'mean': 'the network'}
    """
    alone = all(study["arms"][arm]["networks"] == 1 for arm in arms)
    return {"mean": "the network"} if alone else WHO


def measure_groups(study: dict[str, Any]) -> dict[str, list[str]]:
    """The measures of each table, tables and measures in their order.

    Example:
        >>> measure_groups({"measures": {"a": {"group": "test"}, "b": {"group": "test"}}})
        {'test': ['a', 'b']}
    """
    groups: dict[str, list[str]] = {}
    for name, measure in study["measures"].items():
        groups.setdefault(measure["group"], []).append(name)
    return groups


def is_share(study: dict[str, Any], name: str) -> bool:
    """Whether a measure is a fraction, to be shown in per cent."""
    return study["measures"][name]["group"] not in ("geometry", "views")


def mean_cell(study: dict[str, Any], name: str, who: str, arm: str) -> str:
    """Mean and standard deviation over seeds, or a dash."""
    found = study["means"].get(name, {}).get(who, {}).get(arm)
    return "-" if found is None else _value(found, is_share(study, name))


def difference_cell(study: dict[str, Any], name: str, who: str, arm: str) -> str:
    """The mean paired difference and its interval, or a dash."""
    found = study["differences"].get(name, {}).get(who, {}).get(arm)
    if found is None:
        return "-"
    share = is_share(study, name)
    mean = _number(found["mean"], share, signed=True)
    if found["low"] is None:
        return mean
    low, high = (_number(found[end], share, signed=True) for end in ("low", "high"))
    return f"{mean} [{low}, {high}]"


def baseline_rows(study: dict[str, Any], names: list[str]) -> list[tuple[str, list[str]]]:
    """A row for each baseline; several where it is not the same in all arms."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for place, name in enumerate(names):
        for baseline, arms in study["baselines"].get(name, {}).items():
            by_text: dict[str, list[str]] = {}
            for arm, value in arms.items():
                by_text.setdefault(_value(value, is_share(study, name)), []).append(arm)
            for text, alike in by_text.items():
                row = baseline, () if len(by_text) == 1 else tuple(alike)
                found.setdefault(row, ["-"] * len(names))[place] = text
    return [(_baseline(*row), cells) for row, cells in found.items()]


def _baseline(name: str, arms: tuple[str, ...]) -> str:
    """A baseline's name, and of which arms it is; a row of figures has no room for many."""
    if len(arms) > 3:
        arms = *arms[:2], f"{len(arms) - 2} others"
    return f"{name} of {', '.join(arms)}" if arms else name


def _value(found: dict[str, Any], share: bool) -> str:
    """A mean and, of several seeds, the standard deviation."""
    mean = _number(found["mean"], share)
    if found["deviation"] is None:
        return mean
    return f"{mean} ± {_number(found['deviation'], share)}"


def _number(value: float, share: bool, signed: bool = False) -> str:
    """In per cent with two digits, or as it is with three."""
    text = f"{100 * value:+.2f}" if share else f"{value:+.3f}"
    return text if signed else text.lstrip("+")
