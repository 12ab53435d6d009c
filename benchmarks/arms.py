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
from ml_collections import ConfigDict
from pairs import Worker, serve

from mcl_jax.command.study_arguments import parse_study
from mcl_jax.config import ConfigError
from mcl_jax.report.units import size
from mcl_jax.training import loop
from mcl_jax.training.footprint import compile_step
from mcl_jax.training.run import batches, initial_state

ROUNDS, STEPS, WARM_UP = 15, 4, 2


def arms_of(words: list[str]) -> dict[str, ConfigDict]:
    """The configuration of each arm that a command line describes; else ends with a sentence."""
    try:
        study = parse_study(words)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    if study is None:
        sys.exit(__doc__)
    return {arm.name: arm.config for arm in study.arms}


def work(what: str, config: ConfigDict) -> None:
    """Serves so many steps at once, or prints what a compiled one takes besides its inputs."""
    try:
        run = loop.ready(config)
        state = initial_state(config, run)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    inputs = batches(config, run, state)
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
        what, name, *words = words
        work(what, arms_of(words)[name])
        return
    arms = arms_of(words)
    here = sys.executable, __file__
    workers = {name: Worker(*here, "work", name, *words) for name in arms}
    for worker in workers.values():
        worker.warm_up(WARM_UP)
    rounds = [{name: worker.step() for name, worker in workers.items()} for _ in range(ROUNDS)]
    first, *_ = arms
    for name, config in arms.items():
        images = STEPS * config.data.batch_size
        rates = [images / times[name] for times in rounds]
        longer = statistics.median(times[name] / times[first] for times in rounds)
        memory = subprocess.run(
            [*here, "memory", name, *words], check=True, capture_output=True, text=True
        ).stdout.splitlines()[-1]
        print(
            f"{name}: {statistics.median(rates):.1f} images/s ({min(rates):.1f} to "
            f"{max(rates):.1f}, {ROUNDS} rounds), {longer:.2f} times as long a step as "
            f"{first}, {memory} temporary"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
