"""Normalisation by the batch, as PyTorch counts it (synced or in groups too), or by channels."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike


class BatchNorm(nn.Module):
    """Batch normalisation: y = scale * (x - mean) / sqrt(var + epsilon) + bias, for each channel.

    Training uses the statistics of the batch and moves the running ones, ``r <- momentum * r + (1 -
    momentum) * batch``; evaluation uses the running ones. As in PyTorch the batch is normalised by
    its biased variance and the running variance is unbiased, n / (n - 1); Flax keeps the biased
    one. Statistics are taken in float32 at least. (Ioffe and Szegedy, arXiv 1502.03167.)

    Attributes:
        momentum: what the running statistics keep at a step (one minus PyTorch's momentum).
        epsilon: added to the variance.
        axis_name: a mapped axis over which the statistics are synced; None keeps them on the
            device.
        groups: the batch is normalised in that many runs of consecutive rows, as so many devices
            would; the running statistics are averaged over groups.
        use_bias: whether a bias is added.
        scale: ``"one"`` or ``"zero"``, what it starts at, or ``"none"``: it is 1 and stays.
        dtype: of the result.
        param_dtype: of scale and bias.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> norm, images = BatchNorm(), jnp.arange(32.0).reshape(4, 2, 2, 2)
        >>> variables = norm.init(jax.random.key(0), images, train=False)
        >>> out, updates = norm.apply(variables, images, train=True, mutable=["batch_stats"])
        >>> bool(jnp.allclose(out.mean((0, 1, 2)), 0, atol=1e-6))
        True
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    groups: int = 1
    use_bias: bool = True
    scale: str = "one"
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Normalises a batch.

        Args:
            x: ``[B, ..., C]``, channels last.
            train: whether to use and record the statistics of this batch.

        Returns:
            The normalised batch, ``[B, ..., C]``, in ``dtype``.

        Raises:
            ValueError: if the batch does not divide into groups, or a statistic would see a single
                value.
        """
        channels = x.shape[-1]
        wide = jnp.promote_types(x.dtype, jnp.float32)
        stored = jnp.promote_types(self.param_dtype, jnp.float32)
        scale, bias = _scale(self, channels), _bias(self, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), stored)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), stored)
        if not train or self.is_initializing():
            rows, mean, var = x, running_mean.value, running_var.value
        else:
            rows = self._in_groups(x)
            mean, var, count = self._batch_statistics(rows.astype(wide))
            unbiased = var * count / (count - 1)
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * _over_groups(mean)
            running_var.value = keep * running_var.value + (1 - keep) * _over_groups(unbiased)
        # One multiply-add an element: scale and bias are folded into the statistics first.
        slope = scale.astype(wide) * lax.rsqrt(var.astype(wide) + self.epsilon)
        shift = bias.astype(wide) - mean.astype(wide) * slope
        return (rows.astype(wide) * slope + shift).astype(self.dtype).reshape(x.shape)

    def _in_groups(self, x: Array) -> Array:
        """[B, ..., C] -> [groups, B / groups, ..., C]; one group stays as it is.

        A reshape of the whole batch, even to one group, makes XLA on CPU copy it.
        """
        if self.groups == 1:
            return x
        if x.shape[0] % self.groups:
            raise ValueError(
                f"a batch of {x.shape[0]} rows does not divide into {self.groups} groups of batch "
                "normalisation."
            )
        return x.reshape(self.groups, -1, *x.shape[1:])

    def _batch_statistics(self, rows: Array) -> tuple[Array, Array, int]:
        """Mean and biased variance, their axes kept, and how many values each of them saw."""
        axes = tuple(range(int(self.groups > 1), rows.ndim - 1))
        count = math.prod(rows.shape[axis] for axis in axes)
        # Both means come out of one pass over the data; the variance about the mean takes two.
        mean, square = rows.mean(axes, keepdims=True), jnp.square(rows).mean(axes, keepdims=True)
        if self.axis_name is not None:
            mean, square = lax.pmean((mean, square), self.axis_name)
            count *= lax.axis_size(self.axis_name)
        if count < 2:
            raise ValueError(
                "batch normalisation in training needs more than one value a channel; got rows of "
                f"shape {rows.shape} in {self.groups} group(s)."
            )
        # Rounding can take the difference below zero.
        return mean, jnp.maximum(square - jnp.square(mean), 0), count


def _over_groups(statistic: Array) -> Array:
    """The mean over groups of a statistic whose axes were kept, [C]."""
    return statistic.reshape(-1, statistic.shape[-1]).mean(0)


class GroupNorm(nn.Module):
    """Group normalisation: y = scale * (x - mean) / sqrt(var + epsilon) + bias, for each image.

    Mean and variance are those of a group of neighbouring channels over all pixels of one image, so
    there are no running statistics and rows do not know of each other. (Wu and He, arXiv
    1803.08494: 32 groups.) Where 32 does not divide the channels, their largest divisor below it is
    the number of groups. Where there is no space (vectors, images of one pixel) all channels are
    one group: of two or three values alone little but signs would be left. Statistics are taken in
    float32 at least.

    Attributes:
        groups: the most groups that channels are split into.
        epsilon: added to the variance.
        use_bias: whether a bias is added.
        scale: ``"one"`` or ``"zero"``, what it starts at, or ``"none"``: it is 1 and stays.
        dtype: of the result.
        param_dtype: of scale and bias.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> norm, images = GroupNorm(groups=2), jnp.arange(32.0).reshape(2, 2, 2, 4)
        >>> out = norm.apply(norm.init(jax.random.key(0), images), images)
        >>> bool(jnp.allclose(out[..., :2].mean((1, 2, 3)), 0, atol=1e-6))
        True
    """

    groups: int = 32
    epsilon: float = 1e-5
    use_bias: bool = True
    scale: str = "one"
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Normalises each row apart.

        Args:
            x: ``[B, ..., C]``, channels last.
            train: changes nothing; batch normalisation is called alike.

        Returns:
            The normalised rows, ``[B, ..., C]``, in ``dtype``.
        """
        channels = x.shape[-1]
        wide = jnp.promote_types(x.dtype, jnp.float32)
        scale, bias = _scale(self, channels), _bias(self, channels)
        most = min(self.groups, channels) if math.prod(x.shape[1:-1]) > 1 else 1
        groups = next(n for n in range(most, 0, -1) if channels % n == 0)
        grouped = x.astype(wide).reshape(*x.shape[:-1], groups, channels // groups)
        axes = (*range(1, x.ndim - 1), x.ndim)
        mean = grouped.mean(axes, keepdims=True)
        var = jnp.square(grouped - mean).mean(axes, keepdims=True)
        out = ((grouped - mean) * lax.rsqrt(var + self.epsilon)).reshape(x.shape)
        return (out * scale.astype(wide) + bias.astype(wide)).astype(self.dtype)


def _scale(norm: BatchNorm | GroupNorm, channels: int) -> Array:
    """The parameter of a module that has one, [C], or ones."""
    if norm.scale == "none":
        return jnp.ones(channels, norm.param_dtype)
    start = nn.initializers.zeros if norm.scale == "zero" else nn.initializers.ones
    return norm.param("scale", start, (channels,), norm.param_dtype)


def _bias(norm: BatchNorm | GroupNorm, channels: int) -> Array:
    """The parameter of a module that has one, [C], or zeros."""
    if not norm.use_bias:
        return jnp.zeros(channels, norm.param_dtype)
    return norm.param("bias", nn.initializers.zeros, (channels,), norm.param_dtype)
