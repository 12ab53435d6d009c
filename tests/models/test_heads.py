"""The projection head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mcl_jax.models import ProjectionHead


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_embeddings_are_unit_vectors(dtype):
    head, features = (
        ProjectionHead(dim=16, dtype=dtype),
        jax.random.normal(jax.random.key(1), (5, 8)),
    )
    out = head.apply(head.init(jax.random.key(0), features), features)
    assert out.shape == (5, 16)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(jnp.linalg.norm(out, axis=-1), 1, rtol=1e-6)


def test_structure_is_two_layers_with_a_relu():
    head, features = ProjectionHead(dim=16), jax.random.normal(jax.random.key(1), (5, 8))
    variables = head.init(jax.random.key(0), features)
    first, second = variables["params"]["linear1"], variables["params"]["linear2"]
    hidden = np.maximum(features @ first["kernel"] + first["bias"], 0)
    out = hidden @ second["kernel"] + second["bias"]
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    np.testing.assert_allclose(head.apply(variables, features), out, rtol=1e-5, atol=1e-6)
    assert first["kernel"].shape == (8, 16)
    assert 0.8 * 8**-0.5 < np.abs(first["bias"]).max() <= 8**-0.5
    assert 0.8 * 16**-0.5 < np.abs(second["bias"]).max() <= 16**-0.5
