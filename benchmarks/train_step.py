"""A training step of a cohort beside what one would run instead.

    python benchmarks/train_step.py [--networks=2] [--batch=128] [--model=resnet32]
                                    [--torch_python=PATH]

Against (a) the same networks in a Python loop inside one jitted step, (b) the same step under plain
``vmap``, (c) PyTorch (``torch_train_step.py``, the fastest of eager and compiled, NCHW and NHWC),
where an interpreter that has it is named. Every variant lives in a process of its own and does one
step when its turn comes: ours, theirs, ours, theirs, ... The ratio is taken pair by pair.
"""

import functools
import pathlib
import platform
import statistics
import sys

from absl import app, flags
from pairs import Worker, compare, serve

_NETWORKS = flags.DEFINE_integer("networks", 2, "M.")
_BATCH = flags.DEFINE_integer("batch", 128, "B.")
_MODEL = flags.DEFINE_string("model", "resnet32", "Encoder; PyTorch has resnet32 alone.")
_PAIRS = flags.DEFINE_integer("pairs", 11, "Pairs of each comparison.", lower_bound=7)
_WARM_UP = flags.DEFINE_integer("warm_up", 3, "Steps that are not counted.")
_AGAINST = flags.DEFINE_multi_enum(
    "against", ["loop", "vmap", "torch"], ["loop", "vmap", "torch"], "What to compare with."
)
_TORCH = flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch.")
_WORKER = flags.DEFINE_enum("worker", None, ["ours", "loop", "vmap"], "Used by the program itself.")

BASELINES = {"loop": "Python loop", "vmap": "plain vmap"}


def build_step(variant: str):
    """The training step of a variant: a function that does one step when called."""
    import jax
    import numpy as np

    from mcl_jax import config as config_lib
    from mcl_jax import methods
    from mcl_jax.compilation import keep_compiled_programs
    from mcl_jax.data import Batch
    from mcl_jax.methods import Setting
    from mcl_jax.training import optimizer, parallel, state
    from mcl_jax.training.step import make_step

    keep_compiled_programs()
    config = config_lib.default()
    config.method.networks = _NETWORKS.value
    config.model.name = _MODEL.value
    config.model.convolution = "plain" if variant == "vmap" else "per_network"
    # PyTorch's step has no views either.
    config.views.padding, config.views.flip = 0, False
    mapper = parallel.create("shard_map", 1)
    descent = optimizer.create(config.optimizer, 1000, 100)
    setting = Setting(100, (0.5,) * 3, (0.25,) * 3, mapper.axes, 1, descent)
    method = methods.create(config, setting)
    if variant == "loop":
        method = in_a_loop(method, _NETWORKS.value)
    images = np.random.default_rng(0).integers(0, 256, (_BATCH.value, 32, 32, 3), np.uint8)
    rows = np.arange(_BATCH.value, dtype=np.int32)
    batch = mapper.replicate(Batch(images, rows // 2 % 100, rows))
    step = make_step(method, mapper.axes, lambda data, key, step: data, 1, unroll=True)
    mapped = mapper.map(step, method.specs, data_is_split=True)
    create = jax.jit(functools.partial(state.create, method))
    held = mapper.replicate(create(jax.random.key(0), batch))

    def one() -> None:
        nonlocal held
        held, _ = mapped(held, batch)
        jax.block_until_ready(held)

    return one


def in_a_loop(method, networks):
    """The same method on a list of networks' parameters, applied one after the other."""
    import dataclasses

    import jax
    import jax.numpy as jnp

    from mcl_jax import cohort

    def init(key, batch):
        both = method.init(key, batch)
        return tuple([cohort.select(tree, a) for a in range(networks)] for tree in both)

    def embed(params, extras, batch, key, train):
        outputs, states = [], []
        for one, extra in zip(params, extras, strict=True):
            stacked = jax.tree.map(lambda x: x[None], (one, extra))
            output, state = method.embed(*stacked, batch, key, train)
            outputs.append(output)
            states.append(cohort.select(state, 0))
        return jax.tree.map(lambda *x: jnp.concatenate(x), *outputs), states

    return dataclasses.replace(method, init=init, embed=embed)


def ours(variant: str) -> Worker:
    """A worker of this program."""
    options = [f"--{f.name}={f.value}" for f in (_NETWORKS, _BATCH, _MODEL)]
    return Worker(sys.executable, __file__, f"--worker={variant}", *options)


def fastest_torch() -> tuple[str, Worker]:
    """PyTorch in its fastest mode here, after warm-up."""
    script = str(pathlib.Path(__file__).with_name("torch_train_step.py"))
    size = (str(_NETWORKS.value), str(_BATCH.value), "5")
    found = []
    for mode in ("eager", "compile"):
        for layout in ("nchw", "nhwc"):
            worker = Worker(_TORCH.value, script, *size, mode, layout)
            worker.warm_up(_WARM_UP.value)
            seconds = statistics.median(worker.step() for _ in range(5))
            print(f"  PyTorch {mode} {layout}: {1000 * seconds:.0f} ms", flush=True)
            found.append((seconds, f"PyTorch {mode} {layout}", worker))
    found.sort(key=lambda x: x[0])
    for _, _, worker in found[1:]:
        worker.close()
    return found[0][1:]


def main(argv: list[str]) -> None:
    """Compares, or serves as a worker."""
    del argv
    if _WORKER.value:
        serve(build_step(_WORKER.value))
        return
    print(f"{_MODEL.value} x {_NETWORKS.value}, batch {_BATCH.value}, {platform.machine()}")
    mine = ours("ours")
    mine.warm_up(_WARM_UP.value)
    for variant in [x for x in BASELINES if x in _AGAINST.value]:
        other = ours(variant)
        other.warm_up(_WARM_UP.value)
        compare(BASELINES[variant], mine, other, _PAIRS.value)
        other.close()
    if "torch" in _AGAINST.value and _TORCH.value and _MODEL.value == "resnet32":
        name, other = fastest_torch()
        compare(name, mine, other, _PAIRS.value)
        other.close()
    mine.close()


if __name__ == "__main__":
    app.run(main)
