"""What a network gets to see: image operations that run inside the jitted step.

Images are [B, H, W, c], uint8 or floating in 0 ... 1. Random operations take a key for each image,
``keys [B]``, so that a view never depends on how a batch is split. A recipe is an ordered tuple of
steps; papers' recipes have names:

    >>> import jax, jax.numpy as jnp
    >>> from mcl_jax import views
    >>> recipe = views.recipe("moco_v2", size=32)
    >>> keys, images = jax.random.split(jax.random.key(0), 8), jnp.zeros((8, 40, 60, 3), jnp.uint8)
    >>> jax.eval_shape(lambda: views.two_crops(keys, images, recipe.train)).shape
    (2, 8, 32, 32, 3)
"""

from mcl_jax.views.affine import warp
from mcl_jax.views.blur import draw_blur, gaussian_blur, random_gaussian_blur
from mcl_jax.views.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    colour_jitter,
    draw_jitter,
    grayscale,
    jitter,
    random_apply,
    random_grayscale,
    random_solarize,
    solarize,
)
from mcl_jax.views.colour_spaces import SPACES, Space, convert, convert_back
from mcl_jax.views.composition import Recipe
from mcl_jax.views.constructors import (
    apply_jigsaw,
    channel_split,
    combinations,
    draw_jigsaw,
    frequency_split,
    jigsaw,
    jigsaw_sides,
    multi_crop,
    per_network,
    split_2x2,
    two_crops,
    two_patches,
)
from mcl_jax.views.draws import chances
from mcl_jax.views.erasing import blank, cutout, draw_cutout
from mcl_jax.views.fusion import fused
from mcl_jax.views.geometry import (
    centre_crop,
    crop_and_resize,
    draw_crops,
    flip,
    flip_horizontally,
    pad_and_crop,
    random_resized_crop,
    resize,
)
from mcl_jax.views.normalization import normalize
from mcl_jax.views.pixels import select, to_float
from mcl_jax.views.rand_augment import apply_randaugment, draw_randaugment, randaugment
from mcl_jax.views.recipes import RECIPES, describe, recipe
from mcl_jax.views.steps import (
    Blur,
    Crop,
    Cutout,
    Flip,
    Gray,
    Jitter,
    PadCrop,
    RandAugment,
    Solarize,
    Step,
)

__all__ = [
    "RECIPES",
    "SPACES",
    "Blur",
    "Crop",
    "Cutout",
    "Flip",
    "Gray",
    "Jitter",
    "PadCrop",
    "RandAugment",
    "Recipe",
    "Solarize",
    "Space",
    "Step",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "apply_jigsaw",
    "apply_randaugment",
    "blank",
    "centre_crop",
    "chances",
    "channel_split",
    "colour_jitter",
    "combinations",
    "convert",
    "convert_back",
    "crop_and_resize",
    "cutout",
    "describe",
    "draw_blur",
    "draw_crops",
    "draw_cutout",
    "draw_jigsaw",
    "draw_jitter",
    "draw_randaugment",
    "flip",
    "flip_horizontally",
    "frequency_split",
    "fused",
    "gaussian_blur",
    "grayscale",
    "jigsaw",
    "jigsaw_sides",
    "jitter",
    "multi_crop",
    "normalize",
    "pad_and_crop",
    "per_network",
    "randaugment",
    "random_apply",
    "random_gaussian_blur",
    "random_grayscale",
    "random_resized_crop",
    "random_solarize",
    "recipe",
    "resize",
    "select",
    "solarize",
    "split_2x2",
    "to_float",
    "two_crops",
    "two_patches",
    "warp",
]
