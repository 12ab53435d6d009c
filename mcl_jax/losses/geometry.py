"""How embeddings lie: near their twins, over the sphere, in how many directions, like others'.

Readings more than objectives, though each is differentiable. Leading axes are free: networks,
views, or any pair of them.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp

from mcl_jax.losses import checks
from mcl_jax.losses.similarity import l2_normalize


def alignment(x: jax.Array, y: jax.Array, alpha: float | jax.Array = 2.0) -> jax.Array:
    """How far two views of an image lie apart: 0 where they coincide.

    Computes ``mean_i ||x_i - y_i||^alpha``, between 0 and ``2^alpha`` for unit vectors. The
    gradient of a pair that coincides is zero.

    Args:
        x: [..., B, D], floating, unit vectors.
        y: [..., B, D], floating, row i of the same image as row i of ``x``; leading axes broadcast.
        alpha: a scalar above 0; below 1 the gradient has no limit as a pair comes together.

    Returns:
        [...]; float32 for bfloat16 and float16.

    Raises:
        TypeError: an argument is not floating.
        ValueError: the shapes do not fit together, a batch is empty, or ``alpha`` is not a scalar
            above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> z = jnp.stack([jnp.eye(2), -jnp.eye(2)])
        >>> alignment(z[:, None], z).tolist()  # between all networks
        [[0.0, 4.0], [4.0, 0.0]]

    Wang & Isola, arXiv 2005.10242.
    """
    checks.positive_number(alpha, "alpha")
    x, y = _batches(x, y)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x and y must have one D, got shapes {x.shape} and {y.shape}.")
    squared = jnp.sum(jnp.square(x - y), axis=-1)
    apart = squared > 0
    powers = jnp.where(apart, jnp.where(apart, squared, 1.0) ** (alpha / 2), 0.0)
    return jnp.mean(powers, axis=-1)


def uniformity(x: jax.Array, t: float | jax.Array = 2.0) -> jax.Array:
    """How evenly embeddings spread over the sphere: 0 where all are one point, lower is more even.

    Computes ``log mean_{i != j} exp(-t ||x_i - x_j||^2)``, not below ``-4 t`` for unit vectors.

    Args:
        x: [..., B, D], floating, unit vectors, two or more.
        t: a scalar above 0.

    Returns:
        [...]; float32 for bfloat16 and float16, else the dtype of ``x``.

    Raises:
        TypeError: ``x`` is not floating.
        ValueError: there are fewer than two rows, or ``t`` is not a scalar above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(uniformity(jnp.eye(3))), 4)  # every pair at a squared distance of 2
        -4.0

    Wang & Isola, arXiv 2005.10242; the pairs of two different rows, as in the authors' code.
    """
    checks.positive_number(t, "t")
    x = checks.as_floating(x, "x")
    rows = x.shape[-2] if x.ndim > 1 else 0
    if rows < 2:
        raise ValueError(f"x must be [..., B, D] of two rows or more, got shape {x.shape}.")
    norms = jnp.sum(jnp.square(x), axis=-1)
    products = jnp.einsum("...id,...jd->...ij", x, x, precision=lax.Precision.HIGHEST)
    squared = norms[..., :, None] + norms[..., None, :] - 2 * products
    different = ~jnp.eye(rows, dtype=bool)
    total = logsumexp(-t * squared, axis=(-2, -1), where=different)
    return total - jnp.log(jnp.asarray(float(rows) * (rows - 1), x.dtype))


def effective_rank(x: jax.Array) -> jax.Array:
    """How many directions embeddings use: RankMe.

    Computes ``exp(-sum_k p_k log p_k)`` with ``p = sigma / sum(sigma)`` and sigma the singular
    values of ``x``: from 1 (all rows on one line through zero) to ``min(B, D)`` (all singular
    values equal), and 0 where every row is zero. Nothing is centred: a mean that all rows share is
    a direction too. Subtract it beforehand to read the directions of their differences.

    Args:
        x: [..., B, D], floating.

    Returns:
        [...]; float32 for bfloat16 and float16, else the dtype of ``x``.

    Raises:
        TypeError: ``x`` is not floating.
        ValueError: ``x`` has fewer than two axes, or is empty.

    Example:
        >>> import jax.numpy as jnp
        >>> effective_rank(jnp.stack([jnp.eye(4), jnp.ones((4, 4))])).round(3).tolist()
        [4.0, 1.0]

    Garrido et al., arXiv 2210.02885, add 1e-7 to every p; here ``0 log 0 = 0``.
    """
    x = checks.as_floating(x, "x")
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ValueError(f"x must be [..., B, D] and not empty, got shape {x.shape}.")
    sigma = jnp.linalg.svd(_unit_norm(x), compute_uv=False)
    total = jnp.sum(sigma, axis=-1, keepdims=True)
    p = sigma / jnp.where(total > 0, total, 1.0)
    used = p > jnp.finfo(x.dtype).tiny
    entropy = -jnp.sum(jnp.where(used, p * jnp.log(jnp.where(used, p, 1.0)), 0.0), axis=-1)
    return jnp.where(total[..., 0] > 0, jnp.exp(entropy), 0.0)


def linear_cka(x: jax.Array, y: jax.Array) -> jax.Array:
    """How alike two networks' features are, up to a rotation and a scale: linear CKA.

    Computes ``||X' Y||^2 / (||X' X|| ||Y' Y||)`` with Frobenius norms, X and Y being ``x`` and
    ``y`` centred: every column's mean over the rows is subtracted. 1 where features are equal up to
    a rotation, a scale and a shift; near 0 for unrelated ones, if rows are many more than features;
    0 where all rows of one are equal.

    Args:
        x: [..., B, D], floating.
        y: [..., B, E], floating, of the same rows; leading axes broadcast.

    Returns:
        [...]; float32 for bfloat16 and float16. ``linear_cka(z[:, None], z)`` is [M, M], all
        networks of a cohort [M, B, D].

    Raises:
        TypeError: an argument is not floating.
        ValueError: the shapes do not fit together, or are empty.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
        >>> turned = 5 * x @ jnp.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> z = jnp.stack([x, turned, jnp.ones((3, 2))])
        >>> linear_cka(z[:, None], z).round(4).tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]

    Kornblith et al., arXiv 1905.00414.
    """
    x, y = (_centred(z) for z in _batches(x, y))
    own = _squared_covariance(x, x) * _squared_covariance(y, y)
    varied = own > 0
    return _squared_covariance(x, y) * jnp.where(
        varied, lax.rsqrt(jnp.where(varied, own, 1.0)), 0.0
    )


def _centred(x: jax.Array) -> jax.Array:
    """[..., B, D] with columns of mean 0 and norm 1 as a whole; zero where all rows are equal."""
    x = x - x[..., :1, :]  # makes equal rows exactly zero, which a rounded mean does not
    return _unit_norm(x - jnp.mean(x, axis=-2, keepdims=True))


def _unit_norm(x: jax.Array) -> jax.Array:
    """[..., B, D] scaled to norm 1 as a whole, so that no square over- or underflows."""
    return l2_normalize(x.reshape(*x.shape[:-2], -1)).reshape(x.shape)


def _squared_covariance(x: jax.Array, y: jax.Array) -> jax.Array:
    """``||x' y||^2``: [..., B, D] and [..., B, E] to [...]."""
    rows, d, e = *x.shape[-2:], y.shape[-1]
    highest = lax.Precision.HIGHEST
    if d * e <= rows * rows:
        covariance = jnp.einsum("...bd,...be->...de", x, y, precision=highest)
        return jnp.sum(jnp.square(covariance), axis=(-2, -1))
    # It is also the inner product of x x' and y y', which are smaller here.
    kernels = [jnp.einsum("...id,...jd->...ij", z, z, precision=highest) for z in (x, y)]
    return jnp.sum(kernels[0] * kernels[1], axis=(-2, -1))


def _batches(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two batches of the same rows, in one dtype, their leading axes as they are."""
    x, y = checks.as_floating(x, "x"), checks.as_floating(y, "y")
    fits = x.ndim > 1 and y.ndim > 1 and x.shape[-2] == y.shape[-2]
    if not fits or 0 in (*x.shape[-2:], *y.shape[-2:]):
        raise ValueError(
            f"x and y must be [..., B, D] and [..., B, E] of the same rows and not empty, got "
            f"shapes {x.shape} and {y.shape}."
        )
    try:
        jnp.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        message = f"the leading axes of x and y must broadcast, got shapes {x.shape} and {y.shape}."
    else:
        dtype = jnp.result_type(x, y)
        return x.astype(dtype), y.astype(dtype)
    raise ValueError(message)
