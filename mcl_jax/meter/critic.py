"""Critics: two small encoders whose scores tell views that belong together from others."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mcl_jax.losses import l2_normalize


class Encoder(nn.Module):
    """A view to a unit vector: two layers of patches and one of all, or two layers for a vector.

    Patches are an eighth of the view's side, and then two by two of these: their layers are
    products of matrices, which are quick wherever they are computed.

    Attributes:
        width: hidden layers have eight times as many numbers, those of patches four times.
        dim: D.
    """

    width: int
    dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, H, W, c] or [B, F], standardised, to [B, D]."""
        if x.ndim == 2:
            for _ in range(2):
                x = nn.relu(nn.Dense(8 * self.width)(x))
        else:
            eighth = max(1, min(x.shape[1:3]) // 8)
            for side in (eighth, 2):
                x = nn.relu(nn.Dense(4 * self.width)(_patches(x, side)))
            # Where something is matters little beyond quarters of the view.
            height, width = (max(1, side // 2) for side in x.shape[1:3])
            x = nn.avg_pool(x, (height, width), strides=(height, width))
            x = nn.relu(nn.Dense(8 * self.width)(x.reshape(len(x), -1)))
        return l2_normalize(nn.Dense(self.dim)(x))


def _patches(x: jax.Array, side: int) -> jax.Array:
    """[B, H, W, c] to the pixels of square patches, [B, H / p, W / p, p p c]; edges are cut off."""
    p = min(side, *x.shape[1:3])
    rows, columns = (n // p for n in x.shape[1:3])
    x = x[:, : rows * p, : columns * p].reshape(len(x), rows, p, columns, p, x.shape[-1])
    return x.swapaxes(2, 3).reshape(len(x), rows, columns, -1)


class Critic(nn.Module):
    """Scores of all pairs: ``f(x, y) = <u(x), v(y)> exp(s)``, u and v encoders, s a parameter.

    Attributes:
        width: of the encoders.
        dim: D, of what they make.

    Example:
        >>> critic, first, second = Critic(4, 8), jnp.ones((6, 8, 8, 1)), jnp.ones((6, 8, 8, 2))
        >>> variables = critic.init(jax.random.key(0), first, second)
        >>> critic.apply(variables, first, second).shape
        (6, 6)
    """

    width: int = 16
    dim: int = 64

    @nn.compact
    def __call__(self, first: jax.Array, second: jax.Array) -> jax.Array:
        """First views [A, ...] and second ones [B, ...] to scores [A, B]."""
        u = Encoder(self.width, self.dim, name="first")(first)
        v = Encoder(self.width, self.dim, name="second")(second)
        scale = self.param("scale", nn.initializers.constant(jnp.log(10.0)), ())
        return jnp.einsum("id,kd->ik", u, v, precision=jax.lax.Precision.HIGHEST) * jnp.exp(scale)

    def words(self, first: jax.Array) -> str:
        """What the critic is, for a reader."""
        kind = "two layers" if first.ndim == 2 else "two layers of patches and one of all"
        return f"two encoders of {kind}, width {self.width}, unit vectors of {self.dim} numbers"


def parameter_count(params: Any) -> int:
    """How many numbers a tree holds.

    Example:
        >>> parameter_count({"a": jnp.ones((2, 3)), "b": jnp.ones(4)})
        10
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))
