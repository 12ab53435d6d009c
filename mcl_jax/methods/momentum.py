"""Momentum networks: slow copies of the networks that are trained, which make keys."""

from typing import Any

import jax


def move(slow: Any, params: Any, momentum: float | jax.Array) -> Any:
    """Moves the parameters of momentum networks towards those that are trained.

    Computes ``momentum slow + (1 - momentum) stop(params)``, once a step, before its keys are made
    (He et al., arXiv 1911.05722). With equal parameters the result is them, to the last bit.

    Args:
        slow: parameters of the momentum networks, any tree.
        params: those of the networks that are trained, alike.
        momentum: from 0 to 1.

    Returns:
        A tree like ``slow``; no gradient flows into it.

    Example:
        >>> float(move(1.0, 2.0, 0.75))
        1.25
    """
    return jax.tree.map(
        lambda old, new: jax.lax.stop_gradient(old + (1 - momentum) * (new - old)), slow, params
    )
