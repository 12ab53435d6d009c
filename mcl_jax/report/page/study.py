"""A study as a page: its tables, what each arm costs, and its pictures."""

import pathlib
from typing import Any

import numpy as np

from mcl_jax.report import units
from mcl_jax.report.lines import read_objects
from mcl_jax.report.page import curves, provenance, reverse_u, study_pictures, wording
from mcl_jax.report.page.curves import Series
from mcl_jax.report.page.svg import Picture
from mcl_jax.report.study_words import (
    baseline_rows,
    difference_cell,
    mean_cell,
    measure_groups,
    rows,
)


def study_values(folder: pathlib.Path, study: dict[str, Any]) -> dict[str, Any]:
    """All that the template of a study shows.

    Args:
        folder: of the study.
        study: what ``study.json`` holds.
    """
    names = list(study["measures"])
    found = [study_pictures.differences_picture(study, name) for name in names]
    return {
        "study": study,
        "sentence": _sentence(study),
        "arms": [_arm(study, arm) for arm in study["arms"]],
        "groups": [_group(study, group, held) for group, held in measure_groups(study).items()],
        "courses": _courses(folder, study),
        "curves": reverse_u.pictures(study),
        "differences": [picture for picture in found if picture is not None],
        "means": [study_pictures.means_picture(study, name) for name in names],
        "links": [run["workdir"] for run in study["runs"] if _has_page(folder, run)],
    }


def _sentence(study: dict[str, Any]) -> str:
    """What is compared."""
    seeds = wording.count(len(study["seeds"]), "seed")
    done = sum(bool(run["figures"]) for run in study["runs"])
    state = (
        "" if study["complete"] else f" So far {done} of {len(study['runs'])} runs have figures."
    )
    return (
        f"{wording.listed(list(study['arms']))}, each with {seeds}; differences are from "
        f"{study['reference']}, seed by seed.{state}"
    )


def _arm(study: dict[str, Any], name: str) -> dict[str, Any]:
    """An arm's row: what it is and what it costs."""
    arm = study["arms"][name]
    training, whole = arm["training_seconds"], arm["seconds"]
    changes = ", ".join(f"{x} = {provenance.shown(y)}" for x, y in arm["changes"].items())
    return {
        "name": name,
        "cells": [
            arm["method"],
            str(arm["networks"]),
            f"{arm['steps']:,}" if arm["steps"] else "-",
            f"{arm['network_images']:,}" if arm["network_images"] else "-",
            units.duration(training["mean"]) if training else "-",
            units.duration(whole["mean"]) if whole else "-",
        ],
        "changes": changes or ("the first arm" if name == study["reference"] else "nothing"),
    }


def _group(study: dict[str, Any], group: str, names: list[str]) -> dict[str, Any]:
    """The two tables of a group of measures."""
    means, differences = [], []
    for arm in study["arms"]:
        for who, words in rows(study, arm).items():
            cells = [mean_cell(study, name, who, arm) for name in names]
            if any(cell != "-" for cell in cells):
                means.append((f"{arm}: {words}", cells, "member"))
        for who, words in rows(study, arm, study["reference"]).items():
            cells = [difference_cell(study, name, who, arm) for name in names]
            if any(cell != "-" for cell in cells):
                differences.append((f"{arm} - {study['reference']}: {words}", cells, "member"))
    for baseline, cells in baseline_rows(study, names):
        means.append((f"baseline: {baseline}", cells, "baseline"))
    columns = [(study["measures"][x]["title"], study["measures"][x]["protocol"]) for x in names]
    return {"title": group, "columns": columns, "means": means, "differences": differences}


def _courses(folder: pathlib.Path, study: dict[str, Any]) -> list[Picture]:
    """Figures on validation over steps, and over what they cost."""
    members = {arm: _series(folder, study, arm, "accuracy") for arm in study["arms"]}
    together = {arm: _series(folder, study, arm, "ensemble_accuracy") for arm in study["arms"]}
    costs = {arm: [_by_cost(study, arm, x) for x in found] for arm, found in members.items()}
    pictures = [
        study_pictures.course(
            members,
            "Members on validation",
            "Mean accuracy of the members on validation rows.",
            "step",
            "members",
        ),
        study_pictures.course(
            together,
            "Ensembles on validation",
            "Accuracy of the mean of the members' answers on validation rows.",
            "step",
            "ensembles",
        ),
        study_pictures.course(
            costs,
            "Members on validation, by compute",
            "Mean accuracy of the members over the images that networks were trained on.",
            "networks x steps x batch",
            "compute",
        ),
    ]
    return [picture for picture in pictures if picture is not None]


def _series(folder: pathlib.Path, study: dict[str, Any], arm: str, name: str) -> list[Series]:
    """A figure on validation of each finished run of an arm."""
    runs = [run for run in study["runs"] if run["arm"] == arm and run["figures"]]
    found = [
        curves.validation(list(read_objects(folder / run["workdir"] / "metrics.jsonl")), name)
        for run in runs
    ]
    return [x for x in found if x is not None]


def _by_cost(study: dict[str, Any], arm: str, found: Series) -> Series:
    """The series over networks x steps x batch."""
    about = study["arms"][arm]
    return Series(found.steps * np.float64(about["network_images"] / about["steps"]), found.values)


def _has_page(folder: pathlib.Path, run: dict[str, Any]) -> bool:
    return (folder / run["workdir"] / "report.html").exists()
