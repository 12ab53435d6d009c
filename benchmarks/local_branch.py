"""What local predictions cost: six pairs of four quarters, against six more views of each image.

    python benchmarks/local_branch.py --config=configs/quickstart_global_local.py:fast_moco

Steps of Fast-MoCo (arXiv 2207.08220), whose predictions are of pairs of quarters (``local``); with
as many predictions of views of the whole size, each encoded (``views``); and with one of the view
itself (``global``). Targets are the same. A process each, in turns; memory is what the compiled
step takes of the device.
"""

import statistics
import subprocess
import sys

import jax
from pairs import Worker, serve

from mcl_jax.command import parse
from mcl_jax.report.units import size
from mcl_jax.training import loop
from mcl_jax.training.footprint import compile_step
from mcl_jax.training.run import batches, initial_state

ROUNDS, STEPS, WARM_UP = 15, 4, 2
LOOKS = {
    "global": ["--config.method.queries=global"],
    "local": ["--config.method.queries=local"],
    "views": [
        "--config.method.queries=crops",
        "--config.views.small_crops=6",
        "--config.views.small_scale=(0.2,1.0)",
    ],
}


def work(what: str, words: list[str]) -> None:
    """Serves so many steps at once, or prints what a compiled one takes besides its inputs."""
    arguments = parse(words)
    run = loop.ready(arguments.config)
    state = initial_state(arguments.config, run)
    inputs = batches(arguments.config, run, state)
    if what == "memory":
        found = compile_step(run.step, state, next(inputs)).bytes
        print("unknown" if found is None else size(found["temporary"]))
        return

    def step() -> None:
        nonlocal state
        for _ in range(STEPS):
            state, metrics = run.step(state, next(inputs))
        jax.block_until_ready((state, metrics))

    serve(step)


def main(words: list[str]) -> None:
    """Prints images a second, their range, how long a step is beside ``global``, and memory."""
    if words[:1] in (["work"], ["memory"]):
        work(words[0], words[1:])
        return
    config = parse(words).config
    side = config.views.size or loop.ready(config).dataset.train.image(0).shape[0]
    looks = LOOKS | {"views": [*LOOKS["views"], f"--config.views.small_size={side}"]}
    here = sys.executable, __file__
    workers = {name: Worker(*here, "work", *words, *own) for name, own in looks.items()}
    for worker in workers.values():
        worker.warm_up(WARM_UP)
    rounds = [{name: worker.step() for name, worker in workers.items()} for _ in range(ROUNDS)]
    images = STEPS * config.data.batch_size
    for name in looks:
        rates = [images / times[name] for times in rounds]
        longer = statistics.median(times[name] / times["global"] for times in rounds)
        memory = subprocess.run(
            [*here, "memory", *words, *looks[name]], check=True, capture_output=True, text=True
        ).stdout.splitlines()[-1]
        print(
            f"{name}: {statistics.median(rates):.0f} images/s ({min(rates):.0f} to "
            f"{max(rates):.0f}, {ROUNDS} rounds), {longer:.2f} times as long a step as "
            f"global, {memory} temporary"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
