"""Neighbours in a bank: which rows they are, when they are found, and that it can be repeated."""

import types

import jax
import numpy as np
import pytest

from mcl_jax.methods.clusters import Clusters
from mcl_jax.methods.row_bank import RowBank

BANK = RowBank(2, 20, 64, 3, 0.5, split=None, anchors=None, data=None, cohort=None)


@pytest.mark.parametrize(("combine", "join"), [("union", np.any), ("intersection", np.all)])
def test_neighbours_share_a_cluster_in_their_networks_bank(combine, join):
    clusters = np.random.default_rng(0).integers(0, 3, (2, 2, 64))
    index = np.array([5, 0, 19])
    found = Clusters(BANK, 3, 2, combine, 0).neighbours(clusters, index)
    same = clusters[:, :, None] == clusters[:, :, index, None]
    assert np.array_equal(found, join(same, axis=1))


def test_clusters_begin_when_they_are_to_and_follow_key_and_step_alone():
    banks = np.random.default_rng(0).normal(size=(1, 64, 3)).repeat(2, axis=0)

    def found(step, seed=0, begins=6):
        state = types.SimpleNamespace(
            step=np.int32(step), key=jax.random.key(seed), extras={"bank": banks}
        )
        new = Clusters(BANK, 4, 3, "union", begins).refresh(state, None)
        return None if new is None else new["clusters"]

    assert found(5) is None
    first = found(6)
    assert first.shape == (2, 3, 64)
    assert (first[..., 20:] == -1).all()
    assert (first[..., :20] >= 0).all()
    assert np.array_equal(first[0], first[1])  # networks start alike
    assert np.array_equal(found(6), first)
    assert not np.array_equal(found(7), first)
    assert not np.array_equal(found(6, seed=1), first)
