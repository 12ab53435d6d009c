"""What is refused wherever it is given, in one sentence that names it."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import losses, memory, mutual_information, regions
from mcl_jax.losses import checks

Z = jnp.ones((2, 4, 3))
LABELS = jnp.arange(4)
BANK = memory.init_bank(jax.random.key(0), 2, 4, 3)


@pytest.mark.parametrize(
    "number", [-1, -1.0, np.float32(-1), np.float64(-1), np.array(-1.0), jnp.array(-1.0), np.nan]
)
def test_a_number_that_is_known_is_checked(number: float) -> None:
    with pytest.raises(ValueError, match=r"temperature must be above 0, got (-1|nan)"):
        losses.cross_network_logits(Z, Z, number)
    with pytest.raises(ValueError, match=r"momentum must be a scalar from 0 to 1, got (-1|nan)"):
        memory.update_bank(BANK, LABELS, Z, number)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match=re.escape("temperature must be a number, got '0.1'.")):
        losses.cross_network_logits(Z, Z, "0.1")
    with pytest.raises(ValueError, match=re.escape("temperature must be a scalar, got shape (1,)")):
        losses.cross_network_logits(Z, Z, np.ones(1))


def test_a_traced_number_is_not_known() -> None:
    seen = []
    jax.jit(lambda x: seen.append(checks.number(x, "x")))(1.0)
    assert seen == [False]
    assert checks.number(1.0, "x")


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.mcl_terms(Z, Z, own_keys=Z, temperature=0.1, axis_name="rows"),
        lambda: losses.supcon(Z, LABELS, temperature=0.1, axis_name="rows"),
        lambda: losses.nt_xent(Z[0], Z[1], temperature=0.1, axis_name="rows"),
        lambda: losses.update_partition(losses.init_partition(), Z, axis_name="rows"),
        lambda: memory.enqueue(memory.Queue(Z, jnp.int32(0)), Z, axis_name="rows"),
        lambda: memory.update_bank(BANK, LABELS, Z, 0.5, axis_name="rows"),
        lambda: memory.read_rows(BANK, LABELS, axis_name="rows"),
        lambda: mutual_information.pairwise_bounds(Z, Z, temperature=0.1, axis_name="rows"),
        lambda: regions.score_bounds(Z, Z, 0.5, keys_axis_name="rows"),
    ],
)
def test_an_axis_that_is_not_mapped_is_refused(call: Callable[[], object]) -> None:
    sentence = "axis_name must be an axis that the function is mapped over, got 'rows'."
    with pytest.raises(ValueError, match=re.escape(sentence)):
        call()
