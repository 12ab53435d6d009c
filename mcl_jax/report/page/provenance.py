"""What was run: command, versions, machine, data, starts and settings."""

import json
from typing import Any

from mcl_jax.report.page import wording
from mcl_jax.report.page.workdir import Workdir, flat


def facts(run: Workdir) -> list[tuple[str, str]]:
    """What is known of how the run was made, name by name."""
    started, summary = run.started, run.summary or {}
    versions = started.get("versions") or summary.get("versions") or {}
    data = started.get("dataset", {})
    rows = [
        f"{run.rows(split):,} {split}"
        for split in ("train", "unlabelled", "validation", "test")
        if run.rows(split) is not None
    ]
    known = {
        "workdir": str(run.path),
        "data": f"{run.setting('data.source', '?')}{': ' if rows else ''}{wording.listed(rows)}"
        f"{' rows' if rows else ''}",
        "notice": data.get("notice"),
        "devices": started.get("devices") or summary.get("devices"),
        "time": wording.duration(summary["seconds"]) if summary.get("seconds") else None,
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Python": started.get("python"),
        "platform": started.get("platform"),
        "seed": run.setting("seed", None),
        "first start": _first(run),
        "started": _starts(run),
    }
    return [(name, str(value)) for name, value in known.items() if value not in (None, "")]


def settings(run: Workdir) -> list[tuple[str, str]]:
    """Every field of the configuration by its dotted name."""
    return [(name, shown(value)) for name, value in flat(run.config).items()]


def shown(value: Any) -> str:
    """A value of the configuration as text."""
    return value if isinstance(value, str) and value else json.dumps(value)


def warnings(run: Workdir) -> list[tuple[str, str, str]]:
    """Time, level and text of every warning and error."""
    about = {"time", "level", "event"}
    return [
        (
            str(event.get("time", "")),
            str(event["level"]),
            str(event.get("text") or _rest({k: v for k, v in event.items() if k not in about})
                or event.get("event", "")),
        )
        for event in run.warnings
    ]  # fmt: skip


def _rest(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items())


def _first(run: Workdir) -> str | None:
    starts = [event for event in run.events if event.get("event") == "started"]
    return str(starts[0].get("time", "")) if starts else None


def _starts(run: Workdir) -> str | None:
    if run.starts < 2:
        return None
    step = run.started.get("step")
    return f"{run.starts} times" + (f", the last time from step {step:,}" if step else "")
