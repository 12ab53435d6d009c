"""Share of right answers."""

import numpy as np


def accuracy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of rows whose largest logit is the label's.

    Args:
        logits: [..., N, C].
        labels: [N], integer.

    Returns:
        [...], fractions.

    Raises:
        ValueError: there is not one label a row.

    Example:
        >>> import numpy as np
        >>> float(accuracy(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])))
        0.5
    """
    if np.shape(labels) != np.shape(logits)[-2:-1]:
        raise ValueError(
            f"logits must be [..., N, C] and labels [N], got shapes {np.shape(logits)} and "
            f"{np.shape(labels)}."
        )
    return np.mean(np.argmax(logits, axis=-1) == labels, axis=-1)
