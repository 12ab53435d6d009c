"""What colours alone tell of which views belong together: a shortcut that networks can take."""

import jax
import jax.numpy as jnp
import numpy as np

from mcl_jax.meter.drawing import Pair, drawer, sample, scale
from mcl_jax.meter.reading import Reading

_BINS = 5  # a channel: below -1.2, -0.4, 0.4, 1.2 of its spread, and above
_WIDTH = 0.8
_BATCH = 256
_MOST = 0.8  # share of a bound, from which on colours are a shortcut
_LEAST = 0.1  # nats; less than that is noise


def histogram(views: jax.Array) -> jax.Array:
    """Shares of the pixels of each view in bins of colour.

    Args:
        views: [B, H, W, c], floating, normalised to mean 0 and spread 1; c at most 3.

    Returns:
        [B, 5^c], which sum to 1.

    Raises:
        ValueError: ``views`` is not [B, H, W, c] with at most three channels.

    Example:
        >>> histogram(jnp.zeros((2, 4, 4, 1))).tolist()[0]
        [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    if views.ndim != 4 or views.shape[-1] > 3:
        raise ValueError(
            f"views must be [B, H, W, c] with at most three channels, got {views.shape}."
        )
    pixels = views.reshape(len(views), -1, views.shape[-1])
    places = jnp.clip(jnp.round(pixels / _WIDTH) + _BINS // 2, 0, _BINS - 1).astype(jnp.int32)
    bins = places @ (_BINS ** jnp.arange(views.shape[-1]))
    count = jax.vmap(lambda x: jnp.bincount(x, length=_BINS ** views.shape[-1]))
    return count(bins) / pixels.shape[1]


def histograms(pair: Pair, train: jax.Array | np.ndarray, *, key: jax.Array) -> Pair:
    """A pair of views of which nothing is left but `histogram`.

    Each view's channels are brought to mean 0 and spread 1 first, as they lie in views of some
    training rows: how a colour space was normalised then changes nothing.

    Args:
        pair: makes views [B, H, W, c].
        train: [N, ...], rows as ``pair`` takes them.
        key: JAX random key: the rows and views that mean and spread are of.

    Returns:
        A pair that makes vectors [B, 5^c], for `measure`.
    """
    rows = jnp.asarray(train)
    first, second = map(scale, sample(drawer(pair), key, rows, min(_BATCH, len(rows))))

    def made(keys: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        one, other = pair(keys, rows)
        return histogram(first(one)), histogram(second(other))

    return made


def shortcut(reading: Reading, colours: Reading) -> str | None:
    """Says where colours alone tell 80 % or more of what two views share.

    A network that is trained to tell which views belong together may then look at nothing else: a
    high bound says little about what it learns, and the reversed U of a task's figure over the
    bound does not show (What Makes for Good Views, arXiv 2005.10243). Of views that share less
    than 0.1 nats nothing is said.

    Args:
        reading: of the views.
        colours: of their `histograms`, with the same settings.

    Returns:
        A sentence, or None.

    Example:
        >>> def reading(bound):
        ...     return Reading((bound,) * 2, (bound,) * 2, (bound,) * 2, 9, "", 1, 1, 9, 9, 1)
        >>> print(shortcut(reading(2.0), reading(1.8)))
        views share 2.00 nats, and colours alone tell 1.80: a shortcut.
        >>> shortcut(reading(2.0), reading(1.0)) is None
        True
    """
    if reading.bound < _LEAST or colours.bound < _MOST * reading.bound:
        return None
    return (
        f"views share {reading.bound:.2f} nats, and colours alone tell {colours.bound:.2f}: a "
        f"shortcut."
    )
