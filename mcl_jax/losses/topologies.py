"""Who learns from whom: weights of pairs of networks."""

import jax
import jax.numpy as jnp

TOPOLOGIES = ("all", "ring", "teacher")


def topology(name: str, networks: int, *, teacher: int = 0) -> jax.Array:
    """Pair weights of a named topology, for ``pair_weights`` of `mcl_terms` and its parts.

    Entry [a, b] weighs what network a learns from network b; the diagonal, what it learns from
    itself, is 1 throughout.

    * ``"all"``: every network from every other (the papers').
    * ``"ring"``: network a from network a + 1 alone, the last one from the first.
    * ``"teacher"``: every network from ``teacher`` alone, which has only the terms of its own.

    Weights choose terms, not gradients: keys are not stopped, so the terms of [a, b] in ICL and
    soft ICL move network b too, the teacher among them. Stop the gradient of its embeddings, or
    freeze it, for one that stands still.

    Args:
        name: one of the three.
        networks: M.
        teacher: the network that teaches, 0 to M - 1; only for ``"teacher"``.

    Returns:
        [M, M], float32, of 0 and 1.

    Raises:
        ValueError: the name is unknown, ``networks`` is below 1, or there is no such teacher.

    Example:
        >>> topology("ring", 3).astype(int).tolist()
        [[1, 1, 0], [0, 1, 1], [1, 0, 1]]
        >>> topology("teacher", 3, teacher=2).astype(int).tolist()
        [[1, 0, 1], [0, 1, 1], [0, 0, 1]]
    """
    if name not in TOPOLOGIES:
        raise ValueError(f"name must be one of {', '.join(TOPOLOGIES)}, got {name!r}.")
    if networks < 1:
        raise ValueError(f"networks must be at least 1, got {networks}.")
    if not 0 <= teacher < networks:
        raise ValueError(f"teacher must be from 0 to {networks - 1}, got {teacher}.")
    own = jnp.eye(networks, dtype=jnp.float32)
    if name == "all":
        return jnp.ones_like(own)
    if name == "ring":
        return jnp.maximum(own, jnp.roll(own, 1, axis=1))
    return own.at[:, teacher].set(1.0)
