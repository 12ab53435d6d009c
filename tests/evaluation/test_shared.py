"""What a run's two views share, as a part of its evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.data import DataError, Split
from mcl_jax.evaluation.shared import shared_information
from mcl_jax.meter import Settings


def split(rows, seed):
    """Images of one tone each."""
    tones = np.random.default_rng(seed).integers(0, 256, (rows, 1, 1, 1), np.uint8)
    images = np.broadcast_to(tones, (rows, 8, 8, 1)).copy()
    return Split(np.zeros(rows, np.int32), images=images)


def tones(keys, images):
    """Views that share the tone alone."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (2, 8, 8, 1)))(keys)
    pixels = (images.astype(jnp.float32) - 128) / 74
    return pixels + 0.3 * noise[:, 0], pixels + 0.3 * noise[:, 1]


def test_views_and_colours_are_read_with_as_many_candidates_as_there_are_rows():
    settings = Settings(steps=40, batch_size=500, candidates=500, draws=1, width=4)
    found = shared_information(tones, split(120, 0), split(60, 1), seed=0, settings=settings)
    assert {found[x]["batch_size"] for x in ("views", "colours")} == {120}
    assert {found[x]["candidates"] for x in ("views", "colours")} == {60}
    assert 0.5 < found["views"]["bound"] <= found["views"]["most"]
    assert found["views"]["words"].startswith(f"InfoNCE {found['views']['bound']:.2f} nats")
    # All that these views share is a tone.
    assert found["shortcut"] == (
        f"views share {found['views']['bound']:.2f} nats, and colours alone tell "
        f"{found['colours']['bound']:.2f}: a shortcut."
    )


def test_a_single_row_shares_nothing():
    with pytest.raises(DataError, match=r"^what views share wants 2 test rows or more, got 1\.$"):
        shared_information(tones, split(9, 0), split(1, 1), seed=0)
