"""Images as networks expect them that were trained on others."""

import numpy as np

from mcl_jax.data import DataError


def adapted(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Scales images to a size and gives them as many channels.

    Sizes are changed by bilinear interpolation over the whole area that a pixel stands for. Gray
    becomes three equal channels; colours become gray by ITU-R BT.601 (0.299, 0.587, 0.114).

    Args:
        images: uint8 [n, H, W, c].
        shape: H, W, c that are wanted.

    Returns:
        uint8 [n, H, W, c]; the very images where nothing is to be done.

    Raises:
        DataError: the channels are neither the wanted ones nor 1 or 3 for 3 or 1.

    Example:
        >>> import numpy as np
        >>> adapted(np.zeros([5, 28, 28, 1], np.uint8), (32, 32, 3)).shape
        (5, 32, 32, 3)
    """
    given, wanted = images.shape[-1], shape[-1]
    if given != wanted and {given, wanted} != {1, 3}:
        raise DataError(
            f"source must be of images with {wanted} channels, as the networks were trained on, "
            f"or of gray or colour images in each other's place, got {given} channels."
        )
    if images.shape[1:] == shape:
        return images
    if images.shape[1:3] != shape[:2]:
        images = np.stack([_resized(image, shape[0], shape[1]) for image in images])
    if given < wanted:
        return np.repeat(images, wanted, axis=-1)
    if given > wanted:
        gray = images @ np.array([0.299, 0.587, 0.114])
        return np.round(gray).astype(np.uint8)[..., None]
    return images


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [H, W, c] scaled to another size, channel by channel."""
    from PIL import Image

    planes = [
        Image.fromarray(np.ascontiguousarray(image[..., channel])).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for channel in range(image.shape[-1])
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)
