"""What generators make of a few images, channel by channel, as pictures."""

import jax.numpy as jnp
import numpy as np

from mcl_jax.views.learned import LearnedViews

_NAMES = {
    "rgb": ("red", "green", "blue"),
    "lab": ("L", "a", "b"),
    "ydbdr": ("Y", "Db", "Dr"),
    "yiq": ("Y", "I", "Q"),
    "ycbcr": ("Y", "Cb", "Cr"),
    "hsv": ("hue", "saturation", "value"),
}


def pictures(views: LearnedViews, images: np.ndarray, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Images, their own channels and the learned ones, under titles for the run's page.

    Args:
        views: what was learned.
        images: [n, H, W, 3], uint8.
        pixels: [n, h, w, 3], the same as generators take them.

    Returns:
        uint8 [n, H, W, 3] and [n, h, w, 1], in the order in which they are to be shown. Of a
        channel the lowest and the highest hundredth of all its pixels are black and white.
    """
    found = {"images": images}
    names = _NAMES[views.generator.space]
    for channel, name in enumerate(names):
        found[f"{name}, as it was"] = _gray(pixels[..., channel])
    for part in range(views.parts):
        seen = np.asarray(views.part(views.params, part, jnp.asarray(pixels)))
        for channel in range(seen.shape[-1]):
            found[_title(views, part, channel)] = _gray(seen[..., channel])
    return found


def _title(views: LearnedViews, part: int, channel: int) -> str:
    if views.channels:
        return f"learned channel {channel + 1}, seen by network {part}"
    half = ("first", "second")[part] if views.networks > 2 else f"network {part}"
    whom = f"the {half} half of the networks" if views.networks > 2 else half
    return f"learned channel {part + channel + 1}, seen by {whom}"


def _gray(values: np.ndarray) -> np.ndarray:
    """[n, h, w] to uint8 [n, h, w, 1]."""
    low, high = np.percentile(values, (1, 99))
    scaled = (values - low) / max(high - low, 1e-6)
    return np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)[..., None]
