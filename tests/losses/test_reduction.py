"""Anchors split over devices give what one device gives."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from reference import FAST_TO_COMPILE, assert_close

from mcl_jax import losses

M, B, F, D = 2, 16, 5, 4
AXIS = "data"
Objective = Callable[[jax.Array, dict[str, jax.Array], str | None], jax.Array]
# Five anchors have a positive: of eight devices some hold two of them, some one and some none.
LABELS = np.array([0, 0, 1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 11, 12])
RNG = np.random.default_rng(0)
INPUTS, PARAMS = RNG.normal(size=(B, F)), RNG.normal(size=(M, F, D))


def objective(params: jax.Array, batch: dict[str, jax.Array], axis_name: str | None) -> jax.Array:
    """Every term that reduces over anchors, keys and positives being in the batch."""
    outputs = jnp.einsum("bf,mfd->mbd", batch["x"], params)
    z = losses.l2_normalize(outputs)
    keys, key_index, key_labels = z, batch["index"], batch["labels"]
    if axis_name is not None:
        keys = lax.all_gather(z, axis_name, axis=1, tiled=True)
        key_index = lax.all_gather(key_index, axis_name, tiled=True)
        key_labels = lax.all_gather(key_labels, axis_name, tiled=True)
    other = losses.not_self(batch["index"], key_index)
    positives = losses.same_class(batch["labels"], key_labels) & other
    values = [
        *losses.mcl_terms(z, keys, positives, other, temperature=0.2, axis_name=axis_name),
        losses.logit_distillation(outputs, axis_name=axis_name),
        losses.deep_mutual(outputs, axis_name=axis_name),
    ]
    return sum(weight * value for weight, value in enumerate(values, start=1))


def queue_objective(
    params: jax.Array, batch: dict[str, jax.Array], axis_name: str | None
) -> jax.Array:
    """Own keys split as the anchors are, others on every device."""
    z = losses.l2_normalize(jnp.einsum("bf,mfd->mbd", batch["x"], params))
    queue = losses.l2_normalize(params)
    terms = losses.mcl_terms(z, queue, own_keys=z[:, :, ::-1], temperature=0.2, axis_name=axis_name)
    return sum(weight * value for weight, value in enumerate(terms, start=1))


def step(
    params: jax.Array, batch: dict[str, jax.Array], objective: Objective, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    value, gradient = jax.value_and_grad(objective)(params, batch, axis_name)
    return value, gradient if axis_name is None else lax.pmean(gradient, axis_name)


def mapped(objective: Objective, mapper: str, devices: int) -> Any:
    local = functools.partial(step, objective=objective, axis_name=AXIS)
    if mapper == "pmap":

        def call(params: jax.Array, batch: dict[str, jax.Array]) -> Any:
            f = jax.pmap(local, AXIS, in_axes=(None, 0), devices=jax.devices()[:devices])
            split = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)
            return jax.tree.map(lambda x: x[0], f(params, split))

        return call
    return jax.jit(
        jax.shard_map(
            local,
            mesh=Mesh(np.array(jax.devices()[:devices]), (AXIS,)),
            in_specs=(P(), P(AXIS)),
            out_specs=P(),
            check_vma=mapper == "check_vma",
        ),
        compiler_options=FAST_TO_COMPILE,
    )


@functools.cache
def on_one_device(objective: Objective) -> Any:
    plain = functools.partial(step, objective=objective, axis_name=None)
    return jax.tree.map(np.asarray, jax.jit(plain)(*arguments()))


def arguments() -> Any:
    batch = {"x": INPUTS, "labels": LABELS, "index": np.arange(B)}
    return jax.tree.map(jnp.asarray, (PARAMS, batch))


@pytest.mark.parametrize("mapper", ["check_vma", "no check_vma", "pmap"])
@pytest.mark.parametrize(
    ("objective", "devices"),
    [(objective, 1), (objective, 2), (objective, 4), (objective, 8), (queue_objective, 4)],
)
def test_many_devices_are_one(objective: Objective, devices: int, mapper: str) -> None:
    with jax.enable_x64(True):
        values = mapped(objective, mapper, devices)(*arguments())
        assert_close(values, on_one_device(objective), 1e-10)


def test_the_devices_hold_unequal_numbers_of_anchors_that_count() -> None:
    """Else a mean of local means would pass for the mean."""
    sizes = np.array([np.sum(label == LABELS) for label in LABELS])
    for devices in (2, 4, 8):
        assert len(set(np.sum((sizes > 1).reshape(devices, -1), axis=1))) > 1
