"""All that a study has found so far, as one value for ``study.json``."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mcl_jax.config import flatten
from mcl_jax.report.lines import read_objects
from mcl_jax.studies.arms import shared
from mcl_jax.studies.figures import WHO, Measure, measures
from mcl_jax.studies.runs import Run, Study
from mcl_jax.studies.statistics import paired, student

_ALIKE = 0.02  # costs whose ratio is so near 1 are equal

Measured = dict[tuple[str, int], dict[str, Measure]]
ByArm = dict[str, dict[int, float]]


def results(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """Figures of all runs, means, and differences from the first arm.

    Args:
        study: what is compared.
        runs: as they are by now; those without figures are told of.

    Returns:
        What JSON holds. ``measures`` says how each figure is measured, ``means`` has
        ``[measure][who][arm]`` with mean, deviation and interval over seeds, ``differences``
        likewise of the paired differences, with those of each seed, ``baselines``
        ``[measure][baseline][arm]``, ``arms`` what each costs and differs in, ``made_with`` devices
        and versions, and ``runs`` every single figure.
    """
    measured = {
        (run.arm.name, run.seed): measures(run.summary, run.evaluation)
        for run in runs
        if run.summary is not None
    }
    known: dict[str, Measure] = {}
    for one in measured.values():
        known |= {name: measure for name, measure in one.items() if name not in known}
    figures, baselines = _figures(measured, known), _baselines(measured, known)
    reference = study.arms[0].name
    return {
        "name": study.name,
        "reference": reference,
        "seeds": list(study.seeds),
        "complete": len(measured) == len(runs),
        "arms": {arm.name: _arm(study, runs, place) for place, arm in enumerate(study.arms)},
        "measures": {
            name: {"title": x.title, "protocol": x.protocol, "group": x.group}
            for name, x in known.items()
        },
        "means": _each(figures, _means),
        "differences": _each(figures, lambda arms: _differences(arms, reference)),
        "baselines": _each(baselines, _means),
        "notes": _notes(study, runs),
        "made_with": [
            {"devices": devices, "versions": dict(versions)}
            for devices, versions in dict.fromkeys(
                (run.summary.get("devices"), tuple(run.summary.get("versions", {}).items()))
                for run in runs
                if run.summary is not None
            )
        ],
        "runs": [_run(run, measured.get((run.arm.name, run.seed), {})) for run in runs],
    }


def _figures(measured: Measured, known: dict[str, Measure]) -> dict[str, dict[str, ByArm]]:
    """[measure][who][arm][seed]."""
    return {
        name: {
            who: _by_arm(
                {run: x[name].figures.get(who) for run, x in measured.items() if name in x}
            )
            for who in WHO
        }
        for name in known
    }


def _baselines(measured: Measured, known: dict[str, Measure]) -> dict[str, dict[str, ByArm]]:
    """[measure][baseline][arm][seed]."""
    return {
        name: {
            baseline: _by_arm(
                {run: x[name].baselines.get(baseline) for run, x in measured.items() if name in x}
            )
            for baseline in dict.fromkeys(
                y for x in measured.values() if name in x for y in x[name].baselines
            )
        }
        for name in known
    }


def _by_arm(values: dict[tuple[str, int], float | None]) -> ByArm:
    """[arm][seed] of what is known."""
    found: ByArm = {}
    for (arm, seed), value in values.items():
        if value is not None:
            found.setdefault(arm, {})[seed] = value
    return found


def _each(
    found: dict[str, dict[str, ByArm]], function: Callable[[ByArm], dict[str, Any]]
) -> dict[str, Any]:
    """The function of each [measure][...], without those it finds nothing of."""
    result: dict[str, Any] = {}
    for measure, rows in found.items():
        kept = {row: value for row, arms in rows.items() if (value := function(arms))}
        if kept:
            result[measure] = kept
    return result


def _means(arms: ByArm) -> dict[str, Any]:
    return {arm: student(list(values.values()))._asdict() for arm, values in arms.items()}


def _differences(arms: ByArm, reference: str) -> dict[str, Any]:
    """Of each other arm from the reference."""
    found = {}
    for arm, values in arms.items():
        both = paired(values, arms.get(reference, {})) if arm != reference else None
        if both is not None:
            by_seed = {str(seed): value for seed, value in both[1].items()}
            found[arm] = {**both[0]._asdict(), "by_seed": by_seed}
    return found


def _arm(study: Study, runs: Sequence[Run], place: int) -> dict[str, Any]:
    """What an arm differs in from the first one, and what it costs."""
    arm, reference = study.arms[place], study.arms[0]
    now, there = flatten(arm.config), flatten(reference.config)
    finished = [run for run in runs if run.arm is arm and run.summary is not None]
    costs = [_cost(run) for run in finished]
    return {
        "method": arm.config.method.name,
        "networks": arm.config.method.networks,
        "changes": {
            name: value
            for name, value in sorted(now.items())
            if there.get(name) != value and name not in ("name", "seed")
        },
        "shares": shared(arm, reference) if place else None,
        "steps": costs[0]["steps"] if costs else None,
        "network_images": costs[0]["network_images"] if costs else None,
        "training_seconds": _interval([x["training_seconds"] for x in costs]),
        "seconds": _interval([x["seconds"] for x in costs]),
        "failed": {str(run.seed): run.failure for run in runs if run.arm is arm and run.failure},
    }


def _cost(run: Run) -> dict[str, Any]:
    """Images that networks were trained on, M x steps x batch, and measured seconds."""
    summary = run.summary or {}
    images = summary["steps"] * run.arm.config.data.batch_size
    # Of a run that went on after its last step, the log alone knows.
    speed = summary.get("images_per_second") or _speed(run.folder / "metrics.jsonl")
    return {
        "steps": summary["steps"],
        "network_images": images * run.arm.config.method.networks,
        "training_seconds": images / speed if speed else None,
        "seconds": summary.get("seconds"),
    }


def _speed(path: pathlib.Path) -> float | None:
    """The median of the speeds that a log tells of."""
    known = [x["images_per_second"] for x in read_objects(path) if x.get("images_per_second")]
    return float(np.median(known)) if known else None


def _interval(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [x for x in values if x is not None]
    return student(known)._asdict() if known else None


def _run(run: Run, found: dict[str, Measure]) -> dict[str, Any]:
    """Every figure of a run."""
    return {
        "arm": run.arm.name,
        "seed": run.seed,
        "workdir": run.folder.name,
        "failure": run.failure,
        **(_cost(run) if run.summary is not None else {}),
        "figures": {name: measure.figures for name, measure in found.items()},
        "baselines": {name: x.baselines for name, x in found.items() if x.baselines},
    }


def _notes(study: Study, runs: Sequence[Run]) -> list[str]:
    """What must be known to read the table: compute, pairs, what is missing."""
    notes = []
    first = _arm(study, runs, 0)
    for place, arm in enumerate(study.arms[1:], 1):
        about = _arm(study, runs, place)
        cost = _compared(about, first)
        cost = f"{cost}; " if cost else ""
        notes.append(f"{arm.name} beside {study.arms[0].name}: {cost}{about['shares']}.")
    if study.together > 1:
        notes.append(
            f"Up to {study.together} seeds of an arm are trained in one program: a run's training "
            f"time is its share, the time of the whole run is that of all of them."
        )
    for arm in study.arms:
        own = [run for run in runs if run.arm is arm]
        waiting = [run.seed for run in own if run.summary is None and run.failure is None]
        for run in own:
            if run.failure is not None:
                notes.append(f"{arm.name} has no figures with seed {run.seed}: {run.failure}")
        if waiting:
            notes.append(f"{arm.name} has yet to be run with {len(waiting)} of {len(own)} seeds.")
        notes += _shortcuts(arm.name, own)
    return notes


def _shortcuts(arm: str, runs: Sequence[Run]) -> list[str]:
    """Where colours tell most of what the views of an arm share, or as much of the task."""
    measured = [run.evaluation for run in runs if run.evaluation and run.evaluation.get("shared")]
    notes = []
    taken = [x["shared"]["shortcut"] for x in measured if x["shared"]["shortcut"]]
    if taken:
        count = f"with {len(taken)} of {len(measured)} seeds"
        notes.append(f"Warning, {arm}: {count} {taken[0].removesuffix('.')} (the first of them).")
    answers = [x["figures"]["knn_20"] for x in measured if "knn_20" in x["figures"]]
    colours = [x["baselines"].get("colour histogram") for x in answers]
    networks = [x["networks"] for x in answers]
    if colours and all(colours) and np.mean(colours) >= np.mean(networks):
        notes.append(
            f"Warning, {arm}: by 20 neighbours the colour histogram answers as well as the "
            f"networks, {100 * np.mean(colours):.1f} and {100 * np.mean(networks):.1f} %."
        )
    return notes


def _compared(arm: dict[str, Any], first: dict[str, Any]) -> str:
    """Steps and costs of an arm beside those of the first."""
    if not (arm["steps"] and first["steps"]):
        return ""
    parts = []
    if arm["steps"] == first["steps"]:
        parts.append("equal steps")
    else:
        parts.append(f"{arm['steps'] / first['steps']:.2f} times the steps")
    ratio = arm["network_images"] / first["network_images"]
    alike = abs(ratio - 1) <= _ALIKE
    parts.append(
        "equal compute (networks x steps x batch)"
        if alike
        else f"{ratio:.2f} times the compute (networks x steps x batch)"
    )
    times = arm["training_seconds"], first["training_seconds"]
    if all(times):
        parts.append(f"{times[0]['mean'] / times[1]['mean']:.2f} times the measured training time")
    return ", ".join(parts)
