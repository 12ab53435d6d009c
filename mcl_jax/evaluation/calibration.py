"""Whether answers are right as often as they claim to be."""

import numpy as np


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> float:
    """How far confidence is from accuracy, on average over rows.

        ECE = sum over bins b of n_b / n abs(accuracy_b - mean confidence_b)

    The confidence of a row is its largest probability; bin b holds those above (b - 1) / bins and
    up to b / bins.

    Args:
        probabilities: [n, C]; a row sums to 1.
        labels: [n], integer.
        bins: of equal width.

    Returns:
        From 0, confidence is what comes true, to 1.

    Raises:
        ValueError: there is not one label a row, no row, or no bin.

    Example:
        >>> import numpy as np
        >>> sure = np.array([[0.9, 0.1], [0.9, 0.1]])
        >>> round(expected_calibration_error(sure, np.array([0, 1])), 3)
        0.4

    Guo et al., arXiv 1706.04599.
    """
    p, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if p.ndim != 2 or labels.shape != p.shape[:1] or not len(p) or bins < 1:
        raise ValueError(
            f"probabilities must be [n, C] of one row or more, labels [n] and bins 1 or more, got "
            f"shapes {p.shape} and {labels.shape} and {bins}."
        )
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(which, right - confidence, bins)
    return float(np.abs(gap).sum() / len(p))
