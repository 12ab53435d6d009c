"""What the compiled step takes: the time to compile it, and memory on each device."""

import time
from typing import Any, NamedTuple

from mcl_jax.report.units import size


class Footprint(NamedTuple):
    """What compiling told.

    Attributes:
        seconds: that it took.
        bytes: on each device while the step runs: ``arguments``, ``temporary``, ``results`` and
            their ``total``; None where the platform does not tell.
    """

    seconds: float
    bytes: dict[str, int] | None

    def sentence(self) -> str:
        """One line for whoever waits.

        Example:
            >>> parts = {"arguments": 2**20, "temporary": 3 * 2**20, "results": 0}
            >>> Footprint(2.34, {**parts, "total": 4 * 2**20}).sentence()
            'the step is compiled (2.3 s); it takes 4.0 MiB of each device, 3.0 MiB of it temporary'
        """
        told = f"the step is compiled ({self.seconds:.1f} s)"
        if self.bytes is None:
            return told
        total, temporary = (size(self.bytes[part]) for part in ("total", "temporary"))
        return f"{told}; it takes {total} of each device, {temporary} of it temporary"


def compile_step(step: Any, state: Any, data: Any) -> Footprint:
    """Compiles a step ahead of its first call, which then finds it compiled.

    Args:
        step: what a mapper has made of it.
        state: as the step takes it.
        data: of one dispatch.
    """
    began = time.perf_counter()
    compiled = step.lower(state, data).compile()
    return Footprint(time.perf_counter() - began, _memory(compiled))


def _memory(compiled: Any) -> dict[str, int] | None:
    """Bytes that the compiled step has on each device while it runs."""
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    arguments, temporary = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    # What is donated is used again for results.
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    total = arguments + temporary + results
    return {"arguments": arguments, "temporary": temporary, "results": results, "total": total}
