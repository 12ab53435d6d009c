"""The four terms in bounded memory beside plain PyTorch, forward and backward.

    python benchmarks/losses.py --torch_python=PATH
    python benchmarks/losses.py --form=queue --networks=2 --keys=16384 --torch_python=PATH

Prints the ratio of times, pair by pair, the memory beyond the inputs that each takes, how it grows
with the number of keys, and what share of the time the matrix products alone would take.
"""

import pathlib
import statistics
import sys
import time

from absl import app, flags
from pairs import Worker, compare, serve

_FORM = flags.DEFINE_enum("form", "queue", ["queue", "batch"], "Where the keys come from.")
_NETWORKS = flags.DEFINE_integer("networks", 4, "M.")
_BATCH = flags.DEFINE_integer("batch", 256, "B.")
_KEYS = flags.DEFINE_integer("keys", 65536, "K of a queue.")
_CHUNK = flags.DEFINE_string("chunk_size", "auto", "A whole number, auto, or none.")
_PAIRS = flags.DEFINE_integer("pairs", 7, "Pairs of the comparison.", lower_bound=7)
_TORCH = flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch.")
_WORKER = flags.DEFINE_bool("worker", False, "Used by the program itself.")

D = 128


def build(keys: int):
    """The compiled step with a number of keys, and its arguments."""
    import jax
    import jax.numpy as jnp

    from mcl_jax import losses

    chunk_size = None if _CHUNK.value == "none" else _CHUNK.value
    chunk_size = int(chunk_size) if _CHUNK.value.isdigit() else chunk_size
    networks, batch = _NETWORKS.value, _BATCH.value

    def unit(seed: int, rows: int) -> jax.Array:
        return losses.l2_normalize(jax.random.normal(jax.random.key(seed), (networks, rows, D)))

    def loss(queries, *rest):
        options = {"temperature": 0.07, "chunk_size": chunk_size}
        if _FORM.value == "queue":
            own, queue = rest
            terms = losses.mcl_terms(queries, queue, own_keys=own, **options)
        else:
            rows = jnp.arange(batch)
            other = losses.not_self(rows)
            positives = losses.same_class(rows // 2) & other
            terms = losses.mcl_terms(queries, queries, positives, other, **options)
        return 0.1 * terms.vcl + terms.soft_vcl + 0.1 * terms.icl + terms.soft_icl

    args = (unit(0, batch),)
    if _FORM.value == "queue":
        args += (unit(1, batch), unit(2, keys))
    return jax.jit(jax.value_and_grad(loss)).lower(*args).compile(), args


def temporary(keys: int) -> float:
    """MiB that the compiled step takes beyond inputs and outputs."""
    return build(keys)[0].memory_analysis().temp_size_in_bytes / 2**20


def product_seconds() -> tuple[int, float]:
    """How many products of all queries with all keys a step makes, and their seconds alone."""
    import jax

    products = 3 if _FORM.value == "queue" else 4
    networks, batch = _NETWORKS.value, _BATCH.value
    keys = _KEYS.value if _FORM.value == "queue" else batch
    size = min(keys, max(128, 2**20 // (networks**2 * batch)))
    x = jax.random.normal(jax.random.key(0), (networks * batch, D))
    y = jax.random.normal(jax.random.key(1), (D, size))
    f = jax.jit(lambda x, y: x @ y)
    f(x, y).block_until_ready()
    times = []
    for _ in range(50):
        start = time.perf_counter()
        f(x, y).block_until_ready()
        times.append(time.perf_counter() - start)
    return products, products * networks * keys / size * statistics.median(times)


def main(argv: list[str]) -> None:
    """Compares, or serves as a worker."""
    del argv
    if _WORKER.value:
        import jax

        step, args = build(_KEYS.value)
        serve(lambda: jax.block_until_ready(step(*args)))
        return
    flags_ = (_FORM, _NETWORKS, _BATCH, _KEYS, _CHUNK)
    size = [str(_NETWORKS.value), str(_BATCH.value)]
    if _FORM.value == "queue":
        size.append(str(_KEYS.value))
    print(f"{_FORM.value}: M, B{', K' if len(size) > 2 else ''} = {', '.join(size)}, D = {D}")
    mine = Worker(sys.executable, __file__, "--worker", *(f"--{f.name}={f.value}" for f in flags_))
    mine.warm_up(2)
    if _TORCH.value:
        script = str(pathlib.Path(__file__).with_name("torch_losses.py"))
        other = Worker(_TORCH.value, script, _FORM.value, *size)
        other.warm_up(2)
        compare("PyTorch", mine, other, _PAIRS.value)
        ours, theirs = mine.memory(), other.memory()
        print(f"  grown resident size: {ours:.0f} MiB and {theirs:.0f} MiB: {ours / theirs:.3f}")
        other.close()
    seconds = statistics.median(mine.step() for _ in range(5))
    mine.close()
    products, least = product_seconds()
    print(
        f"  {products} matrix products alone: {1000 * least:.0f} ms, {least / seconds:.0%} of "
        f"{1000 * seconds:.0f} ms"
    )
    if _FORM.value == "queue":
        few, many = temporary(_KEYS.value // 4), temporary(_KEYS.value)
        print(
            f"  beyond inputs and gradients: {many:.1f} MiB; with a quarter of the keys {few:.1f}"
        )
    else:
        print(f"  beyond inputs and gradients: {temporary(0):.1f} MiB")


if __name__ == "__main__":
    app.run(main)
