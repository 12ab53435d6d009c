"""A cohort against the same networks alone: paired seeds, equal steps.

    python benchmarks/paired_seeds.py --config=configs/quickstart.py --seeds=8 --workdir=DIR

For every seed two runs are made that differ in the weights of the objective alone: the cohort as
configured, and the same networks with every weight 0, which is each network alone (same
initialisation, same batches, same views; that an independent network trains as a cohort of one does
is tested). The difference is taken member by member and averaged within a seed, and the interval
is Student's over seeds, at 95 %.
"""

import json
import pathlib

import numpy as np
from absl import app, flags
from ml_collections import config_flags
from scipy import stats

from mcl_jax.compilation import keep_compiled_programs
from mcl_jax.training import train_and_evaluate

_CONFIG = config_flags.DEFINE_config_file("config", None, "File of the configuration.")
_SEEDS = flags.DEFINE_integer("seeds", 8, "Number of paired seeds.", lower_bound=2)
_WORKDIR = flags.DEFINE_string("workdir", "runs/paired_seeds", "Folder of the runs.")


def figures(seed: int, alone: bool) -> dict[str, float]:
    """Trains one of a pair; returns its figures on test."""
    config = _CONFIG.value.copy_and_resolve_references()
    config.seed = seed
    if alone:
        for name in config.method.weights:
            config.method.weights[name] = 0.0
    folder = pathlib.Path(_WORKDIR.value) / f"{'alone' if alone else 'cohort'}-{seed}"
    summary_file = folder / "summary.json"
    if summary_file.exists():
        test = json.loads(summary_file.read_text())["test"]
    else:
        test = train_and_evaluate(config, folder)["test"]
    return {
        "member": float(np.mean(test["accuracy"])),
        "ensemble": test["ensemble_accuracy"],
        "member kNN": float(np.mean(test["knn_accuracy"])),
    }


def main(argv: list[str]) -> None:
    """Runs all pairs and prints means, differences and intervals in per cent."""
    del argv
    keep_compiled_programs()
    pairs = [
        (figures(seed, alone=False), figures(seed, alone=True)) for seed in range(_SEEDS.value)
    ]
    print(f"{len(pairs)} paired seeds, test, per cent: mean +- standard deviation over seeds")
    for name in pairs[0][0]:
        cohort, alone = (100 * np.array([pair[i][name] for pair in pairs]) for i in (0, 1))
        difference = cohort - alone
        half = stats.sem(difference) * stats.t.ppf(0.975, len(pairs) - 1)
        print(
            f"{name:10s} alone {alone.mean():.2f} +- {alone.std(ddof=1):.2f}, "
            f"cohort {cohort.mean():.2f} +- {cohort.std(ddof=1):.2f}, "
            f"difference {difference.mean():+.2f} [{difference.mean() - half:+.2f}, "
            f"{difference.mean() + half:+.2f}]"
        )


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
