"""Workdirs to a page: one gets its own, several get one that compares them."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import mcl_jax
from mcl_jax import atomic
from mcl_jax.report.page.workdir import Workdir, WorkdirError, read_workdir


def write_page(
    workdirs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str] | None = None
) -> pathlib.Path:
    """Writes a self-contained page of a finished or running run, or one that compares several.

    Matplotlib, scikit-learn and Jinja are loaded here and not before.

    Args:
        workdirs: folders with a ``config.json``; whatever else of a run is missing is left out.
        output: the file; ``report.html`` in the workdir, or ``comparison.html`` in the current
            folder for several, if not given. It is written whole or not at all.

    Returns:
        The file.

    Raises:
        WorkdirError: no folder is given, or one is no workdir.
        OSError: the file cannot be written; it is named.
    """
    if not workdirs:
        raise WorkdirError("at least one workdir must be given.")
    paths = [pathlib.Path(path) for path in workdirs]
    # The same folder twice would be one run with two names.
    runs = [read_workdir(path) for path in {path.resolve(): path for path in paths}.values()]
    if len(runs) == 1:
        target = pathlib.Path(output or runs[0].path / "report.html")
        text = _rendered("run.html", _run_values(runs[0]))
    else:
        target = pathlib.Path(output or "comparison.html")
        text = _rendered("comparison.html", _comparison_values(runs, target.parent))
    return _written(target, text)


def write_study_page(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Writes the self-contained page of a finished or interrupted study: ``study.html``.

    Args:
        folder: of the study, with its ``study.json`` and the workdirs of its runs.

    Returns:
        The file.

    Raises:
        WorkdirError: there is no ``study.json``, or it cannot be read.
        OSError: the file cannot be written; it is named.
    """
    from mcl_jax.report.page.study import study_values

    path = pathlib.Path(folder)
    try:
        study = json.loads((path / "study.json").read_text(encoding="utf-8"))
        values = study_values(path, study)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkdirError(f"{path} holds no study.json of a study that can be read.") from error
    return _written(path / "study.html", _rendered("study.html", values))


def _written(target: pathlib.Path, text: str) -> pathlib.Path:
    """Writes a page whole or not at all."""
    try:
        with atomic.open_to_replace(target) as file:
            file.write(text)
    except OSError as error:  # names a file that the user never heard of
        raise OSError(error.errno, error.strerror, str(target)) from error
    return target


def _rendered(template: str, values: dict[str, Any]) -> str:
    """A template with its values; whatever is not markup is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mcl_jax.report.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(version=mcl_jax.__version__, **values)


def _run_values(run: Workdir) -> dict[str, Any]:
    """All that the template of one run shows."""
    from mcl_jax.report.page import curves, evaluation, pairs, provenance, results, strips

    kind, status = results.status(run)
    return {
        "run": run,
        "kind": kind,
        "status": status,
        "sentence": results.sentence(run),
        "tiles": results.headline(run),
        "table": results.accuracy_table(run),
        "validation": curves.validation_curve(run),
        "evaluations": evaluation.sections(run),
        "metrics": curves.metric_curves(run),
        "pairs": pairs.pair_pictures(run),
        "strips": strips.strips(run),
        "facts": provenance.facts(run),
        "settings": provenance.settings(run),
        "warnings": provenance.warnings(run),
        **_outputs_values(run),
    }


def _outputs_values(run: Workdir) -> dict[str, Any]:
    """What is drawn from the networks' outputs; empty where there are none."""
    values: dict[str, Any] = {
        "matrices": [],
        "maps": [],
        "confusion": None,
        "confused": [],
        "gallery": None,
        "queries": [],
        "shares": [],
        "asked": "",
    }
    outputs = run.outputs
    if outputs is None:
        return values
    from threadpoolctl import threadpool_limits

    from mcl_jax.report.page import confusion, maps, matrices, pictures

    which = "all" if len(outputs.rows) == outputs.of else f"{len(outputs.rows):,} of the"
    values["asked"] = f"{which} {outputs.of:,} {outputs.split} rows, after step {outputs.step:,}"
    if outputs.answers == "neighbours":
        values["asked"] += "; nearest training rows answer, shares of votes are probabilities"
    # Threads would wait for each other at each of t-SNE's many short steps: where training has the
    # machine's other cores, they make it ten times slower.
    with threadpool_limits(1):
        values["queries"], values["shares"] = pictures.neighbour_queries(outputs)
        return values | {
            "matrices": matrices.network_matrices(outputs),
            "maps": maps.embedding_maps(outputs),
            **confusion.ensemble_confusion(outputs),
            "gallery": pictures.gallery(outputs),
        }


def _comparison_values(runs: Sequence[Workdir], folder: pathlib.Path) -> dict[str, Any]:
    """All that the template of several runs shows."""
    from mcl_jax.report.page import comparison

    return {
        "entries": comparison.entries(runs, folder),
        "columns": comparison.FIGURES,
        "differences": comparison.differences(runs),
        "pictures": comparison.overlays(runs),
        # Outputs are not compared, so only what the figures lack is told.
        "notes": [f"{run.path}: {note}" for run in runs for note in run.notes if "summary" in note],
    }
