"""The share of a training step that goes into the jigsaw branch.

    python benchmarks/jigsaw.py --config=configs/quickstart_infomin.py

The step of a run as it is, and the same step with ``method.jigsaw`` 0; for images in memory. A
process each; ours, without, ours, without, ...
"""

import statistics
import sys

import jax
from pairs import Worker, serve

from mcl_jax.command import parse
from mcl_jax.training import loop
from mcl_jax.training.run import batches, initial_state

PAIRS, STEPS, WARM_UP = 15, 4, 2


def work(words: list[str]) -> None:
    """Serves so many steps at once."""
    arguments = parse(words)
    run = loop.ready(arguments.config)
    state = initial_state(arguments.config, run)
    inputs = batches(arguments.config, run, state)

    def step() -> None:
        nonlocal state
        for _ in range(STEPS):
            state, metrics = run.step(state, next(inputs))
        jax.block_until_ready((state, metrics))

    serve(step)


def main(words: list[str]) -> None:
    """Prints the median share and its range over pairs."""
    if words[:1] == ["work"]:
        work(words[1:])
        return
    ours = Worker(sys.executable, __file__, "work", *words)
    without = Worker(sys.executable, __file__, "work", *words, "--config.method.jigsaw=0")
    ours.warm_up(WARM_UP)
    without.warm_up(WARM_UP)
    times = [(ours.step() / STEPS, without.step() / STEPS) for _ in range(PAIRS)]
    shares = [1 - b / a for a, b in times]
    whole, rest = (1000 * statistics.median(x) for x in zip(*times, strict=True))
    print(
        f"jigsaw: {100 * statistics.median(shares):.1f} % of a step "
        f"({100 * min(shares):.1f} to {100 * max(shares):.1f}, {PAIRS} pairs; {whole:.1f} and "
        f"{rest:.1f} ms a step)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
