"""Steps with a queue or a bank that lies split over the devices are those of one device."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from mcl_jax import losses, memory
from mcl_jax.axes import gather

AXIS = "data"
M, B, F, D, ROWS = 2, 8, 5, 4, 24
STEPS, RATE = 3, 0.3
FAST_TO_COMPILE: Any = {"xla_backend_optimization_level": 0}  # what is run once
LABELS = np.random.default_rng(0).integers(0, 3, ROWS)


class State(NamedTuple):
    params: jax.Array
    queue: memory.Queue
    bank: jax.Array


def embed(params: jax.Array, x: jax.Array) -> jax.Array:
    return losses.l2_normalize(jnp.einsum("bf,mfd->mbd", x, params))


def loss(
    params: jax.Array, state: State, x: jax.Array, index: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """MoCo's form with the queue, and the whole bank with the rows of a class positive."""
    queries = gather(embed(params, x), axis_name, axis=1)
    index, held = gather(index, axis_name), state.bank.shape[1]
    rows = jnp.arange(held) + (0 if axis_name is None else lax.axis_index(axis_name) * held)
    other = losses.not_self(index, rows)
    positives = losses.same_class(jnp.asarray(LABELS)[index], jnp.asarray(LABELS)[rows]) & other
    options = {"temperature": 0.2, "chunk_size": 2, "keys_axis_name": axis_name}
    own = lax.stop_gradient(queries)[..., ::-1]
    queue = losses.mcl_terms(queries, state.queue.keys, own_keys=own, **options)
    bank = losses.mcl_terms(queries, state.bank, positives, other, **options)
    return sum(queue) + sum(bank), queries


def step(state: State, x: jax.Array, index: jax.Array, axis_name: str | None) -> Any:
    f = jax.value_and_grad(loss, has_aux=True)
    (value, queries), gradient = f(state.params, state, x, index, axis_name)
    if axis_name is not None:
        gradient = lax.pmean(gradient, axis_name)
    moved = State(
        state.params - RATE * gradient,
        memory.enqueue(state.queue, queries, axis_name=axis_name),
        memory.update_bank(state.bank, gather(index, axis_name), queries, 0.5, axis_name=axis_name),
    )
    return moved, value


def steps(state: State, x: jax.Array, index: jax.Array, axis_name: str | None) -> Any:
    return lax.scan(lambda state, given: step(state, *given, axis_name), state, (x, index))


@functools.cache
def on_one_device() -> Any:
    """The state at first, images and rows of the steps, and what one device makes of them."""
    rng, key = np.random.default_rng(1), jax.random.key(0)
    state = State(
        jnp.asarray(rng.normal(size=(M, F, D)), jnp.float32),
        memory.init_queue(key, M, ROWS, D),
        memory.init_bank(key, M, ROWS, D),
    )
    x = rng.normal(size=(STEPS, B, F)).astype(np.float32)
    index = np.stack([rng.permutation(ROWS)[:B] for _ in range(STEPS)]).astype(np.int32)
    alone = jax.jit(lambda *args: steps(*args, None), compiler_options=FAST_TO_COMPILE)
    return (state, x, index), alone(state, x, index)


@pytest.mark.parametrize(
    ("devices", "check"), [(1, True), (2, True), (4, True), (8, True), (8, False)]
)
def test_queue_and_bank_over_devices(devices: int, check: bool) -> None:
    args, expected = on_one_device()
    split = State(P(), memory.Queue(P(None, AXIS), P()), P(None, AXIS))
    mapped = jax.shard_map(
        lambda *args: steps(*args, AXIS),
        mesh=Mesh(np.array(jax.devices()[:devices]), (AXIS,)),
        in_specs=(split, P(None, AXIS), P(None, AXIS)),
        out_specs=(split, P()),
        check_vma=check,
    )
    found = jax.jit(mapped, compiler_options=FAST_TO_COMPILE)(*args)
    for actual, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=2e-6)
    assert found[0].bank.addressable_shards[0].data.shape == (M, ROWS // devices, D)
