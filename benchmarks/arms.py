"""What a training step costs under other settings, written as the arms of a study are.

    python benchmarks/arms.py --config=configs/quickstart_global_local.py:fast_moco \
        --arms='one: method.queries=global; six: method.queries=local'

A process each, in turns; memory is what the compiled step takes of the device besides its inputs
and results. The first arm is what the others are compared with.
"""

import statistics
import subprocess
import sys

import jax
from pairs import Worker, serve

from mcl_jax.command import parse
from mcl_jax.report.units import size
from mcl_jax.studies import parse_arms
from mcl_jax.training import loop
from mcl_jax.training.footprint import compile_step
from mcl_jax.training.run import batches, initial_state

ROUNDS, STEPS, WARM_UP = 15, 4, 2


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
    """Prints images a second, their range, how long a step is beside the first's, and memory."""
    if words[:1] in (["work"], ["memory"]):
        work(words[0], words[1:])
        return
    text = next(word.removeprefix("--arms=") for word in words if word.startswith("--arms="))
    words = [word for word in words if not word.startswith("--arms=")]
    arms = {
        arm.name: [*words, *(f"--config.{field}={value}" for field, value in arm.changes.items())]
        for arm in parse_arms(text)
    }
    here = sys.executable, __file__
    workers = {name: Worker(*here, "work", *own) for name, own in arms.items()}
    for worker in workers.values():
        worker.warm_up(WARM_UP)
    rounds = [{name: worker.step() for name, worker in workers.items()} for _ in range(ROUNDS)]
    first, *_ = arms
    for name, own in arms.items():
        images = STEPS * parse(own).config.data.batch_size
        rates = [images / times[name] for times in rounds]
        longer = statistics.median(times[name] / times[first] for times in rounds)
        memory = subprocess.run(
            [*here, "memory", *own], check=True, capture_output=True, text=True
        ).stdout.splitlines()[-1]
        print(
            f"{name}: {statistics.median(rates):.1f} images/s ({min(rates):.1f} to "
            f"{max(rates):.1f}, {ROUNDS} rounds), {longer:.2f} times as long a step as "
            f"{first}, {memory} temporary"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
