"""The share of a training step that goes into generators of learned views.

    python benchmarks/generator.py --config=configs/learned_views.py

The step of a run as it is, and the same step with generators that give pixels back as they are, so
that nothing is differentiated through them; for images in memory, of method learned_views or of one
with views.learned. A process each; ours, without, ours, without, ...
"""

import statistics
import sys

import jax
from pairs import Worker, serve

from mcl_jax.command import parse
from mcl_jax.training import loop
from mcl_jax.training.run import batches, initial_state
from mcl_jax.views.learned import Generator

PAIRS, STEPS, WARM_UP = 15, 10, 3


def work(words: list[str], without: bool) -> None:
    """Serves so many steps at once."""
    if without:
        Generator.forward = lambda self, params, pixels: pixels
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
    if words[:1] in (["ours"], ["without"]):
        work(words[1:], without=words[0] == "without")
        return
    ours, without = (Worker(sys.executable, __file__, kind, *words) for kind in ("ours", "without"))
    ours.warm_up(WARM_UP)
    without.warm_up(WARM_UP)
    times = [(ours.step() / STEPS, without.step() / STEPS) for _ in range(PAIRS)]
    shares = [1 - b / a for a, b in times]
    whole, rest = (1000 * statistics.median(x) for x in zip(*times, strict=True))
    print(
        f"generators: {100 * statistics.median(shares):.1f} % of a step "
        f"({100 * min(shares):.1f} to {100 * max(shares):.1f}, {PAIRS} pairs; {whole:.1f} and "
        f"{rest:.1f} ms a step)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
