"""A run's workdir as a value, whatever of it is there yet."""

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Any

from mcl_jax.report.lines import read_objects

if TYPE_CHECKING:
    from mcl_jax.evaluation import Outputs


_EVALUATION = {
    *("source", "trained_on", "step", "networks", "rows", "figures"),
    *("adapted", "cka", "best_on_validation", "notes"),
}


class WorkdirError(ValueError):
    """A folder that holds no run: one sentence says why."""


@dataclasses.dataclass(frozen=True, eq=False)
class Workdir:
    """What a run left behind so far.

    Attributes:
        path: the folder.
        config: the nested configuration.
        summary: ``summary.json``, or None before the end.
        records: the objects of ``metrics.jsonl``.
        events: the objects of ``log.jsonl``.
        outputs: what the networks said of some rows, or None.
        notes: a sentence for each file that could not be used.
        evaluations: the objects of ``evaluation.json`` and ``evaluation-SOURCE.json``.
    """

    path: pathlib.Path
    config: dict[str, Any]
    summary: dict[str, Any] | None
    records: list[dict[str, Any]]
    events: list[dict[str, Any]]
    outputs: "Outputs | None"
    notes: tuple[str, ...]
    evaluations: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """What the run is called."""
        return str(self.config.get("name") or self.path.name)

    @property
    def networks(self) -> int:
        """The number of networks M."""
        return int(self.setting("method.networks", 1))

    @property
    def neighbours(self) -> bool:
        """Whether nearest neighbours answered, and not the networks' own classifiers."""
        judged = [record["validation"] for record in self.records if "validation" in record]
        last = (self.summary or {}).get("test") or (judged[-1] if judged else {})
        return isinstance(last, dict) and last.get("answers") == "neighbours"

    @property
    def started(self) -> dict[str, Any]:
        """The last start that was logged; empty where none was."""
        starts = [event for event in self.events if event.get("event") == "started"]
        return starts[-1] if starts else {}

    @property
    def command(self) -> str | None:
        """The exact command, where it was logged."""
        return self.started.get("command")

    @property
    def starts(self) -> int:
        """How many times the run was started, as far as was logged."""
        return sum(event.get("event") == "started" for event in self.events)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """Every warning and error, in order."""
        return [event for event in self.events if event.get("level") in ("warning", "error")]

    @property
    def step(self) -> int:
        """The last step that is known to be done."""
        known = [int(record["step"]) for record in self.records]
        return max([*known, int((self.summary or {}).get("steps", 0))])

    @property
    def steps(self) -> int | None:
        """Steps of the whole run, or None where no file tells."""
        known = self.started.get("steps") or self.setting("training.steps", 0)
        if known:
            return int(known)
        passes = [record for record in self.records if record.get("epoch")]
        if passes:  # steps / epoch is the same in every record
            an_epoch = passes[-1]["step"] / passes[-1]["epoch"]
            return round(an_epoch * self.setting("training.epochs", 0)) or None
        return int(self.summary["steps"]) if self.summary else None

    @property
    def finished(self) -> bool:
        """Whether the summary is of the whole run."""
        done = (self.summary or {}).get("steps")
        return done is not None and done >= (self.steps or 0)

    def setting(self, name: str, default: Any) -> Any:
        """A field of the configuration by its dotted name."""
        value: Any = self.config
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    def rows(self, split: str) -> int | None:
        """Rows of a split, such as ``"train"`` or ``"unlabelled"``, or None where no file tells."""
        known = self.started.get("dataset", {}).get(split)
        if known is None and self.outputs is not None and self.outputs.split == split:
            known = self.outputs.of
        if known is None and split == "train":
            known = (self.summary or {}).get("train_rows")
        return known


def read_workdir(path: pathlib.Path) -> Workdir:
    """Reads a run's folder; files that are missing or damaged are done without.

    Args:
        path: the folder.

    Returns:
        What is there.

    Raises:
        WorkdirError: there is no such folder, or no ``config.json`` in it.
    """
    if not path.is_dir():
        raise WorkdirError(f"there is no folder {path}.")
    notes: list[str] = []
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WorkdirError(f"{path} is no workdir of a run: it holds no config.json.") from error
    except (OSError, ValueError) as error:
        raise WorkdirError(f"{path} holds a config.json that cannot be read.") from error
    if not isinstance(config, dict):
        raise WorkdirError(f"{path} holds a config.json that is no configuration.")
    records = [
        record
        for record in read_objects(path / "metrics.jsonl")
        if isinstance(record.get("step"), int | float)
    ]
    evaluations = _evaluations(path, notes)
    return Workdir(
        path=path,
        config=config,
        summary=_summary(path / "summary.json", notes),
        records=records,
        events=list(read_objects(path / "log.jsonl")),
        outputs=_outputs(path / "outputs.npz", notes),
        notes=tuple(notes),
        evaluations=evaluations,
    )


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted names.

    Example:
        >>> flat({"seed": 0, "data": {"source": "digits"}})
        {'seed': 0, 'data.source': 'digits'}
    """
    result: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result


def _summary(path: pathlib.Path, notes: list[str]) -> dict[str, Any] | None:
    """The summary of a run that came to its end."""
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        known = {"accuracy", "ensemble_accuracy", "knn_accuracy"} <= value["test"].keys()
        if known and isinstance(value["steps"], int) and value["test"]["accuracy"]:
            return dict(value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    notes.append("summary.json is damaged; its figures are missing here.")
    return None


def _evaluations(folder: pathlib.Path, notes: list[str]) -> tuple[dict[str, Any], ...]:
    """What `mcl_jax.evaluate` found out, on the run's own data set first."""
    found = []
    for path in sorted(folder.glob("evaluation*.json"), key=lambda x: (len(x.name), x.name)):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.keys() >= _EVALUATION and isinstance(value["figures"], dict):
                found.append(value)
                continue
        except (OSError, ValueError, AttributeError):
            pass
        notes.append(f"{path.name} is damaged; its figures are missing here.")
    return tuple(found)


def _outputs(path: pathlib.Path, notes: list[str]) -> "Outputs | None":
    """What the networks said, where the run has written it."""
    from mcl_jax.evaluation import OutputsError, read_outputs

    if not path.exists():
        notes.append(
            "There is no outputs.npz in the workdir, so matrices, maps and images are missing here."
        )
        return None
    try:
        return read_outputs(path)
    except OutputsError as error:
        notes.append(f"{error} Matrices, maps and images are missing here.")
        return None
