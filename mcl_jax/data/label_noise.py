"""Wrong labels on purpose, for studies of what they do to learning."""

import numpy as np

from mcl_jax.data.dataset import DataError

_STREAM = 1  # what is drawn here does not follow what the cuts of rows drew from the same seed


def check_share(share: object) -> float:
    """Returns ``share`` if it is a number from 0 to below 1.

    Raises:
        DataError: it is anything else.
    """
    number = isinstance(share, int | float | np.number) and not isinstance(share, bool)
    if not number or not 0 <= share < 1:  # type: ignore[operator]
        raise DataError(f"label_noise must be a share from 0 to below 1, got {share!r}.")
    return float(share)  # type: ignore[arg-type]


def symmetric(labels: np.ndarray, share: float, *, num_classes: int, seed: int) -> np.ndarray:
    """Replaces a share of labels by another class, each of the others being as likely.

    Exactly ``round(share * N)`` labels become wrong. A smaller share of the same seed is a part
    of a larger one, and gives the same wrong labels.

    Args:
        labels: int32 [N].
        share: from 0 to below 1.
        num_classes: C, at least 2.
        seed: decides which rows, and what they become.

    Returns:
        int32 [N].

    Raises:
        DataError: the share is out of range.

    Example:
        >>> labels = np.zeros([10], np.int32)
        >>> int(np.count_nonzero(symmetric(labels, 0.3, num_classes=5, seed=0)))
        3
    """
    share = check_share(share)
    rng = np.random.default_rng((seed, _STREAM))
    order = rng.permutation(len(labels))
    away = rng.integers(1, num_classes, len(labels))
    rows = order[: round(share * len(labels))]
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + away[rows]) % num_classes
    return noisy
