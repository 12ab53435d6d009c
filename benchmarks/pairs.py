"""Two programs timed in turn: ours, theirs, ours, theirs, ...

Each lives in a process of its own and does one step for every line it is sent.
"""

import contextlib
import resource
import statistics
import subprocess
import sys
import time


class Worker:
    """A process that runs `serve`."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, line: str) -> float:
        answer = ""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            sys.exit("error: a worker has ended; what it said is above.")
        return float(answer)

    def step(self) -> float:
        """Seconds of one step."""
        return self._ask("")

    def warm_up(self, steps: int) -> None:
        """Steps that are not counted."""
        for _ in range(steps):
            self.step()

    def memory(self) -> float:
        """MiB by which the largest resident size has grown since the worker was ready."""
        return self._ask("memory")

    def close(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()


class Sum:
    """Workers whose steps are added up, as if they were one."""

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers

    def step(self) -> float:
        """Seconds of a step of each."""
        return sum(worker.step() for worker in self._workers)


def serve(step, clock=time.perf_counter) -> None:
    """Answers each line on standard input: the seconds of a step on a clock, or the memory."""

    def largest() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before = largest()
    for line in sys.stdin:
        if line.strip() == "memory":
            print(largest() - before, flush=True)
            continue
        start = clock()
        step()
        print(clock() - start, flush=True)


def compare(name: str, first: Worker, second: Worker | Sum, pairs: int) -> None:
    """Prints the ratio of the first to the second, pair by pair."""
    times = [(first.step(), second.step()) for _ in range(pairs)]
    ratios = [a / b for a, b in times]
    medians = [1000 * statistics.median(x) for x in zip(*times, strict=True)]
    print(
        f"ours / {name}: median {statistics.median(ratios):.3f}, range {min(ratios):.3f} to "
        f"{max(ratios):.3f}, {len(times)} pairs; {medians[0]:.0f} ms and {medians[1]:.0f} ms",
        flush=True,
    )
