"""Recipes: which operations make a network's view of a batch."""

import dataclasses

import jax
import jax.numpy as jnp

from mcl_jax.views.images import flip_horizontally, normalize, pad_and_crop


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Crop, flip and normalise: the supervised view of small images.

    Attributes:
        mean: [c], of the training images scaled to 0 ... 1.
        std: [c].
        padding: pixels added on each side before the old size is cut out; 0 does not crop.
        flip: whether half of the images are mirrored left to right.
        dtype: floating dtype of the views.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> recipe = Recipe(mean=(0.5,), std=(0.25,), padding=2, flip=True)
        >>> images = jnp.zeros((4, 28, 28, 1), jnp.uint8)
        >>> recipe.train(jax.random.split(jax.random.key(0), 4), images).shape
        (4, 28, 28, 1)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 4
    flip: bool = True
    dtype: jnp.dtype = jnp.float32

    def train(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        """A random view: keys [B] and uint8 images [B, H, W, c] to [B, H, W, c] of ``dtype``."""
        keys = jax.vmap(jax.random.split)(keys)
        if self.padding:
            images = pad_and_crop(keys[:, 0], images, self.padding)
        if self.flip:
            images = flip_horizontally(keys[:, 1], images)
        return self.plain(images)

    def plain(self, images: jax.Array) -> jax.Array:
        """The view that evaluation takes: normalised, nothing random."""
        return normalize(images, jnp.asarray(self.mean), jnp.asarray(self.std), self.dtype)
