"""The share of a training step that goes into its views.

    python benchmarks/views_share.py --config=configs/quickstart.py [--config.views.recipe=NAME ...]

The step of a run as it is, and the same step with the view that evaluation takes, in which nothing
is random; for images in memory. A process each; ours, plain, ours, plain, ...
"""

import statistics
import sys

import jax
from pairs import Worker, serve

from mcl_jax.command import parse
from mcl_jax.training import loop
from mcl_jax.training.run import batches, initial_state
from mcl_jax.views import Recipe

PAIRS, STEPS, WARM_UP = 15, 10, 3


def work(words: list[str], plain: bool) -> None:
    """Serves so many steps at once."""
    if plain:
        Recipe.train = lambda self, keys, images, numbers=None: self.plain(images)
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
    if words[:1] in (["ours"], ["plain"]):
        work(words[1:], plain=words[0] == "plain")
        return
    ours, plain = (Worker(sys.executable, __file__, kind, *words) for kind in ("ours", "plain"))
    ours.warm_up(WARM_UP)
    plain.warm_up(WARM_UP)
    times = [(ours.step() / STEPS, plain.step() / STEPS) for _ in range(PAIRS)]
    shares = [1 - b / a for a, b in times]
    whole, without = (1000 * statistics.median(x) for x in zip(*times, strict=True))
    print(
        f"views: {100 * statistics.median(shares):.1f} % of a step ({100 * min(shares):.1f} to "
        f"{100 * max(shares):.1f}, {PAIRS} pairs; {whole:.1f} and {without:.1f} ms a step)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
