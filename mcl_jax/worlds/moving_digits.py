"""Pairs of views of digits that move over photographs; what the two share is chosen.

The first view is a sequence of frames in which a digit moves in a straight line, the second one a
single later image. Digit, background and position are the same in both, or drawn anew, one by one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

FACTORS = ("digit", "background", "position")
FRAMES = 4  # of the first view
_SCALE = 1.5  # an 8 x 8 digit takes 12 x 12 pixels
_RADIUS = 4.5 * _SCALE  # the pixels at its edge fade
_DIM = 1 / 3  # backgrounds are darker than photographs: no digit is lost on white


class Material(NamedTuple):
    """What sequences are made of.

    Attributes:
        digits: uint8 [N, 8, 8, 1].
        digit_labels: int32 [N].
        backgrounds: uint8 [P, S, S, 3], S at least 16; they are shown at a third of their
            brightness.
        background_labels: int32 [P].
    """

    digits: jax.Array | np.ndarray
    digit_labels: jax.Array | np.ndarray
    backgrounds: jax.Array | np.ndarray
    background_labels: jax.Array | np.ndarray


class Factors(NamedTuple):
    """One thing for each factor; which ones are shared, as booleans, for instance."""

    digit: jax.Array | bool
    background: jax.Array | bool
    position: jax.Array | bool


class Labels(NamedTuple):
    """What the first view shows.

    Attributes:
        digit: int32 [B], its class.
        background: int32 [B], its class.
        position: float32 [B, 2], the digit's centre (row, column) in the last frame, in pixels from
            the centre of the first pixel.
    """

    digit: jax.Array
    background: jax.Array
    position: jax.Array


class Pairs(NamedTuple):
    """Pairs of views.

    Attributes:
        first: float32 [B, S, S, 12], four frames of three colours, in 0 ... 1.
        second: float32 [B, S, S, 3], the later image, in 0 ... 1.
        labels: of the first view.
    """

    first: jax.Array
    second: jax.Array
    labels: Labels


class _Choice(NamedTuple):
    """All that is drawn of a sequence: rows of the material, and the ends of the way."""

    digit: jax.Array
    background: jax.Array
    start: jax.Array
    end: jax.Array


def draw_pairs(keys: jax.Array, material: Material, shared: Factors) -> Pairs:
    """Draws pairs of views that share the chosen factors, and nothing else.

    A digit's image, a background's crop, a start and an end are drawn uniformly and independently.
    The digit is at the start in the first of the four frames, and would be at the end one frame
    after the last:

        centre(t) = start + (end - start) t / 4,   frames t = 0, 1, 2, 3,   the later image t = 4

    The later image has the same digit's image, the same background's crop and the digit at
    ``end``, each only if that factor is shared; otherwise another draw of it from the same
    distribution. So each view's own distribution does not depend on what is shared. Digits are
    white and laid over the background, of which they let through what their pixels lack of white.

    Args:
        keys: JAX random keys [B], one a pair.
        material: digits and backgrounds.
        shared: a boolean for each factor; traced ones do, so one program serves all subsets.

    Returns:
        The pairs and the labels of the first view.

    Raises:
        ValueError: digits are not [N, 8, 8, 1], backgrounds not square of three channels and at
            least 16 pixels a side, or there are not as many labels.

    Example:
        >>> material = Material(
        ...     np.zeros((5, 8, 8, 1), np.uint8), np.arange(5, dtype=np.int32),
        ...     np.zeros((3, 24, 24, 3), np.uint8), np.arange(3, dtype=np.int32))
        >>> keys = jax.random.split(jax.random.key(0), 6)
        >>> pairs = jax.eval_shape(lambda k: draw_pairs(k, material, Factors(1, 0, 0)), keys)
        >>> pairs.first.shape, pairs.second.shape, pairs.labels.position.shape
        ((6, 24, 24, 12), (6, 24, 24, 3), (6, 2))

    Colorful Moving-MNIST of Tian et al., arXiv 2005.10243, has 28 x 28 digits over photographs of
    64 x 64 pixels; there, too, the second view is a later image.
    """
    _check(material)
    material = Material(*map(jnp.asarray, material))

    def pair(key: jax.Array) -> Pairs:
        own, other = (_choice(each, material) for each in jax.random.split(key))
        place = jnp.where(shared.position, own.end, other.end)
        digit = jnp.where(shared.digit, own.digit, other.digit)
        background = jnp.where(shared.background, own.background, other.background)
        centres = own.start + (own.end - own.start) * jnp.arange(FRAMES)[:, None] / FRAMES
        frames = [_frame(material, own.digit, own.background, centre) for centre in centres]
        labels = Labels(
            material.digit_labels[own.digit],
            material.background_labels[own.background],
            centres[-1],
        )
        second = _frame(material, digit, background, place)
        return Pairs(jnp.concatenate(frames, axis=-1), second, labels)

    return jax.vmap(pair)(keys)


def _check(material: Material) -> None:
    digits, backgrounds = np.shape(material.digits), np.shape(material.backgrounds)
    if digits[1:] != (8, 8, 1) or not digits[0]:
        raise ValueError(f"digits must be [N, 8, 8, 1], got shape {digits}.")
    square = len(backgrounds) == 4 and backgrounds[1] == backgrounds[2]
    if not square or backgrounds[3] != 3 or backgrounds[1] < 16 or not backgrounds[0]:
        raise ValueError(
            f"backgrounds must be [P, S, S, 3] with S at least 16, got shape {backgrounds}."
        )
    for name, count in (("digit", digits[0]), ("background", backgrounds[0])):
        labels = np.shape(getattr(material, f"{name}_labels"))
        if labels != (count,):
            raise ValueError(f"{name}_labels must have shape ({count},), got {labels}.")


def _choice(key: jax.Array, material: Material) -> _Choice:
    digit, background, way = jax.random.split(key, 3)
    side = material.backgrounds.shape[1]
    # The whole digit stays in the image; the way from one place to another then does, too.
    ends = jax.random.uniform(way, (2, 2), minval=_RADIUS - 0.5, maxval=side - 0.5 - _RADIUS)
    return _Choice(
        jax.random.randint(digit, (), 0, len(material.digits)),
        jax.random.randint(background, (), 0, len(material.backgrounds)),
        ends[0],
        ends[1],
    )


def _frame(
    material: Material, digit: jax.Array, background: jax.Array, centre: jax.Array
) -> jax.Array:
    """A digit laid over a background: [S, S, 3]."""
    behind = material.backgrounds[background] * jnp.float32(_DIM / 255)
    # Bilinear interpolation is a product of two small matrices, at any part of a pixel.
    pixels = jnp.arange(behind.shape[0])
    rows, columns = (_hats((pixels - place) / _SCALE) for place in centre)
    precision = jax.lax.Precision.HIGHEST
    shape = material.digits[digit, :, :, 0] / jnp.float32(255)
    white = jnp.einsum("ri,ij,cj->rc", rows, shape, columns, precision=precision)[..., None]
    return behind * (1 - white) + white


def _hats(offsets: jax.Array) -> jax.Array:
    """Weights of a digit's eight rows for places counted in its rows from its middle: [S, 8]."""
    return jnp.maximum(0, 1 - jnp.abs(offsets[:, None] - (jnp.arange(8) - 3.5)))
