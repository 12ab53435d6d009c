"""What a network gets to see: image operations that run inside the jitted step."""

from mcl_jax.views.images import flip_horizontally, normalize, pad_and_crop
from mcl_jax.views.recipes import Recipe

__all__ = ["Recipe", "flip_horizontally", "normalize", "pad_and_crop"]
