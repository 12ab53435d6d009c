"""Checkpoints of a run's whole state, by Orbax, that are complete and unharmed or not used at all.

A checkpoint is a folder named by its step. It is written beside its place, by a thread, while
training goes on: the arrays by Orbax, then ``manifest.json`` with a hash of each file and of each
leaf. Renaming the folder is what completes it. Hashes of files find damage before Orbax reads
(which complains from threads of its own); hashes of leaves hold from the device and back, where
Orbax restores changed bytes without a word. Nothing is unpickled.
"""

import errno
import hashlib
import json
import os
import pathlib
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from mcl_jax import atomic
from mcl_jax.config import saved_steps
from mcl_jax.training.optimizer import path_name
from mcl_jax.training.processes import whole
from mcl_jax.training.state import TrainState

_MANIFEST = "manifest.json"
_STATE = "state"


class StorageError(RuntimeError):
    """The state of a run can be neither written nor read: one sentence that says why."""


class _DamagedError(Exception):
    """A checkpoint that is not what was written."""


class Best(NamedTuple):
    """The kept state that does best on validation.

    Attributes:
        step: of the state.
        validation_accuracy: mean over networks, a fraction.
    """

    step: int
    validation_accuracy: float


class Restored(NamedTuple):
    """What came of reading checkpoints.

    Attributes:
        state: in the host's memory, or None where nothing is saved.
        damage: a sentence on each newer state that is damaged.
    """

    state: TrainState | None
    damage: list[str]


class Checkpoints:
    """The newest states of a run and the best one, in a folder of its workdir."""

    def __init__(self, folder: pathlib.Path, keep: int) -> None:
        """Opens a folder that is of the checkpoints alone; the ``keep`` newest stay."""
        self._folder, self._keep = folder.absolute(), keep
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="mcl_jax.checkpoint")
        self._pending: tuple[int, Future[None]] | None = None
        # Of several processes this one writes what is on its host; Orbax is to wait for none.
        alone = ocp.options.MultiprocessingOptions(
            primary_host=jax.process_index(),
            active_processes={jax.process_index()},
            barrier_sync_key_prefix="mcl_jax",
        )
        self._orbax = ocp.Checkpointer(
            ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            multiprocessing_options=alone,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.wait()
        except StorageError:
            if error is None:
                raise
        finally:
            self._writer.shutdown()
            self._orbax.close()

    def steps(self) -> list[int]:
        """Steps of the complete states, the oldest first."""
        return saved_steps(self._folder)

    def latest_step(self) -> int | None:
        """The step of the newest complete state, or None."""
        return max(self.steps(), default=None)

    def best(self) -> Best | None:
        """The best state on validation among the complete ones; the later one of equals."""
        judged = []
        for step in self.steps():
            try:
                accuracy = _read_manifest(self._folder / str(step))["validation_accuracy"]
            except _DamagedError:
                continue
            if accuracy is not None:
                judged.append(Best(step, accuracy))
        return max(judged, key=lambda best: (best.validation_accuracy, best.step), default=None)

    def save(self, state: TrainState, validation_accuracy: float | None = None) -> None:
        """Copies the state to the host and has it written, unless its step is there already.

        Args:
            state: on the devices; the next step may donate it once this returns. Where it lies
                split over processes, all of them save at the same step.
            validation_accuracy: mean over networks, if the state was judged.

        Raises:
            StorageError: this state or the one before could not be written.
        """
        self.wait()
        step, host = int(state.step), _to_host(state)
        if step not in self.steps():
            written = self._writer.submit(self._write, step, host, validation_accuracy)
            self._pending = step, written

    def wait(self) -> None:
        """Returns once all that was to be saved is on disk.

        Raises:
            StorageError: it could not be written; the states before it are kept.
        """
        if self._pending:
            (step, written), self._pending = self._pending, None
            try:
                written.result()
            except Exception as error:
                last = self.latest_step()
                kept = "none is complete yet" if last is None else f"step {last} is the newest kept"
                raise StorageError(
                    f"the checkpoint of step {step} cannot be written in {self._folder}: "
                    f"{_reason(error)}; {kept}."
                ) from error

    def check(self) -> None:
        """Raises StorageError if the last save has failed by now; does not wait for it."""
        if self._pending and self._pending[1].done():
            self.wait()

    def restore(self, like: TrainState, step: int | None = None) -> Restored:
        """Reads a state onto the host; the newest that is unharmed, if no step is given.

        Args:
            like: the structure, shapes and dtypes of the state.
            step: of a complete state.

        Raises:
            StorageError: nothing that is saved can be read.
        """
        damage: list[str] = []
        for candidate in self.steps()[::-1] if step is None else [step]:
            try:
                return Restored(self._read(candidate, like), damage)
            except _DamagedError as error:
                damage.append(f"the checkpoint of step {candidate} is damaged: {error}")
        if not damage:
            return Restored(None, damage)
        raise StorageError(
            f"nothing in {self._folder} can be read: {'; '.join(damage)}; move the folder away to "
            f"start anew."
        )

    def set_aside_after(self, step: int) -> None:
        """Renames newer states to ``damaged-STEP``, so that the run can write them again.

        Raises:
            StorageError: they cannot be renamed.
        """
        for newer in [x for x in self.steps() if x > step]:
            folder, aside = self._folder / str(newer), self._folder / f"damaged-{newer}"
            try:
                if aside.exists():
                    shutil.rmtree(aside)
                os.rename(folder, aside)
            except OSError as error:
                raise StorageError(
                    f"{folder} is damaged and cannot be moved to {aside.name}: {error.strerror}."
                ) from error

    def _write(self, step: int, host: TrainState, validation_accuracy: float | None) -> None:
        """Writes a state beside its place, with hashes, and moves it there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in (*self._folder.glob("saving-*"), *self._folder.glob("deleting-*")):
            shutil.rmtree(left)  # by a run that was killed
        part = self._folder / f"saving-{step}"
        try:
            # Asked before Orbax meets it, which then complains from threads of its own.
            if shutil.disk_usage(self._folder).free < sum(x.nbytes for x in jax.tree.leaves(host)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            part.mkdir()
            self._orbax.save(part / _STATE, args=ocp.args.StandardSave(host))
            manifest = {
                "step": step,
                "validation_accuracy": validation_accuracy,
                "files": _hash_files(part),
                "leaves": _hash_leaves(host),
            }
            atomic.write_json(part / _MANIFEST, {"sha256": _hash_json(manifest), **manifest})
            os.rename(part, self._folder / str(step))
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        self._prune()

    def _prune(self) -> None:
        """Deletes all but the newest states and the best."""
        best = self.best()
        kept = {*self.steps()[-self._keep :], *([best.step] if best else [])}
        for step in set(self.steps()) - kept:
            leaving = self._folder / f"deleting-{step}"
            os.rename(self._folder / str(step), leaving)
            shutil.rmtree(leaving)

    def _read(self, step: int, like: TrainState) -> TrainState:
        """Reads one state and holds it against its hashes."""
        folder = self._folder / str(step)
        manifest = _read_manifest(folder)
        _compare(manifest["files"], _hash_files(folder), "file")
        blank = blank_host(like)
        try:
            host = self._orbax.restore(folder / _STATE, args=ocp.args.StandardRestore(blank))
            jax.tree.map(_check_alike, host, blank)
        except Exception as error:
            raise StorageError(
                f"the checkpoint of step {step} in {self._folder} is whole but does not fit: it "
                f"was written by another version of mcl_jax or of the method ({_reason(error)})."
            ) from error
        _compare(manifest["leaves"], _hash_leaves(host), "array")
        return typed(host, like)


class CheckpointsElsewhere(Checkpoints):
    """As `Checkpoints`, of a process that leaves them to another one: only helps to gather."""

    def __init__(self) -> None:
        """Opens no folder."""

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        pass

    def steps(self) -> list[int]:
        """None is here."""
        return []

    def best(self) -> None:
        """None is here."""

    def save(self, state: TrainState, validation_accuracy: float | None = None) -> None:
        """Gathers the state with the process that writes it."""
        del validation_accuracy
        _to_host(state)

    def wait(self) -> None:
        """Returns at once: nothing is written here."""

    def check(self) -> None:
        """Finds nothing amiss: nothing is written here."""

    def restore(self, like: TrainState, step: int | None = None) -> Restored:
        """Reads nothing."""
        del like, step
        return Restored(None, [])

    def set_aside_after(self, step: int) -> None:
        """Moves nothing."""


def _check_alike(leaf: np.ndarray, blank: np.ndarray) -> None:
    """Raises ValueError unless both have one shape and dtype: Orbax does not mind."""
    if (leaf.shape, leaf.dtype) != (blank.shape, blank.dtype):
        raise ValueError(
            f"an array has shape {leaf.shape} and dtype {leaf.dtype}, not {blank.shape} and "
            f"{blank.dtype}"
        )


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def plain(tree: Any) -> Any:
    """The tree with random keys as numbers."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def typed(tree: Any, like: Any) -> Any:
    """Undoes `plain`, for random keys of JAX's default implementation."""
    return jax.tree.map(
        lambda x, model: jax.random.wrap_key_data(x) if _is_key(model) else x, tree, like
    )


def blank_host(like: Any) -> Any:
    """NumPy arrays of any content, of the shapes and dtypes of `plain`."""
    return jax.tree.map(lambda x: np.empty(x.shape, x.dtype), jax.eval_shape(plain, like))


def _to_host(state: TrainState) -> TrainState:
    """A copy: on a CPU, arrays of the host may be the device's own memory."""
    return jax.tree.map(lambda x: np.array(x, copy=True), whole(plain(state)))


def _hash_files(folder: pathlib.Path) -> dict[str, str]:
    """sha256 of every file but the manifest, by its path in the folder."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != _MANIFEST:
            with path.open("rb") as file:
                hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _hash_leaves(host: Any) -> dict[str, str]:
    """sha256 of dtype, shape and bytes of every leaf, by its path in the tree."""

    def digest(leaf: np.ndarray) -> str:
        found = hashlib.sha256(f"{leaf.dtype} {leaf.shape} ".encode())
        found.update(np.ascontiguousarray(leaf).view(np.uint8).data)
        return found.hexdigest()

    return {path_name(p): digest(leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(host)}


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read_manifest(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of a checkpoint, if it is what was written."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        stated = manifest.pop("sha256")
    except FileNotFoundError:
        raise _DamagedError(f"the file {_MANIFEST} is missing") from None
    except (ValueError, KeyError, AttributeError, OSError):
        raise _DamagedError(f"the file {_MANIFEST} cannot be read") from None
    if stated != _hash_json(manifest):
        raise _DamagedError(f"the file {_MANIFEST} has other content than was written")
    return manifest


def _compare(written: dict[str, str], found: dict[str, str], what: str) -> None:
    """Raises _DamagedError with the first thing that is missing or is not what was written."""
    for name, digest in written.items():
        if name not in found:
            raise _DamagedError(f"the {what} {name} is missing")
        if found[name] != digest:
            raise _DamagedError(f"the {what} {name} has other content than was written")


def _reason(error: Exception) -> str:
    """What went wrong, without what only its library's authors need."""
    for said in ("No space left on device", "Read-only file system", "File too large"):
        if said in str(error):  # TensorStore puts it deep into a long text
            return said
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
