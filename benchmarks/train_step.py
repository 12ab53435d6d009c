"""A training step of a cohort beside what one would run instead.

    python benchmarks/train_step.py [--model=resnet32] [--networks=2] [--batch=128] [--side=32]
                                    [--dtype=float32] [--torch_python=PATH] [--against=...]

Against (a) the same networks in a Python loop inside one jitted step, (b) a Python loop of
separately jitted networks, (c) the same step under plain ``vmap``, (d) PyTorch
(``torch_train_step.py``, the fastest of eager and compiled, NCHW and NHWC), where an interpreter
that has it is named. Every variant lives in a process of its own and does one step when its turn
comes: ours, theirs, ours, theirs, ... The ratio is taken pair by pair.

    python benchmarks/train_step.py --networks=1 --networks=2 --networks=4 --networks=8

compares cohorts of several sizes instead: the time of a step, and of a network with the losses,
timed alone, taken off.

    python benchmarks/train_step.py --model=resnet32,wrn_16_2

compares a cohort of unlike networks with the sum of its parts, each network alone.
"""

import pathlib
import platform
import statistics
import sys

from absl import app, flags
from pairs import Sum, Worker, compare, serve
from programs import Task, build

_MODEL = flags.DEFINE_string("model", "resnet32", "Encoder, or one a network joined by commas.")
_NETWORKS = flags.DEFINE_multi_integer("networks", [2], "M.")
_BATCH = flags.DEFINE_integer("batch", 128, "B.")
_SIDE = flags.DEFINE_integer("side", 32, "Pixels of a side.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "Type of the computation.")
_PAIRS = flags.DEFINE_integer("pairs", 11, "Pairs of each comparison.", lower_bound=7)
_WARM_UP = flags.DEFINE_integer("warm_up", 3, "Steps that are not counted.")
BASELINES = {
    "loop": "a Python loop inside one jitted step",
    "jits": "a Python loop of separately jitted networks",
    "vmap": "plain vmap",
}
_AGAINST = flags.DEFINE_multi_enum(
    "against", [*BASELINES, "torch"], [*BASELINES, "torch"], "What to compare with."
)
_TORCH = flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch.")
_WORKER = flags.DEFINE_enum(
    "worker", None, ["ours", "losses", *BASELINES], "Used by the program itself."
)


def worker(variant: str, networks: int, model: str = "") -> Worker:
    """A worker of this program, warm."""
    options = [f"--{f.name}={f.value}" for f in (_BATCH, _SIDE, _DTYPE)]
    options += [f"--networks={networks}", f"--model={model or _MODEL.value}"]
    result = Worker(sys.executable, __file__, f"--worker={variant}", *options)
    result.warm_up(_WARM_UP.value)
    return result


def fastest_torch() -> tuple[str, Worker]:
    """PyTorch in its fastest mode here, after warm-up."""
    script = str(pathlib.Path(__file__).with_name("torch_train_step.py"))
    size = (_MODEL.value, *map(str, (_NETWORKS.value[0], _BATCH.value, _SIDE.value)), _DTYPE.value)
    found = []
    for mode in ("eager", "compile"):
        for layout in ("nchw", "nhwc"):
            one = Worker(_TORCH.value, script, *size, mode, layout)
            one.warm_up(_WARM_UP.value)
            seconds = statistics.median(one.step() for _ in range(5))
            print(f"  PyTorch {mode} {layout}: {1000 * seconds:.0f} ms", flush=True)
            found.append((seconds, f"PyTorch {mode} {layout}", one))
    found.sort(key=lambda x: x[0])
    for _, _, one in found[1:]:
        one.close()
    return found[0][1:]


def compare_sizes(sizes: list[int]) -> None:
    """Cohorts of several sizes, in turn; the ratios are to the first."""
    steps = {size: worker("ours", size) for size in sizes}
    losses = {size: worker("losses", size) for size in sizes}
    rounds = [
        {size: (steps[size].step(), losses[size].step()) for size in sizes}
        for _ in range(_PAIRS.value)
    ]
    each = [{size: (step - loss) / size for size, (step, loss) in turn.items()} for turn in rounds]
    for size in sizes:
        step, loss = (1000 * statistics.median(r[size][i] for r in rounds) for i in (0, 1))
        ratios = [turn[size] / turn[sizes[0]] for turn in each]
        print(
            f"M = {size}: step {step:.1f} ms, of it losses {loss:.1f} ms; a network "
            f"{1000 * statistics.median(turn[size] for turn in each):.1f} ms, "
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) of that at "
            f"M = {sizes[0]}",
            flush=True,
        )


def compare_parts(models: list[str]) -> None:
    """A cohort of unlike networks and each of them alone; the losses of several are ours."""
    mine = worker("ours", len(models))
    parts = Sum(*(worker("ours", 1, model) for model in models))
    compare("the sum of its parts", mine, parts, _PAIRS.value)
    losses = worker("losses", len(models))
    took = statistics.median(losses.step() for _ in range(_PAIRS.value))
    print(f"  the losses alone, part of ours: {1000 * took:.1f} ms", flush=True)


def main(argv: list[str]) -> None:
    """Compares, or serves as a worker."""
    del argv
    models, sizes = _MODEL.value.split(","), _NETWORKS.value
    if _WORKER.value:
        task = Task(_MODEL.value, sizes[0], _BATCH.value, _SIDE.value, _DTYPE.value)
        serve(build(_WORKER.value, task))
        return
    print(f"{_MODEL.value}, batch {_BATCH.value}, {_DTYPE.value}, {platform.machine()}")
    if len(models) > 1:
        compare_parts(models)
        return
    if len(sizes) > 1:
        compare_sizes(sizes)
        return
    mine = worker("ours", sizes[0])
    for variant in [x for x in BASELINES if x in _AGAINST.value]:
        other = worker(variant, sizes[0])
        compare(BASELINES[variant], mine, other, _PAIRS.value)
        other.close()
    if "torch" in _AGAINST.value and _TORCH.value:
        name, other = fastest_torch()
        compare(name, mine, other, _PAIRS.value)
        other.close()
    mine.close()


if __name__ == "__main__":
    app.run(main)
