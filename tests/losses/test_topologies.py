"""Who learns from whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax import losses


def test_all_is_no_weights_at_all():
    z = losses.l2_normalize(jax.random.normal(jax.random.key(0), (3, 6, 4)))
    positives = losses.same_class(jnp.arange(6) // 2)

    @jax.jit
    def both(z):
        return [
            losses.mcl_terms(z, z, positives, temperature=0.5, pair_weights=weights)
            for weights in (losses.topology("all", 3), None)
        ]

    weighed, plain = both(z)
    np.testing.assert_allclose(weighed, plain, rtol=1e-6)


@pytest.mark.parametrize("networks", [1, 2, 5])
def test_in_a_ring_each_learns_from_the_next(networks):
    found = np.asarray(losses.topology("ring", networks))
    for a in range(networks):
        others = {b for b in range(networks) if found[a, b] and b != a}
        assert others == {(a + 1) % networks} - {a}
        assert found[a, a] == 1


def test_the_teacher_teaches_and_learns_from_none():
    found = np.asarray(losses.topology("teacher", 4, teacher=2))
    assert found.sum(axis=1).tolist() == [2, 2, 1, 2]
    assert found[:, 2].tolist() == [1, 1, 1, 1]


def test_weights_choose_terms_and_not_gradients():
    """Keys are not stopped: with no terms of its own, the teacher is moved by its pupils'."""
    z = losses.l2_normalize(jax.random.normal(jax.random.key(0), (2, 6, 4)))
    positives = losses.same_class(jnp.arange(6) // 2)
    weights = losses.topology("teacher", 2, teacher=1)

    @jax.jit
    @jax.jacrev
    def gradients(z):
        return losses.mcl_terms(z, z, positives, temperature=0.5, pair_weights=weights)

    moved = jax.tree.map(lambda x: float(abs(x[1]).max()), jax.device_get(gradients(z)))
    assert moved.icl > 0.01
    assert moved.soft_icl > 0.001
    assert moved.soft_vcl == 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("star", 2), {}, r"name must be one of all, ring, teacher, got 'star'\."),
        (("all", 0), {}, r"networks must be at least 1, got 0\."),
        (("teacher", 2), {"teacher": 2}, r"teacher must be from 0 to 1, got 2\."),
    ],
)
def test_topologies_that_are_not_there(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        losses.topology(*arguments, **options)
