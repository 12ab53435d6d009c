"""How features lie on the sphere: near their twins, evenly, in how many directions."""

import jax
import numpy as np

from mcl_jax import losses
from mcl_jax.evaluation.nearest import unit


def moved(images: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Every image moved by up to an eighth of its sides, at random; its edges are repeated.

    A second view of each image that suits every data set, so that alignment is of the same pairs
    whatever the encoders were trained with.

    Args:
        images: uint8 [n, H, W, c].
        keys: [n], whole numbers that decide how far each goes.

    Returns:
        uint8 [n, H, W, c].

    Example:
        >>> images = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1).repeat(50, axis=0)
        >>> sorted(set(moved(images, np.arange(50))[:, 4, 4, 0].tolist()))
        [27, 28, 29, 35, 36, 37, 43, 44, 45]
    """
    height, width = images.shape[1:3]
    most = max(height // 8, 1), max(width // 8, 1)
    steps = np.array(
        [
            np.random.default_rng(key).integers(-np.array(most), most, endpoint=True)
            for key in np.asarray(keys).tolist()
        ]
    )
    rows = np.clip(np.arange(height) - steps[:, :1], 0, height - 1)
    columns = np.clip(np.arange(width) - steps[:, 1:], 0, width - 1)
    number = np.arange(len(images))[:, None, None]
    return images[number, rows[:, :, None], columns[:, None, :]]


def spread(features: np.ndarray, of_moved: np.ndarray) -> dict[str, float]:
    """Alignment, uniformity and effective rank of features at unit length.

    Args:
        features: [n, F], two rows or more.
        of_moved: [n, F], of second views of the same images.

    Returns:
        ``alignment`` (0 where both views coincide), ``uniformity`` (lower is more even) and
        ``rank`` (RankMe), as `mcl_jax.losses` has them.

    Example:
        >>> found = spread(np.eye(3), np.eye(3))
        >>> [round(found[name], 3) for name in ("alignment", "uniformity", "rank")]
        [0.0, -4.0, 3.0]
    """
    return {name: float(x) for name, x in _spread(unit(features), unit(of_moved)).items()}


@jax.jit
def _spread(x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
    return {
        "alignment": losses.alignment(x, y),
        "uniformity": losses.uniformity(x),
        "rank": losses.effective_rank(x),
    }
