"""How alike networks are: in their embeddings, their answers and their features. Pure NumPy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Similarity(NamedTuple):
    """Mean cosines between networks.

    Attributes:
        same: [M, M], of the embeddings of one image.
        different: [M, M], of the embeddings of two images: what ``same`` is to be compared with.
    """

    same: np.ndarray
    different: np.ndarray


def cross_network_similarity(embeddings: np.ndarray) -> Similarity:
    """Mean cosine between the embeddings of networks a and b, of the same image and of two.

        same[a, b]      = mean over i      of <z[a, i], z[b, i]>
        different[a, b] = mean over i != j of <z[a, i], z[b, j]>,   z scaled to unit length

    ``different`` near 1 says that all images lie on one point: the embeddings have collapsed.

    Args:
        embeddings: [M, N, D], N at least 2.

    Returns:
        Similarity of two [M, M]; ``same`` has ones on its diagonal.

    Raises:
        ValueError: the shape is another one.

    Example:
        >>> import numpy as np
        >>> z = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
        >>> similarity = cross_network_similarity(z)
        >>> similarity.same.tolist(), similarity.different.tolist()
        ([[1.0, 0.5], [0.5, 1.0]], [[0.0, 0.5], [0.5, 1.0]])
    """
    if np.ndim(embeddings) != 3 or np.shape(embeddings)[1] < 2:
        raise ValueError(
            f"embeddings must be [M, N, D] with N at least 2, got {np.shape(embeddings)}."
        )
    z = np.asarray(embeddings, np.float64)
    z = z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-12)
    rows = z.shape[1]
    same = np.einsum("aid,bid->ab", z, z, optimize=True) / rows
    total = z.sum(axis=1)
    return Similarity(same, (total @ total.T - rows * same) / (rows * (rows - 1)))


def agreement(logits: np.ndarray) -> np.ndarray:
    """Share of rows that networks a and b put into the same class.

        agreement[a, b] = mean over i of [argmax logits[a, i] = argmax logits[b, i]]

    Args:
        logits: [M, N, C].

    Returns:
        [M, M], fractions with ones on the diagonal.

    Raises:
        ValueError: the shape is another one.

    Example:
        >>> import numpy as np
        >>> agreement(np.array([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    if np.ndim(logits) != 3:
        raise ValueError(f"logits must be [M, N, C], got shape {np.shape(logits)}.")
    answers = np.argmax(logits, axis=-1)
    return np.mean(answers[:, None] == answers[None], axis=-1)


def linear_cka(features: Sequence[np.ndarray]) -> np.ndarray:
    """Linear centred kernel alignment between the features of networks a and b.

        cka[a, b] = s(X_a, X_b) / sqrt(s(X_a, X_a) s(X_b, X_b)),   s(X, Y) = sum((X' Y)^2)

    Columns have mean 0. The value is 1 where features are equal up to a rotation and a scale, near
    0 where they have nothing in common and rows are many more than features. Kornblith et al.
    2019, arXiv 1905.00414.
    `mcl_jax.losses.linear_cka` is the same of JAX arrays; here NumPy, so that a page can be drawn
    while a run holds the accelerator.

    Args:
        features: one [m, N, F] for each group of like networks; F may differ between groups.

    Returns:
        [M, M] over the networks of all groups; NaN where a network's features are constant.

    Raises:
        ValueError: a group has another rank, or another number of rows.

    Example:
        >>> import numpy as np
        >>> x = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
        >>> turned = x @ np.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> linear_cka([x[None], 5 * turned[None]]).round(6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    shapes = [np.shape(group) for group in features]
    if any(len(shape) != 3 for shape in shapes) or len({shape[1] for shape in shapes}) != 1:
        raise ValueError(f"features must be [m, N, F] with one N, got {shapes}.")
    centred = [_centred(x) for group in features for x in group]
    rows, widest = shapes[0][1], max(shape[2] for shape in shapes)
    # |X'Y|^2 is also the inner product of XX' and YY', which are smaller for wide features.
    kernels = [x @ x.T for x in centred] if widest > rows else None
    networks = len(centred)
    alignment = np.empty((networks, networks))
    for a in range(networks):
        for b in range(a, networks):
            product = kernels[a] * kernels[b] if kernels else (centred[a].T @ centred[b]) ** 2
            alignment[a, b] = alignment[b, a] = np.sum(product, dtype=np.float64)
    own = np.sqrt(np.diag(alignment))
    with np.errstate(invalid="ignore"):
        return alignment / own[:, None] / own[None]


def _centred(x: np.ndarray) -> np.ndarray:
    """[N, F] with columns of mean 0 and norm 1 as a whole, in float32 or wider."""
    x = np.asarray(x, np.result_type(x, np.float32))
    x = x - x.mean(axis=0, dtype=np.float64).astype(x.dtype)
    norm = np.linalg.norm(x)
    return x / norm if norm else x


def confusion_matrix(answers: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """How often rows of each class are taken for each class.

        confusion[c, d] = number of rows i with labels[i] = c and answers[i] = d

    Args:
        answers: [N], integer, from 0 to C - 1.
        labels: [N], integer, from 0 to C - 1.
        classes: C.

    Returns:
        [C, C], integer; right answers are on the diagonal.

    Raises:
        ValueError: shapes differ, or a class is none of the C.

    Example:
        >>> import numpy as np
        >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    answers, labels = np.asarray(answers, np.int64), np.asarray(labels, np.int64)
    if answers.ndim != 1 or answers.shape != labels.shape:
        raise ValueError(
            f"answers and labels must be [N], got shapes {answers.shape} and {labels.shape}."
        )
    for name, values in (("answers", answers), ("labels", labels)):
        if values.size and not (values.min() >= 0 and values.max() < classes):
            raise ValueError(
                f"{name} must be from 0 to {classes - 1}, got {values.min()} to {values.max()}."
            )
    counts = np.bincount(labels * classes + answers, minlength=classes * classes)
    return counts.reshape(classes, classes)
