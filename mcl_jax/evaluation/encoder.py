"""Encoders from elsewhere as predictors."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mcl_jax.cohort import Output
from mcl_jax.evaluation.nearest import unit
from mcl_jax.evaluation.predict import Predict


def encoder(*encode: Callable[[np.ndarray], np.ndarray]) -> Predict:
    """Makes a predictor of functions that give features, one a network.

    Args:
        encode: uint8 images [B, H, W, c] to features [B, F]; F may differ from network to network.

    Returns:
        A function of images to Output: embeddings are the features at unit length (of different
        widths: filled up with zeros), logits are of no class.

    Raises:
        ValueError: no function is given; or, by the predictor, features are not [B, F].

    Example:
        >>> import numpy as np
        >>> def brightness(images):
        ...     return images.mean(axis=(1, 2)) / 255
        >>> encoder(brightness)(np.zeros([5, 8, 8, 3], np.uint8)).features[0].shape
        (1, 5, 3)
    """
    if not encode:
        raise ValueError("encode must be one function or more, got none.")

    def predict(images: np.ndarray) -> Output:
        features = [np.asarray(function(images), np.float32) for function in encode]
        for found in features:
            if found.ndim != 2 or len(found) != len(images):
                raise ValueError(
                    f"encode must give features [{len(images)}, F] of {len(images)} images, got "
                    f"shape {found.shape}."
                )
        widest = max(found.shape[1] for found in features)
        embeddings = [np.pad(unit(x), [(0, 0), (0, widest - x.shape[1])]) for x in features]
        of_groups: Any = tuple(x[None] for x in features)
        joined: Any = np.stack(embeddings)
        no_class: Any = np.zeros((len(encode), len(images), 0), np.float32)
        return Output(of_groups, joined, no_class)

    return predict
