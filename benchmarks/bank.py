"""The four terms with keys from banks, and the banks' update, beside plain PyTorch.

    python benchmarks/bank.py --torch_python=PATH
    python benchmarks/bank.py --form=shared --torch_python=PATH

ImageNet's size: banks of 1.28 million rows for two networks, 8,192 negatives, batch 256; forward,
backward to the embeddings, and the rows of the batch moved. Prints the ratio of times, pair by
pair, and the memory that each takes. PyTorch gathers negatives of each anchor once for each pair
of networks and within each, as the authors do; rows are drawn beforehand on both sides.
"""

import itertools
import pathlib
import sys

from absl import app, flags
from pairs import Worker, compare, serve

_FORM = flags.DEFINE_enum("form", "anchor", ["anchor", "shared"], "Whose the negatives are.")
_NETWORKS = flags.DEFINE_integer("networks", 2, "M.")
_ROWS = flags.DEFINE_integer("rows", 1_280_000, "N of a bank.")
_BATCH = flags.DEFINE_integer("batch", 256, "B.")
_NEGATIVES = flags.DEFINE_integer("negatives", 8192, "K.")
_PAIRS = flags.DEFINE_integer("pairs", 7, "Pairs of the comparison.", lower_bound=7)
_TORCH = flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch.")
_WORKER = flags.DEFINE_bool("worker", False, "Used by the program itself.")

D, CLASSES = 128, 1000


def build():
    """The step, jitted, and functions that make the embeddings, the bank and a batch's rows."""
    import jax
    import jax.numpy as jnp

    from mcl_jax import losses, memory
    from mcl_jax.data import Batch
    from mcl_jax.methods import supervised_bank

    networks, batch, rows = _NETWORKS.value, _BATCH.value, _ROWS.value
    terms = {"anchor": supervised_bank.anchor_terms, "shared": supervised_bank.shared_terms}

    def loss(embeddings, bank, contrast):
        found = terms[_FORM.value](
            embeddings, bank, contrast, temperature=0.07, soft_temperature=3.0
        )
        return 0.1 * found.vcl + found.soft_vcl + 0.1 * found.icl + found.soft_icl

    def step(embeddings, bank, contrast):
        value, gradient = jax.value_and_grad(loss)(embeddings, bank, contrast)
        # Rows wait for the loss made of them, else XLA moves them in a copy of the bank.
        newest = jnp.where(jnp.isnan(value), jnp.nan, embeddings)
        return value, gradient, memory.update_bank(bank, contrast.own, newest, 0.5)

    def embed():
        return losses.l2_normalize(jax.random.normal(jax.random.key(1), (networks, batch, D)))

    def draw(key):
        labels = jax.random.randint(jax.random.key(0), (rows,), 0, CLASSES)
        own = jax.random.choice(key, rows, (batch,), replace=False).astype(jnp.int32)
        return supervised_bank.draw(
            key,
            Batch(None, labels[own], own, jnp.arange(batch)),
            memory.sort_by_class(labels),
            positives=1,
            negatives=_NEGATIVES.value,
            shared=_FORM.value == "shared",
        )

    def fill():
        return memory.init_bank(jax.random.key(2), networks, rows, D)

    return jax.jit(step, donate_argnums=1), embed, fill, jax.jit(draw)


def stepper():
    """A function that does a step, each with rows of its own."""
    import jax

    step, embed, fill, draw = build()
    batches = itertools.cycle([draw(jax.random.key(number)) for number in range(4)])
    embeddings, bank = embed(), jax.jit(fill)()

    def run():
        nonlocal bank
        value, gradient, bank = step(embeddings, bank, next(batches))
        jax.block_until_ready((value, gradient, bank))

    return run


def temporary() -> float:
    """MiB that the compiled step takes beyond inputs and outputs."""
    import jax

    step, embed, fill, draw = build()
    args = [jax.eval_shape(f) for f in (embed, fill, lambda: draw(jax.random.key(0)))]
    return step.lower(*args).compile().memory_analysis().temp_size_in_bytes / 2**20


def main(argv: list[str]) -> None:
    """Compares, or serves as a worker."""
    del argv
    if _WORKER.value:
        serve(stepper())
        return
    flags_ = (_FORM, _NETWORKS, _ROWS, _BATCH, _NEGATIVES)
    size = [str(flag.value) for flag in flags_[1:]]
    print(f"{_FORM.value}: M, N, B, K = {', '.join(size)}, D = {D}", flush=True)
    mine = Worker(sys.executable, __file__, "--worker", *(f"--{f.name}={f.value}" for f in flags_))
    mine.warm_up(2)
    if _TORCH.value:
        other = Worker(_TORCH.value, str(pathlib.Path(__file__).with_name("torch_bank.py")), *size)
        other.warm_up(3)
        compare("PyTorch", mine, other, _PAIRS.value)
        print(f"  grown resident size of PyTorch: {other.memory():.0f} MiB")
        other.close()
    mine.close()
    print(f"  ours beyond inputs and gradients: {temporary():.1f} MiB")


if __name__ == "__main__":
    app.run(main)
