import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from mcl_jax import losses

LABELS = np.array([3, 1, 3, 0])
KEY_LABELS = np.array([0, 3, 3, 7, 1])
MASKS = pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (losses.same_class, reference.same_class),
        (losses.not_self, reference.not_self),
    ],
    ids=["same_class", "not_self"],
)
Mask = Callable[..., jax.Array]


@MASKS
@pytest.mark.parametrize("key_labels", [None, KEY_LABELS])
def test_against_loops(
    ours: Mask, theirs: Callable[..., np.ndarray], key_labels: np.ndarray | None
) -> None:
    mask = jax.jit(ours)(LABELS, key_labels)
    assert mask.dtype == jnp.bool_
    np.testing.assert_array_equal(mask, theirs(LABELS, key_labels))


@MASKS
def test_a_set_of_keys_for_each_anchor(ours: Mask, theirs: Callable[..., np.ndarray]) -> None:
    sets = np.stack([np.roll(KEY_LABELS, i) for i in range(len(LABELS))])
    rows = [theirs(LABELS[i : i + 1], keys)[0] for i, keys in enumerate(sets)]
    np.testing.assert_array_equal(ours(LABELS, sets), rows)


def test_oneself_is_of_the_same_class_and_not_another() -> None:
    assert np.all(np.diag(losses.same_class(LABELS)))
    np.testing.assert_array_equal(losses.not_self(np.arange(4)), ~np.eye(4, dtype=bool))


@pytest.mark.parametrize(
    ("mask", "name"), [(losses.same_class, "labels"), (losses.not_self, "index")]
)
@pytest.mark.parametrize(
    ("shape", "key_shape", "message"),
    [
        ((2, 3), None, "{} must have axes [B], got shape (2, 3)."),
        ((3,), (), "key_{} must have axes [K] or [B, K], got shape ()."),
        ((3,), (2, 3), "key_{} must be [K] or [B, K] with B = 3, got shape (2, 3)."),
    ],
)
def test_refuses(
    mask: Mask, name: str, shape: tuple[int, ...], key_shape: tuple[int, ...] | None, message: str
) -> None:
    keys = None if key_shape is None else np.zeros(key_shape, int)
    with pytest.raises(ValueError, match=re.escape(message.format(name))):
        mask(np.zeros(shape, int), keys)


@pytest.mark.parametrize(
    ("mask", "name"), [(losses.same_class, "labels"), (losses.not_self, "index")]
)
def test_refuses_what_is_not_integer(mask: Mask, name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be integer, got float32"):
        mask(np.zeros(3, np.float32), np.zeros(3, int))
    with pytest.raises(TypeError, match=f"^key_{name} must be integer, got bool"):
        mask(np.zeros(3, int), np.zeros(3, bool))
