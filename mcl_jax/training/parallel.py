"""One step over many devices: `shard_map` on a mesh ("cohort", "data"), or `pmap`."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mcl_jax.axes import Axes
from mcl_jax.config import ConfigError
from mcl_jax.methods import Specs
from mcl_jax.training.state import TrainState
from mcl_jax.training.step import Step

MAPPERS = ("shard_map", "pmap")

_WHOLE = PartitionSpec()
_SPLIT = PartitionSpec("data")


@dataclasses.dataclass(frozen=True)
class Mapper:
    """Spreads a step over devices; state is whole on each, anchors are split.

    Attributes:
        name: ``"shard_map"`` or ``"pmap"``.
        devices: the devices, all on the data axis.
    """

    name: str
    devices: tuple[jax.Device, ...]

    @property
    def axes(self) -> Axes:
        """Names of the axes that a mapped step runs under."""
        return Axes(data="data")

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The devices as ("cohort", "data"), the cohort axis being 1; as ("data",) for pmap."""
        devices = np.array(self.devices)
        if self.name == "pmap":
            # As pmap lays its results out: any other layout would be compiled for again.
            return Mesh(devices, ("data",))
        return Mesh(devices.reshape(1, -1), ("cohort", "data"))

    def replicate(self, tree: Any) -> Any:
        """Puts every leaf whole on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, _WHOLE))

    def place(self, state: TrainState, specs: Specs) -> TrainState:
        """Puts a state on the devices: extras as ``specs`` says, the rest whole."""
        layout = jax.tree.map(
            lambda spec: NamedSharding(self.mesh, spec),
            specs.extras,
            is_leaf=lambda x: isinstance(x, PartitionSpec),
        )
        whole = self.replicate(state._replace(extras=None))
        return whole._replace(extras=jax.device_put(state.extras, layout))

    def split(self, tree: Any) -> Any:
        """Splits every leaf over the devices along its first axis."""
        return jax.device_put(tree, NamedSharding(self.mesh, _SPLIT))

    def map(self, step: Step, specs: Specs, *, data_is_split: bool) -> Callable[..., Any]:
        """Compiles (state, data) to (state, metrics) for all devices; the state is donated.

        Args:
            step: the program of one device, under `axes`.
            specs: how the method's extras lie over the mesh.
            data_is_split: whether ``data`` holds a batch to be split, or is whole on each device.

        Raises:
            ConfigError: `pmap` is asked to split the state, which it cannot.
        """
        data_spec = _SPLIT if data_is_split else _WHOLE
        if self.name == "shard_map":
            whole: dict[str, Any] = dict.fromkeys(TrainState._fields, _WHOLE)
            state_spec = TrainState(**whole | {"extras": specs.extras})
            mapped = jax.shard_map(
                step,
                mesh=self.mesh,
                in_specs=(state_spec, data_spec),
                out_specs=(state_spec, _WHOLE),
            )
            return jax.jit(mapped, donate_argnums=0)
        if specs != Specs():
            raise ConfigError(
                "parallel.mapper pmap keeps the state whole on each device; this method splits it."
            )
        return _ByPmap(step, self.devices, data_is_split)


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


def create(name: str, count: int, platform: str = "") -> Mapper:
    """Chooses devices.

    Args:
        name: ``"shard_map"`` or ``"pmap"``.
        count: how many of the devices there are, or 0 for all.
        platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``; empty is what JAX prefers.

    Raises:
        ConfigError: the name is unknown, or there are no such or not so many devices.
    """
    if name not in MAPPERS:
        raise ConfigError(f"parallel.mapper must be one of {', '.join(MAPPERS)}, got {name!r}.")
    found = _devices(platform)
    if not 0 <= count <= len(found):
        raise ConfigError(
            f"parallel.devices must be from 0 (all) to {len(found)}, the number of "
            f"{found[0].platform} devices, got {count}."
        )
    return Mapper(name, tuple(found[: count or len(found)]))


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
    jax.config.update("jax_default_device", found[0])
    return found
