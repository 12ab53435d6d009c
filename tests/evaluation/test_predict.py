"""A split in batches is the split in one piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.cohort import Output
from mcl_jax.data import Split
from mcl_jax.evaluation import predict_split


def split(rows: int) -> Split:
    images = np.random.default_rng(0).integers(0, 256, (rows, 2, 3, 1), np.uint8)
    return Split(np.zeros(rows, np.int32), images=images)


def outputs(images: jax.Array) -> Output:
    """Three networks in two groups, each answer a function of its row alone."""
    pixels = images.reshape(len(images), -1).astype(jnp.float32)
    networks = jnp.stack([pixels, pixels + 1, 2 * pixels])
    return Output((networks[:2, :, :4], networks[2:]), networks[..., :2], networks[..., 1:])


class Counted:
    """A jitted predictor that counts its calls and the shapes that it is compiled for."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.calls = 0
        self._jitted = jax.jit(self._trace)

    def _trace(self, images: jax.Array) -> Output:
        self.shapes.append(images.shape)
        return outputs(images)

    def __call__(self, images: np.ndarray) -> Output:
        assert images.dtype == np.uint8
        self.calls += 1
        return self._jitted(images)


@pytest.mark.parametrize(("rows", "batch_size"), [(10, 4), (8, 4), (3, 4), (1, 5), (7, 1), (7, 7)])
def test_batches_of_one_shape_give_what_one_batch_gives(rows, batch_size):
    predict = Counted()
    output = predict_split(predict, split(rows), batch_size)
    assert predict.shapes == [(batch_size, 2, 3, 1)]
    assert predict.calls == -(-rows // batch_size)
    expected = outputs(jnp.asarray(split(rows).images))
    assert jax.tree.structure(output) == jax.tree.structure(expected)
    for found, whole in zip(jax.tree.leaves(output), jax.tree.leaves(expected), strict=True):
        assert isinstance(found, np.ndarray)
        np.testing.assert_array_equal(found, whole)


def test_every_row_is_loaded_once_and_in_order():
    asked = []

    def load(held: Split, rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        return 255 - np.stack([held.image(row) for row in rows])

    held = split(10)
    output = predict_split(outputs, held, 4, load)
    assert asked == list(range(10))
    expected = outputs(255 - held.images).embeddings
    np.testing.assert_array_equal(output.embeddings, expected)


def test_a_streamed_split_gives_what_a_resident_one_gives():
    held = split(5)
    streamed = Split(held.labels, rows=held.images)
    assert streamed.streams
    found, expected = (predict_split(outputs, x, 2) for x in (streamed, held))
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_an_empty_split_is_an_error():
    with pytest.raises(ValueError, match=r"split must have at least one row, got none\."):
        predict_split(outputs, split(0), 4)
