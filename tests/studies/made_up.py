"""A study whose runs are made up in no time: who trains writes figures of its own."""

import json
import pathlib

from mcl_jax import config as config_lib
from mcl_jax.studies import Arm, Study, changed

GAIN = {"solo": 0.0, "cohort": 0.02, "long": 0.01}


def study(folder: pathlib.Path, seeds: int = 3, **options) -> Study:
    """A network alone, a cohort of two, and a network alone for twice the steps."""
    base = changed(config_lib.default(), {"method.networks": 1, "training.steps": 10})
    arms = (
        Arm("solo", base),
        Arm("cohort", changed(base, {"method.networks": 2})),
        Arm("long", changed(base, {"training.steps": 20})),
    )
    return Study("made-up", folder, arms, tuple(range(seeds)), **options)


def summary(config, neighbours: bool = False) -> dict:
    """What a run would leave: the seed moves all arms alike, and some seeds gain more."""
    arm, networks = config.name.rpartition("-")[0], config.method.networks
    level = 0.5 + 0.03 * config.seed + GAIN[arm] * (1 + 0.1 * config.seed)
    accuracy = [level + 0.004 * number for number in range(networks)]
    answers = {"answers": "neighbours" if neighbours else "classifier"}
    split = {"accuracy": accuracy, "ensemble_accuracy": level + 0.05, **answers}
    split["knn_accuracy"] = [x - 0.1 for x in accuracy]
    return {
        "name": config.name,
        "steps": config.training.steps,
        "seconds": 12.0,
        "images_per_second": 500.0 / networks,
        "validation": split,
        "test": split,
        "baselines": {
            "random network": {"knn_accuracy": [0.2 + 0.01 * config.seed] * networks},
            "raw pixels": {"knn_accuracy": [0.3]},
        },
        "evaluation": config.evaluation.to_dict(),
        "devices": "1 cpu",
        "versions": {"jax": "9.8.7"},
    }


def reading(config):
    """What the part "views" of an evaluation holds: the longer the run, the less is shared."""
    bound = 100 / config.training.steps + 0.01 * config.seed
    about = {"candidates": 256, "rows": 1536, "critic": "two encoders", "parameters": 12345}
    about |= {"steps": 400, "batch_size": 128}
    taken = config.method.networks == 1
    colours = 0.9 * bound if taken else 0.1 * bound
    return {
        "views": {"bound": bound, **about},
        "colours": {"bound": colours, **about},
        "shortcut": "colours alone tell it: a shortcut." if taken else None,
    }


class Quick:
    """Trains and evaluates at once.

    Attributes:
        checked: names of arms.
        trained: names of the runs of each call.
        evaluated: names of runs.
        likes: for each of these the name of the run that its baselines are taken from, or None.
        fails: names of runs that end with a figure that is not finite.
    """

    def __init__(self, fails=(), neighbours=False, stop_after=None):
        self.trained, self.evaluated, self.likes, self.fails = [], [], [], set(fails)
        self.checked = []
        self.neighbours, self.stop_after = neighbours, stop_after

    def check(self, arm):
        self.checked.append(arm.name)

    def train(self, configs, folders):
        if len(self.trained) == self.stop_after:
            raise KeyboardInterrupt
        self.trained.append([config.name for config in configs])
        for config, folder in zip(configs, folders, strict=True):
            if config.name in self.fails:
                raise FloatingPointError(f"not finite at step 3 of {config.name}.")
            folder.mkdir(parents=True, exist_ok=True)
            plain = json.dumps(config.to_dict())
            (folder / "config.json").write_text(plain)
            (folder / "summary.json").write_text(json.dumps(summary(config, self.neighbours)))
            lines = [
                {
                    "step": step,
                    "validation": {"accuracy": [0.4 + step / 100], "ensemble_accuracy": 0.5},
                }
                for step in range(5, config.training.steps + 1, 5)
            ]
            (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")

    def evaluate(self, config, folder, like, parts):
        self.evaluated.append(config.name)
        self.likes.append(like and like["name"])
        networks = [0.4 + 0.1 * number for number in range(config.method.networks)]
        several = len(networks) > 1
        figure = {
            "title": "linear probe",
            "protocol": "by LBFGS",
            "group": "accuracy",
            "networks": networks,
            "concatenated": 0.7 if several else None,
            "averaged": 0.6 if several else None,
            "baselines": {"raw pixels": [0.35], "random network": [0.2, 0.3]},
        }
        rank = {**figure, "title": "effective rank", "group": "geometry", "averaged": None}
        found = {
            "name": config.name,
            "step": config.training.steps,
            "parts": parts,
            "best_on_validation": 1 if several else None,
            "figures": {"linear": figure, "rank": rank},
        }
        if "views" in parts:
            found["shared"] = reading(config)
            knn = {**figure, "title": "kNN, k = 20", "baselines": {"colour histogram": [0.45]}}
            found["figures"]["knn_20"] = knn
        (folder / "evaluation.json").write_text(json.dumps(found))
