"""How a step grows with devices and with networks, read off the compiled program.

    python benchmarks/scaling.py [--model=resnet32] [--networks=2] [--batch=128] [--devices=1 ...]
                                 [--cohort=1 --cohort=2]
    python benchmarks/scaling.py --compile [--networks=1 --networks=2 --networks=4 --networks=8]

For each mesh (cohort x data) of simulated CPU devices, or of those that are there: floating-point
operations and memory of a device, and the bytes that its collectives produce, by kind and axis of
the mesh. With ``--compile``: seconds to lower and to compile, against the number of networks.
"""

import collections
import math
import os
import re
import time

from absl import app, flags

_MODEL = flags.DEFINE_string("model", "resnet32", "Encoder.")
_NETWORKS = flags.DEFINE_multi_integer("networks", [2], "M.")
_BATCH = flags.DEFINE_integer("batch", 128, "B, of all devices together.")
_SIDE = flags.DEFINE_integer("side", 32, "Pixels of a side.")
_DTYPE = flags.DEFINE_string("dtype", "float32", "Type of the computation.")
_DEVICES = flags.DEFINE_multi_integer("devices", [1, 2, 4, 8], "How many devices.")
_COHORT = flags.DEFINE_multi_integer("cohort", [1], "Over how many the networks are spread.")
_COMPILE = flags.DEFINE_bool("compile", False, "Times compilation against M instead.")

_BYTES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s64": 8, "u64": 8}
_COLLECTIVE = re.compile(
    r"= (?P<type>\(?[^=]*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute)(?:-start)?\((?P<rest>.*)"
)


def shape_bytes(text: str) -> int:
    """Bytes of all array types named in a piece of HLO."""
    arrays = re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", text)
    return sum(
        _BYTES.get(kind, 1) * math.prod(int(n) for n in shape.split(",") if n)
        for kind, shape in arrays
    )


def replica_groups(text: str) -> list[list[int]]:
    """Device numbers that a collective joins, from ``{{0,1},{2,3}}`` or ``[2,2]<=[4]T(..)``."""
    import numpy as np

    listed = re.search(r"replica_groups=\{(\{.*?\})\}", text)
    if listed:
        groups = re.findall(r"\{([\d,]*)\}", listed[1])
        return [[int(n) for n in group.split(",") if n] for group in groups]
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if not iota:
        return []
    shape, source = ([int(n) for n in iota[i].split(",")] for i in (1, 2))
    numbers = np.arange(math.prod(source)).reshape(source)
    if iota[3]:
        numbers = numbers.transpose([int(n) for n in iota[3].split(",")])
    return numbers.reshape(shape).tolist()


def axis_of(groups: list[list[int]], cohort: int, data: int) -> str:
    """The axis of the mesh along which a collective runs."""
    group = groups[0] if groups else list(range(cohort * data))
    along = {"cohort": len({n // data for n in group}), "data": len({n % data for n in group})}
    return " and ".join(axis for axis, size in along.items() if size > 1) or "one device"


def collectives(hlo: str, cohort: int, data: int) -> dict[tuple[str, str], tuple[int, int]]:
    """(kind, axis) to how many there are and the bytes that they produce on a device."""
    found = collections.defaultdict(lambda: (0, 0))
    for line in hlo.splitlines():
        match = _COLLECTIVE.search(re.sub(r"/\*.*?\*/", "", line))
        if match:
            axis = axis_of(replica_groups(match["rest"]), cohort, data)
            count, total = found[match["kind"], axis]
            found[match["kind"], axis] = count + 1, total + shape_bytes(match["type"])
    return found


def compiled(networks: int, devices: int, cohort: int):
    """The compiled step, and the seconds to lower and to compile it."""
    from programs import Task, prepared

    from mcl_jax.training import parallel

    task = Task(_MODEL.value, networks, _BATCH.value, _SIDE.value, _DTYPE.value)
    mapper = parallel.create("shard_map", devices, cohort=cohort)
    made, state, data = prepared(task, mapper, **{"parallel.cohort_devices": cohort})
    start = time.perf_counter()
    lowered = made.step.lower(state, data)
    middle = time.perf_counter()
    return lowered.compile(), middle - start, time.perf_counter() - middle


def show_mesh(networks: int, devices: int, cohort: int) -> None:
    """Prints what one mesh takes."""
    program, *_ = compiled(networks, devices, cohort)
    memory, data = program.memory_analysis(), devices // cohort
    operations = program.cost_analysis().get("flops", float("nan"))
    print(
        f"M = {networks}, mesh {cohort} x {data}: {operations / 1e9:.2f} GFLOP a device, memory "
        f"{memory.argument_size_in_bytes / 2**20:.1f} MiB held and "
        f"{memory.temp_size_in_bytes / 2**20:.1f} MiB temporary",
        flush=True,
    )
    for (kind, axis), (count, total) in sorted(
        collectives(program.as_text(), cohort, data).items()
    ):
        if axis != "one device":
            print(f"    {kind} over {axis}: {count}, {total / 2**20:.3f} MiB", flush=True)


def main(argv: list[str]) -> None:
    """Prints a line for every mesh, or for every number of networks."""
    del argv
    most = max(_DEVICES.value)
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={most}"
    )
    # Seconds of compilation are wanted, not of reading what was compiled before.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"
    for networks in _NETWORKS.value:
        if _COMPILE.value:
            _, lowering, compiling = compiled(networks, 1, 1)
            print(f"M = {networks}: {lowering:.1f} s to lower, {compiling:.1f} s to compile")
            continue
        for devices in _DEVICES.value:
            for cohort in _COHORT.value:
                if devices % cohort == 0 and networks % cohort == 0:
                    show_mesh(networks, devices, cohort)


if __name__ == "__main__":
    app.run(main)
