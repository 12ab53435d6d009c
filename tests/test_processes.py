"""Several real processes of one run: the same results as one process, and all end together."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from mcl_jax import config as config_lib
from mcl_jax.config import ConfigError
from mcl_jax.training import loop, processes

ROOT = pathlib.Path(__file__).parents[1]
DEVICES = 4  # of all processes together


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of every process; what one has compiled the next one loads."""
    cache = jax.config.jax_compilation_cache_dir or tmp_path_factory.mktemp("compiled")
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(ROOT),
    }


class Group:
    """Processes of one run in folders ``0``, ``1``, ...; no two share a workdir."""

    def __init__(self, folder, environment, count, kind, **variables):
        self._folder = folder
        words = [sys.executable, "-m", "mcl_jax.main", "--noreport"]
        words.append(f"--config=tests/training/tiny_run.py:{kind}")
        together = [f"--coordinator=127.0.0.1:{free_port()}", f"--processes={count}"]
        environment = environment | {"JAX_NUM_CPU_DEVICES": str(DEVICES // count), **variables}
        self._processes = []
        for index in range(count):
            own = [f"--workdir={folder / str(index)}"]
            if count > 1:
                own += [*together, f"--process={index}"]
            out, err = (folder / f"{index}.{name}" for name in ("out", "err"))
            with out.open("a") as stdout, err.open("a") as stderr:
                process = subprocess.Popen(
                    [*words, *own], cwd=ROOT, env=environment, stdout=stdout, stderr=stderr
                )
            self._processes.append(process)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self._processes:
            process.kill()
            process.wait()

    def codes(self):
        """How all have ended."""
        return [process.wait(300) for process in self._processes]

    def signal(self, number, *indices):
        for index in indices:
            self._processes[index].send_signal(number)

    def wait_for_step(self, step):
        """Returns once process 0 has logged the step and saved what was due a step before it."""
        path, until = self._folder / "0" / "metrics.jsonl", time.monotonic() + 300
        saved = self._folder / "0" / "checkpoints" / str((step - 1) // 4 * 4) / "manifest.json"
        while not saved.exists() or max(steps(path), default=0) < step:
            assert all(process.poll() is None for process in self._processes), said(self._folder, 0)
            assert time.monotonic() < until
            time.sleep(0.05)


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines() if line[-1:] == "}"]


def said(folder, index):
    return (folder / f"{index}.err").read_text()


def finish(folder, environment, count, kind):
    with Group(folder, environment, count, kind) as group:
        assert group.codes() == [0] * count, [said(folder, index) for index in range(count)]


def results(folder):
    """Figures and final state that process 0 has left."""
    import orbax.checkpoint as ocp

    lines = (folder / "0" / "metrics.jsonl").read_text().splitlines()
    drop = ("seconds", "images_per_second")
    metrics = [{k: v for k, v in json.loads(x).items() if k not in drop} for x in lines]
    summary = json.loads((folder / "0" / "summary.json").read_text())
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        state = reader.restore(folder / "0" / "checkpoints" / "16" / "state")
    return metrics, summary, state


def assert_same(ours, theirs):
    """The same tree of words, and of numbers to 1e-9 of each leaf's largest one."""

    def compare(a, b):
        if isinstance(a, str):
            assert a == b
            return
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.max(np.abs(a - b), initial=0) <= 1e-9 * np.max(np.abs(b), initial=0)

    (metrics, summary, state), (metrics_one, summary_one, state_one) = ours, theirs
    assert len(metrics) == 16 + 4
    jax.tree.map(compare, metrics, metrics_one)
    jax.tree.map(compare, state, state_one)
    for part in ("validation", "test", "baselines", "best"):
        assert summary[part] == summary_one[part]


PARTS = """
import sys, traceback
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from mcl_jax.training import processes

me = int(sys.argv[2])
processes.start(sys.argv[1], 2, me)
processes.meet()

def check():
    assert processes.count() == 2
    assert processes.is_writer() == (me == 0)
    said = [{"mine": [0.5, None, me]}, me, float("nan")]
    assert repr(processes.agree(said)) == "[{'mine': [0.5, None, 0]}, 0, nan]"
    given = {
        "weights": np.array([-0.0, np.inf, 1e-45, 2.0], np.float32),
        "odd": np.array([0x7FC01234, 0xFFC00000], np.uint32).view(np.float32),
        "half": np.array([[1.5, -0.0]]).astype(jax.numpy.bfloat16),
        "step": np.full((), 7, np.int32),
        "none": np.zeros((0, 3), bool),
    }
    mine = given if me == 0 else jax.tree.map(np.zeros_like, given)
    for name, shared in processes.share(mine).items():
        x = given[name]
        assert (shared.dtype, shared.shape) == (x.dtype, x.shape), name
        assert shared.tobytes() == x.tobytes(), name
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows = np.arange(12.0).reshape(4, 3)
    for spec in (PartitionSpec("data"), PartitionSpec()):
        there = NamedSharding(mesh, spec)
        array = jax.make_array_from_callback(rows.shape, there, lambda index: rows[index])
        assert np.array_equal(processes.whole({"x": [array]})["x"][0], rows)
    key = jax.jit(lambda: jax.random.key(3), out_shardings=there)()
    drawn, expected = map(jax.random.bits, (processes.at_hand(key), jax.random.key(3)))
    assert int(drawn) == int(expected)

try:
    check()
except BaseException:
    processes.end(1, traceback.format_exc())
if me == 1:
    processes.end(2, "no more\\n")
processes.meet()  # in vain
"""


def test_processes_share_gather_and_end_as_one_of_them_says(environment):
    address = f"127.0.0.1:{free_port()}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PARTS, address, str(index)],
            env=environment | {"JAX_NUM_CPU_DEVICES": "2"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for index in (0, 1)
    ]
    told = [process.communicate(timeout=300)[1] for process in both]
    assert told == ["process 1: no more\n", "no more\n"]
    assert [process.returncode for process in both] == [2, 2]


def test_one_process_that_waits_in_vain_says_so(environment):
    address = f"127.0.0.1:{free_port()}"
    code = f"from mcl_jax.training import processes; processes.start({address!r}, 2, 1, patience=1)"
    alone = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert alone.returncode == 1
    assert alone.stderr == (
        f"error: not all processes have come together at {address} within 1 seconds; it must be "
        f"reachable from all machines, and every process be started.\n"
    )


def test_a_process_that_cannot_start_says_why(monkeypatch):
    with pytest.raises(ConfigError, match=r"^--coordinator nowhere\.invalid:1 is no address that"):
        processes.start("nowhere.invalid:1", 2, 1)
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf":{port} cannot be opened by .*: Address"):
            processes.start(f"127.0.0.1:{port}", 2, 0)
    for name in [x for x in os.environ if x.startswith(("SLURM_", "OMPI_", "KUBERNETES_"))]:
        monkeypatch.delenv(name)
    # JAX's own, without what it asks of a process that has used no device yet.
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    with pytest.raises(ConfigError, match=r"^--distributed finds no cluster .* should be defined"):
        processes.start()


def test_another_configuration_in_another_process_is_refused(monkeypatch):
    monkeypatch.setattr(processes, "agree", lambda value: value | {"seed": "7"})
    with pytest.raises(ConfigError, match=r"but seed is 0 in process 0 and 7 in process 0\.$"):
        loop._check_same(config_lib.default())


def test_one_process_agrees_with_itself():
    tree = {"x": np.arange(3), "y": jax.device_put(np.ones(2))}
    assert processes.agree("mine") == "mine"
    assert processes.share(tree) is tree
    assert processes.whole(tree)["y"].tolist() == [1, 1]
    processes.meet()
    assert processes.is_writer()


def test_four_processes_train_as_one_does_and_one_writes(tmp_path, environment):
    one, four = tmp_path / "one", tmp_path / "four"
    for folder, count, kind in ((one, 1, "resident"), (four, 4, "spread")):
        folder.mkdir()
        finish(folder, environment, count, kind)
    assert_same(results(four), results(one))
    events = [json.loads(x) for x in (four / "0" / "log.jsonl").read_text().splitlines()]
    assert events[0]["devices"] == "4 cpu of 4 processes, networks in 2 parts"
    told = [x["event"] for x in events if x["level"] == "info"]
    assert told == ["started", "compiled", "finished"]
    assert [x.name for x in four.iterdir() if x.is_dir()] == ["0"]
    for index in (1, 2, 3):
        assert said(four, index) == ""
        assert "Results are in" not in (four / f"{index}.out").read_text()
    assert "step 16/16" in said(four, 0)
    assert "Results are in" in (four / "0.out").read_text()


def test_two_processes_are_killed_and_stopped_and_end_where_one_does(tmp_path, environment):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    finish(one, environment, 1, "streamed")
    with Group(two, environment, 2, "streamed", TINY_PAUSE="0.5") as group:
        group.wait_for_step(5)
        group.signal(signal.SIGKILL, 0, 1)
        group.codes()
    with Group(two, environment, 2, "streamed", TINY_PAUSE="0.5") as group:
        group.wait_for_step(6)
        group.signal(signal.SIGTERM, 1)
        assert group.codes() == [143, 143], [said(two, 0), said(two, 1)]
    events = [json.loads(x) for x in (two / "0" / "log.jsonl").read_text().splitlines()]
    assert [x["step"] for x in events if x["event"] == "started"] == [0, 4]
    assert (events[-1]["event"], events[-1]["reason"]) == ("stopped", "preemption")
    assert (two / "0" / "checkpoints" / str(events[-1]["step"])).is_dir()
    finish(two, environment, 1, "streamed")  # whatever the number of processes
    assert_same(results(two), results(one))


@pytest.mark.parametrize("place", ["0", "0/checkpoints"])
def test_an_error_of_process_0_ends_all(tmp_path, environment, place):
    """At the start, where the workdir is a file, and while it trains, where its checkpoints are."""
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("")
    began = time.monotonic()
    with Group(tmp_path, environment, 2, "streamed") as group:
        assert group.codes() == [1, 1]
    assert time.monotonic() - began < 200  # nobody waits for JAX's five minutes
    errors = [x for x in said(tmp_path, 0).splitlines() if x.startswith("error: ")]
    assert len(errors) == 1
    assert f"{tmp_path / '0'}" in errors[0]
    assert "cannot be written" in errors[0]
    assert said(tmp_path, 1) == ""
