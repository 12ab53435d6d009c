"""Several processes that carry out one run: how they meet, agree, share arrays and end.

They are those of `jax.distributed`. Every process computes the same; process 0 alone, the writer,
touches the workdir. What only the writer knows the others are told (`agree`, `share`), and what
lies on devices of several is gathered by all (`whole`). One process alone does none of it.

Nobody waits for a process that has failed: `end` tells the others over the service that JAX runs
for its own purposes, a thread in each of them hears it, and all leave with one code.
"""

import atexit
import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from mcl_jax.config import ConfigError

PATIENCE = 300.0  # seconds for all processes to come together, as JAX has it
_GRACE = 2.0  # for the writer to tell of an error that every process meets
_FAREWELL = 10.0  # for all processes to hear that the run has ended

_ENDED = "mcl_jax/ended"
_watch: threading.Thread | None = None
_places = itertools.count()  # in the program, where processes meet or agree: the same in all


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    patience: float = PATIENCE,
) -> None:
    """Joins the processes of a run; to be called before any device is used.

    Args:
        coordinator: ``HOST:PORT`` of process 0; with None the three are asked of the cluster:
            SLURM, Open MPI, a TPU pod or Kubernetes.
        processes: how many there are.
        process: which one this is, from 0.
        patience: seconds to wait for the others; then this process ends with one line and code 1.

    Raises:
        ConfigError: no cluster is found, or the coordinator's name or port cannot be used.
    """
    global _watch
    if coordinator is not None:
        _check_reachable(coordinator, process)
    there = coordinator or "the address that the cluster gives"
    # JAX would end the process with a stack of C++ calls.
    alarm = threading.Timer(patience, _give_up, [there, patience])
    alarm.daemon = True
    alarm.start()
    try:
        jax.distributed.initialize(
            coordinator, processes, process, initialization_timeout=round(2 * patience)
        )
    except ValueError as error:
        raise ConfigError(
            f"--distributed finds no cluster (SLURM, Open MPI, TPU pod, Kubernetes): {error} "
            f"Without one give --coordinator, --processes and --process."
        ) from error
    finally:
        alarm.cancel()
    _watch = threading.Thread(target=_hear, name="mcl_jax.processes", daemon=True)
    _watch.start()
    atexit.register(_part)


def count() -> int:
    """How many processes carry out the run."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_writer() -> bool:
    """Whether this is the process that writes: the only one, or process 0."""
    return count() == 1 or jax.process_index() == 0


def agree(value: Any) -> Any:
    """What process 0 says, in all processes; each of them calls this at the same place.

    Args:
        value: what JSON can hold; that of other processes is not looked at.
    """
    if count() == 1:
        return value
    name = f"mcl_jax/agreed/{next(_places)}"
    if is_writer():
        _service().key_value_set(name, json.dumps(value))
    return json.loads(_service().blocking_key_value_get(name, _milliseconds(days=7)))


def meet() -> None:
    """Returns once all processes are here and connected.

    After they have compiled for as long as each takes: on CPUs those that are first would not wait
    for more than 30 seconds for the others' part of a first sum.
    """
    if count() == 1:
        return
    name = f"mcl_jax/met/{next(_places)}"
    _service().wait_at_barrier(name, _milliseconds(days=7))
    multihost_utils.sync_global_devices(name)


def share(tree: Any) -> Any:
    """Arrays of process 0 in the host memory of all processes, bit for bit.

    Args:
        tree: NumPy arrays; those of other processes count by shape and dtype alone.

    Returns:
        A tree of NumPy arrays.
    """
    if count() == 1:
        return tree
    # Sent as a sum with zeros, which changes some numbers (-0.0), but no bytes.
    raw = jax.tree.map(lambda x: np.frombuffer(x.tobytes(), np.uint8), tree)
    return jax.tree.map(
        lambda sent, x: np.frombuffer(sent.tobytes(), x.dtype).reshape(x.shape),
        multihost_utils.broadcast_one_to_all(raw),
        tree,
    )


def whole(tree: Any) -> Any:
    """Arrays in host memory; what lies split over processes is gathered, which takes them all.

    Args:
        tree: arrays on devices or on the host, no random keys.

    Returns:
        A tree of NumPy arrays, which may be the device's own memory.
    """

    def gathered(leaf: Any) -> Any:
        elsewhere = isinstance(leaf, jax.Array) and not leaf.is_fully_replicated
        if elsewhere and not leaf.is_fully_addressable:
            return multihost_utils.process_allgather(leaf, tiled=True)
        return leaf

    return jax.device_get(jax.tree.map(gathered, tree))


def at_hand(key: jax.Array) -> jax.Array:
    """A random key that lies whole on all devices, as one of this process alone."""
    if key.is_fully_addressable:
        return key
    data = jax.numpy.asarray(np.asarray(jax.random.key_data(key)))
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))


def end(code: int, said: str, *, expected: bool = True) -> NoReturn:
    """Ends all processes with ``code``, whatever they are doing; one of them speaks.

    Where every process meets the same error, it is process 0 that tells of it.

    Args:
        code: of the exit.
        said: for standard error of this process and of process 0.
        expected: false for an error that may come of another process having ended.
    """
    assert _watch is not None
    if not (expected and is_writer()):
        _watch.join(_GRACE)
    # Another one may have been faster, or process 0 be gone.
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _service().key_value_set(_ENDED, json.dumps([jax.process_index(), code, said]))
    _watch.join(_FAREWELL)
    sys.stderr.write(said)  # nobody hears
    _leave(code)


def _hear() -> None:
    """Waits until some process ends the run, and leaves with it."""
    while True:
        try:
            told = _service().blocking_key_value_get(_ENDED, _milliseconds(days=7))
            break
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                return  # this process leaves, or process 0 is gone, which JAX tells of
    process, code, said = json.loads(told)
    if process == jax.process_index():
        sys.stderr.write(said)
    elif is_writer():
        sys.stderr.write(f"process {process}: {said}")
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # one may be gone already
        _service().wait_at_barrier("mcl_jax/farewell", round(1000 * _FAREWELL))
    if is_writer():
        time.sleep(0.2)  # with process 0 goes the service, of which the others still hear
    _leave(code)


def _part() -> None:
    """Waits for the others to be done; a thread that still listened would not survive the exit."""
    jax.distributed.shutdown()
    if _watch is not None:
        _watch.join()


def _leave(code: int) -> NoReturn:
    """Ends this process without waiting for the others, as an exit of Python would."""
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)


def _service() -> Any:
    """The coordination service of the processes, of which JAX makes nothing public."""
    from jax._src import distributed

    return distributed.global_state.client


def _milliseconds(days: int) -> int:
    return days * 24 * 3600 * 1000


def _check_reachable(coordinator: str, process: int | None) -> None:
    """Raises ConfigError for what can be told at once: JAX would end the process."""
    host, _, port = coordinator.rpartition(":")
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except OSError as error:
        raise ConfigError(
            f"--coordinator {coordinator} is no address that this machine knows: {error.strerror}."
        ) from error
    if process == 0:
        try:
            both = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if both else socket.AF_INET
            socket.create_server(("", int(port)), family=family, dualstack_ipv6=both).close()
        except OSError as error:
            raise ConfigError(
                f"--coordinator {coordinator} cannot be opened by process 0: {error.strerror}; "
                f"another port may be free."
            ) from error


def _give_up(coordinator: str, patience: float) -> None:
    """Ends a process that waits for the others in vain."""
    sys.stderr.write(
        f"error: not all processes have come together at {coordinator} within {patience:.0f} "
        f"seconds; it must be reachable from all machines, and every process be started.\n"
    )
    _leave(1)
