"""The other objectives give on many devices what they give on one, gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from reference import assert_close
from test_reduction import INPUTS, PARAMS, arguments, mapped, on_one_device

from mcl_jax import losses

ROWS = 40  # of a bank, of which the batch holds the first


def in_batch(params: jax.Array, batch: dict[str, jax.Array], axis_name: str | None) -> jax.Array:
    """What gathers its own keys."""
    views = losses.l2_normalize(jnp.einsum("bf,vfd->vbd", batch["x"], params))
    options = {"temperature": 0.2, "axis_name": axis_name}
    values = [
        losses.supcon(views, batch["labels"], **options),
        losses.supcon(views[:1], batch["labels"], form="in", **options),
        losses.nt_xent(views[0], views[1], **options),
    ]
    return sum(weight * value for weight, value in enumerate(values, start=1))


def with_keys(params: jax.Array, batch: dict[str, jax.Array], axis_name: str | None) -> jax.Array:
    """What is given its keys: a bank on every device, gathered views."""
    views = losses.l2_normalize(jnp.einsum("bf,vfd->vbd", batch["x"], params))
    bank = losses.l2_normalize(jnp.sin(jnp.arange(4.0 * ROWS)).reshape(ROWS, 4) * params[0, 0])
    logits = losses.cross_network_logits(views[:1], bank[None], 0.2)[0, 0]
    own = jnp.take_along_axis(logits, batch["index"][:, None], axis=1)[:, 0]
    partition = losses.update_partition(
        losses.init_partition(), 50 * logits, momentum=0.9, axis_name=axis_name
    )
    noise = losses.nce(50 * own, 50 * logits, losses.log_partition(partition, ROWS), ROWS)
    gathered, key_index = views, batch["index"]
    if axis_name is not None:
        gathered = lax.all_gather(views, axis_name, axis=1, tiled=True)
        key_index = lax.all_gather(key_index, axis_name, tiled=True)
    own_image = ~losses.not_self(batch["index"], key_index)
    options = {"temperature": 0.2, "axis_name": axis_name}
    return (
        losses.instance_discrimination(views[0], bank, batch["index"], **options)
        + 2 * losses.cmc(views, gathered, own_image, **options)
        + 3 * losses.reduction.anchor_mean(noise, jnp.ones(noise.shape, bool), axis_name)
    )


@pytest.mark.parametrize("mapper", ["check_vma", "no check_vma", "pmap"])
@pytest.mark.parametrize(
    ("objective", "devices"),
    [(in_batch, 1), (in_batch, 2), (in_batch, 4), (in_batch, 8), (with_keys, 4)],
)
def test_many_devices_are_one(objective, devices: int, mapper: str) -> None:
    with jax.enable_x64(True):
        values = mapped(objective, mapper, devices)(*arguments())
        assert_close(values, on_one_device(objective), 1e-6 if objective is with_keys else 1e-10)


def test_two_views_of_the_same_batch_differ() -> None:
    """Else the order in which views and devices are joined would not show."""
    views = np.einsum("bf,vfd->vbd", INPUTS, PARAMS)
    assert np.abs(views[0] - views[1]).max() > 1
