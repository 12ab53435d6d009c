"""Several seeds in one program against one after the other: time of a step and seed.

    python benchmarks/together.py --config=configs/quickstart.py --seeds=2

Both programs take turns in one process; the ratio is of the time that a step takes for each seed.
"""

import time

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from mcl_jax.training import together
from mcl_jax.training.loop import ready
from mcl_jax.training.run import batches, initial_state

_CONFIG = config_flags.DEFINE_config_file("config", None, "File of the configuration.")
_SEEDS = flags.DEFINE_integer("seeds", 2, "Seeds in one program.", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 10, "Turns of each program, of three steps.")


def main(argv: list[str]) -> None:
    """Compiles both programs and prints their times."""
    del argv
    config, seeds = _CONFIG.value, _SEEDS.value
    run = ready(config)
    states = []
    for seed in range(seeds):
        config.seed = seed
        states.append(initial_state(config, run))
    data = next(batches(config, run, states[0]))
    programs = {
        1: (run.step, initial_state(config, run)),
        seeds: (together.program(config, run), together.stacked(states)),
    }
    times: dict[int, list[float]] = {count: [] for count in programs}
    for count, (step, state) in programs.items():
        began = time.perf_counter()
        step.lower(state, data).compile()
        print(f"{count} together: compiled in {time.perf_counter() - began:.1f} s")
    for turn in range(_ROUNDS.value + 1):  # the first warms up
        for count, (step, state) in programs.items():
            began = time.perf_counter()
            for _ in range(3):
                state, _ = step(state, data)
            jax.block_until_ready(state)
            programs[count] = step, state
            if turn:
                times[count].append(1000 * (time.perf_counter() - began) / 3 / count)
    for count, found in times.items():
        ratio = np.median(found) / np.median(times[1])
        print(
            f"{count} together: {np.median(found):.2f} ms a step and seed "
            f"({min(found):.2f} to {max(found):.2f}), {ratio:.2f} of one alone"
        )


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
