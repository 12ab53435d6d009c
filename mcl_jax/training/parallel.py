"""One step over many devices: `shard_map` on a mesh ("cohort", "data"), or `pmap`."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.training.state import TrainState
from mcl_jax.training.step import Step

MAPPERS = ("shard_map", "pmap")

_WHOLE = PartitionSpec()
_SPLIT = PartitionSpec("data")


@dataclasses.dataclass(frozen=True)
class Mapper:
    """Spreads a step over devices: anchors are split over some, networks over others.

    Devices stand in the mesh row by row, ("cohort", "data"): in a run of several processes the
    cohort axis is the one that crosses hosts first, for it carries the least.

    Attributes:
        name: ``"shard_map"`` or ``"pmap"``.
        devices: the devices, of all processes.
        cohort: how many parts the networks are split into.
    """

    name: str
    devices: tuple[jax.Device, ...]
    cohort: int = 1

    @property
    def data_devices(self) -> int:
        """How many parts a batch is split into."""
        return len(self.devices) // self.cohort

    @property
    def local_devices(self) -> tuple[jax.Device, ...]:
        """Those of this process."""
        return tuple(x for x in self.devices if x.process_index == jax.process_index())

    @property
    def axes(self) -> Axes:
        """Names of the axes that a mapped step runs under."""
        return Axes(data="data", cohort="cohort" if self.cohort > 1 else None)

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The devices as ("cohort", "data"); as ("data",) for pmap."""
        devices = np.array(self.devices)
        if self.name == "pmap":
            # As pmap lays its results out: any other layout would be compiled for again.
            return Mesh(devices, ("data",))
        return Mesh(devices.reshape(self.cohort, -1), ("cohort", "data"))

    def shardings(self, layout: Any) -> Any:
        """A tree of PartitionSpecs as shardings of this mesh."""
        return jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), layout, is_leaf=_is_spec)

    def replicate(self, tree: Any) -> Any:
        """Puts every leaf whole on every device."""
        return self.place(tree, _WHOLE)

    def split(self, tree: Any) -> Any:
        """Splits every leaf, the same in all processes, over the data axis along its first axis."""
        return self.place(tree, _SPLIT)

    def place(self, tree: Any, layout: Any) -> Any:
        """Puts a tree, the same in all processes, on the devices.

        Args:
            tree: arrays of this process, or NumPy's.
            layout: a PartitionSpec for each leaf, or a tree prefix of them.
        """
        shardings = self.shardings(layout)
        if jax.process_count() == 1:
            return jax.device_put(tree, shardings)
        return jax.tree.map(
            lambda sharding, leaves: jax.tree.map(lambda x: _everywhere(x, sharding), leaves),
            shardings,
            tree,
            is_leaf=lambda x: isinstance(x, NamedSharding),
        )

    def local_rows(self, batch_size: int) -> range:
        """The rows of a batch that lie on devices of this process, as they lie in the batch."""
        each, here = batch_size // self.data_devices, self.columns()[jax.process_index()]
        return range(min(here) * each, (max(here) + 1) * each)

    def columns(self) -> dict[int, set[int]]:
        """For each process, which of the parts of a batch lie on its devices."""
        held: dict[int, set[int]] = {}
        for place, device in enumerate(self.devices):
            held.setdefault(device.process_index, set()).add(place % self.data_devices)
        return held

    def split_local(self, tree: Any) -> Any:
        """Splits leaves that hold the `local_rows` of a batch in each process."""
        sharding = NamedSharding(self.mesh, _SPLIT)
        if jax.process_count() == 1:
            return jax.device_put(tree, sharding)
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
        )

    def map(
        self,
        step: Step,
        layout: TrainState,
        *,
        data_is_split: bool,
        results: Any = _WHOLE,
        keep_order: bool = False,
    ) -> Callable[..., Any]:
        """Compiles (state, data) to (state, results) for all devices; the state is donated.

        Args:
            step: the program of one device, under `axes`.
            layout: how the state lies over the mesh.
            data_is_split: whether ``data`` holds a batch to be split, or is whole on each device.
            results: how the results lie, whole on each device if not given.
            keep_order: whether what the step does late to save memory stays late. On a CPU, XLA
                would otherwise do it early.

        Raises:
            ConfigError: `pmap` is asked to split the state, which it cannot.
        """
        data_spec = _SPLIT if data_is_split else _WHOLE
        if self.name == "shard_map":
            mapped = jax.shard_map(
                step, mesh=self.mesh, in_specs=(layout, data_spec), out_specs=(layout, results)
            )
            late = keep_order and self.devices[0].platform == "cpu"
            options = {"xla_disable_hlo_passes": "cse_barrier_expander"} if late else None
            return jax.jit(mapped, donate_argnums=0, compiler_options=options)
        if any(spec != _WHOLE for spec in jax.tree.leaves(layout, is_leaf=_is_spec)):
            raise ConfigError(
                "parallel.mapper pmap keeps the state whole on each device; this method splits it."
            )
        return _ByPmap(step, self.devices, data_is_split)

    def predictor(
        self, predict: Callable[..., Any], layout: TrainState
    ) -> Callable[[TrainState, np.ndarray], Any]:
        """Compiles (state, images [B, H, W, c]) to outputs [M, B, ...], whole on every device.

        Args:
            predict: (params, extras, images) to the outputs of this device's networks and images.
            layout: how the state lies over the mesh.
        """
        mapped = jax.shard_map(
            predict,
            mesh=self.mesh,
            in_specs=(layout.params, layout.extras, _SPLIT),
            out_specs=PartitionSpec(self.axes.cohort, "data"),
        )
        compiled = jax.jit(mapped, out_shardings=NamedSharding(self.mesh, _WHOLE))
        return lambda state, images: compiled(state.params, state.extras, self.split(images))


def _is_spec(x: Any) -> bool:
    return isinstance(x, PartitionSpec)


def _everywhere(x: Any, sharding: NamedSharding) -> jax.Array:
    """An array that every process has, as one over the devices of all."""
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        data = _everywhere(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


class _ByPmap:
    """As `Mapper.map`, by `jax.pmap`: called and lowered as what `jax.jit` returns."""

    def __init__(self, step: Step, devices: Sequence[jax.Device], data_is_split: bool) -> None:
        self._count, self._data_is_split = len(devices), data_is_split
        self._mapped = jax.pmap(
            # pmap wants an argument that is split, even where all data are whole.
            lambda state, data, device: step(state, data),
            axis_name="data",
            in_axes=(None, 0 if data_is_split else None, 0),
            out_axes=None,
            devices=devices,
            donate_argnums=0,
        )

    def __call__(self, state: TrainState, data: Any) -> Any:
        return self._mapped(state, self._shape(data), np.arange(self._count))

    def lower(self, state: TrainState, data: Any) -> Any:
        """The program for these shapes, not compiled yet."""
        return self._mapped.lower(state, self._shape(data), np.arange(self._count))

    def _shape(self, data: Any) -> Any:
        """The data with an axis of devices in front, where they are split."""
        if not self._data_is_split:
            return data
        return jax.tree.map(lambda x: x.reshape(self._count, -1, *x.shape[1:]), data)


def create(name: str, count: int, platform: str = "", cohort: int = 1) -> Mapper:
    """Chooses devices.

    Args:
        name: ``"shard_map"`` or ``"pmap"``.
        count: how many of the devices there are, or 0 for all.
        platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``; empty is what JAX prefers.
        cohort: how many of them the networks are split over.

    Raises:
        ConfigError: the name is unknown, there are no such or not so many devices, or they cannot
            be divided so.
    """
    if name not in MAPPERS:
        raise ConfigError(f"parallel.mapper must be one of {', '.join(MAPPERS)}, got {name!r}.")
    found = _devices(platform)
    if not 0 <= count <= len(found):
        raise ConfigError(
            f"parallel.devices must be from 0 (all) to {len(found)}, the number of "
            f"{found[0].platform} devices, got {count}."
        )
    if count and jax.process_count() > 1 and count < len(found):
        raise ConfigError(
            f"parallel.devices must be 0 or {len(found)}, all devices of the "
            f"{jax.process_count()} processes, got {count}."
        )
    in_order = sorted(found, key=lambda device: (device.process_index, device.id))
    devices = tuple(in_order[: count or len(found)])
    if len(devices) % cohort:
        raise ConfigError(
            f"parallel.cohort_devices must divide the number of devices, {len(devices)}, got "
            f"{cohort}."
        )
    if cohort > 1 and name == "pmap":
        raise ConfigError(
            f"parallel.cohort_devices above 1 wants parallel.mapper shard_map, got {cohort} with "
            f"pmap."
        )
    mapper = Mapper(name, devices, cohort)
    _check_columns(mapper)
    return mapper


def _check_columns(mapper: Mapper) -> None:
    """Processes must have either the same rows of a batch or none in common."""
    held = mapper.columns()
    for one in held.values():
        for other in held.values():
            if (one != other and one & other) or max(one) - min(one) >= len(one):
                raise ConfigError(
                    f"parallel.cohort_devices must divide or be a multiple of the number of "
                    f"processes, {len(held)}, got {mapper.cohort}: their parts of a batch would "
                    f"overlap."
                )


_INSTALL = {
    "gpu": "pip install 'jax[cuda13]' makes NVIDIA's visible",
    "tpu": "pip install 'jax[tpu]' makes them visible on a TPU machine",
    "cpu": "JAX_PLATFORMS in the environment may leave it out",
}


def _devices(platform: str) -> list[jax.Device]:
    """The devices of a platform, or a sentence on why there are none."""
    try:
        preferred = jax.devices()
    except (
        RuntimeError,
        AssertionError,
    ) as error:  # the latter where CUDA is wanted of a CPU's JAX
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise ConfigError(
            f"JAX finds no device with JAX_PLATFORMS={wanted} in the environment; without it JAX "
            f"takes what there is."
        ) from error
    if platform in ("", preferred[0].platform):
        return preferred
    try:
        found = jax.devices(platform)
    except RuntimeError as error:
        raise ConfigError(
            f"parallel.platform {platform} is not there: JAX sees only {preferred[0].platform}; "
            f"{_INSTALL[platform]}."
        ) from error
    # What is computed before data are placed belongs there too.
    here = next(device for device in found if device.process_index == jax.process_index())
    jax.config.update("jax_default_device", here)
    return found
