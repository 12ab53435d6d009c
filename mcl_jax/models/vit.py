"""Vision transformers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from mcl_jax.models.blocks import Layers, stage_of
from mcl_jax.models.convolution import select_convolution


def _linear(features: int, layers: Layers, name: str) -> nn.Dense:
    """A linear layer; weights start from a normal of 0.02 cut off at 2 deviations, biases at 0."""
    return nn.Dense(
        features,
        kernel_init=nn.initializers.truncated_normal(0.02),
        dtype=layers.dtype,
        param_dtype=layers.param_dtype,
        name=name,
    )


def _norm(layers: Layers, name: str) -> nn.LayerNorm:
    """A layer normalisation, its statistics in float32 at least."""
    return nn.LayerNorm(1e-6, dtype=layers.dtype, param_dtype=layers.param_dtype, name=name)


class PatchEmbedding(nn.Module):
    """A linear map of every patch: a convolution whose stride is its size.

    Attributes:
        width: of the tokens.
        patch: pixels a side.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> embed, images = PatchEmbedding(8, patch=4), jnp.ones((2, 8, 12, 3))
        >>> jax.eval_shape(lambda: embed.init_with_output(jax.random.key(0), images)[0]).shape
        (2, 6, 8)
    """

    width: int
    patch: int
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """``[B, H, W, c] -> [B, N, width]``, N = HW / patch^2, rows first."""
        project = nn.Conv(
            self.width,
            (self.patch, self.patch),
            strides=self.patch,
            padding="VALID",
            dtype=self.layers.dtype,
            param_dtype=self.layers.param_dtype,
            conv_general_dilated=select_convolution(self.layers.convolution),
            name="proj",
        )
        return project(images).reshape(images.shape[0], -1, self.width)


class Attention(nn.Module):
    """W [softmax(q k^T / sqrt(width / heads)) v of every head] + b, with q, k, v linear in x.

    Vaswani et al., arXiv 1706.03762. The softmax is taken in float32 at least.

    Attributes:
        heads: number of heads; it divides the width.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> attention, x = Attention(heads=2), jnp.ones((2, 5, 8))
        >>> jax.eval_shape(lambda: attention.init_with_output(jax.random.key(0), x)[0]).shape
        (2, 5, 8)
    """

    heads: int
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """``[B, N, width] -> [B, N, width]``."""
        *rows, width = x.shape
        qkv = _linear(3 * width, self.layers, "qkv")(x)
        qkv = qkv.reshape(*rows, 3, self.heads, width // self.heads)
        query, key, value = (qkv[..., i, :, :] for i in range(3))
        logits = jnp.einsum("...qhd,...khd->...hqk", query, key) * (width // self.heads) ** -0.5
        wide = jnp.promote_types(logits.dtype, jnp.float32)
        shares = jax.nn.softmax(logits.astype(wide)).astype(value.dtype)
        out = jnp.einsum("...hqk,...khd->...qhd", shares, value)
        return _linear(width, self.layers, "proj")(out.reshape(x.shape))


class MLP(nn.Module):
    """W2 GELU(W1 x + b1) + b2, the hidden layer four times as wide as x.

    Attributes:
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> variables = jax.eval_shape(MLP().init, jax.random.key(0), jnp.ones((2, 5, 8)))
        >>> variables["params"]["fc1"]["kernel"].shape
        (8, 32)
    """

    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """``[..., width] -> [..., width]``."""
        hidden = nn.gelu(_linear(4 * x.shape[-1], self.layers, "fc1")(x), approximate=False)
        return _linear(x.shape[-1], self.layers, "fc2")(hidden)


class TransformerBlock(nn.Module):
    """y + MLP(LN(y)) with y = x + Attention(LN(x)).

    Attributes:
        heads: number of heads.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> block, x = TransformerBlock(heads=2), jnp.ones((2, 5, 8))
        >>> jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), x)[0]).shape
        (2, 5, 8)
    """

    heads: int
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """``[B, N, width] -> [B, N, width]``; training changes nothing."""
        layers = self.layers
        x = x + Attention(self.heads, layers, name="attn")(_norm(layers, "norm1")(x))
        return x + MLP(layers, name="mlp")(_norm(layers, "norm2")(x))


class ViT(nn.Module):
    """Patches - class token - learned positions - transformer blocks - LN - class token - linear.

    Dosovitskiy et al., arXiv 2010.11929, in the sizes of Touvron et al., arXiv 2012.12877: width
    192 and 3 heads (Tiny), 384 and 6 (Small), 12 blocks. Features are the class token after the
    last layer normalisation, as in both papers (rather than a mean of tokens). Neither dropout nor
    stochastic depth. Names are those of timm. There are no batch statistics, and normalisation is
    by layer whatever ``layers`` says. Positions belong to the image size of initialisation.

    Attributes:
        num_classes: number of classes C.
        width: of the tokens, and so of the features.
        heads: number of heads of each block; it divides the width.
        depth: number of blocks, each a stage.
        patch: pixels a side of a patch; None takes 16 for images of 64 pixels a side or more, and 4
            below.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net, images = ViT(num_classes=10, depth=2), jnp.ones((2, 32, 32, 3))
        >>> variables = jax.eval_shape(net.init, jax.random.key(0), images)
        >>> logits, features = jax.eval_shape(net.apply, variables, images)
        >>> logits.shape, features.shape
        ((2, 10), (2, 192))
    """

    num_classes: int
    width: int = 192
    heads: int = 3
    depth: int = 12
    patch: int | None = None
    layers: Layers = Layers()

    @property
    def stages(self) -> int:
        """Number S of stages."""
        return self.depth

    def stage_of(self, name: str) -> int:
        """The stage of a top-level submodule or parameter: 0 before the blocks, 1 to S, S + 1."""
        return stage_of(
            name,
            self.stages,
            stem=("patch_embed", "cls_token", "pos_embed"),
            end=("norm", "head"),
            pattern=r"blocks_(\d+)",
            first=0,
        )

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> tuple[Array, Array]:
        """Encodes and classifies images.

        Args:
            images: ``[B, H, W, c]``, floating.
            train: changes nothing.

        Returns:
            (logits ``[B, C]``, features ``[B, F]``), float32 or wider.

        Raises:
            ValueError: if the heads do not divide the width, or patches the images.
        """
        if self.width % self.heads:
            raise ValueError(f"heads must divide the width {self.width}; got {self.heads}.")
        layers, images = self.layers, self.layers.enter(images)
        tokens = PatchEmbedding(self.width, self._patch_of(images), layers, name="patch_embed")
        x = tokens(images)
        token = self.param(
            "cls_token", nn.initializers.normal(1e-6), (1, 1, self.width), layers.param_dtype
        )
        positions = self.param(
            "pos_embed",
            nn.initializers.truncated_normal(0.02),
            (1, x.shape[1] + 1, self.width),
            layers.param_dtype,
        )
        first = jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], 1, self.width))
        x = jnp.concatenate([first, x], 1) + positions.astype(x.dtype)
        block = layers.block(TransformerBlock)
        for index in range(self.depth):
            x = block(self.heads, layers, name=f"blocks_{index}")(x, train)
        features = _norm(layers, "norm")(x[:, 0])
        features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
        return layers.classifier(features, self.num_classes, name="head"), features

    def _patch_of(self, images: Array) -> int:
        """Pixels a side of a patch."""
        height, width = images.shape[1:3]
        patch = self.patch or (16 if min(height, width) >= 64 else 4)
        if height % patch or width % patch:
            raise ValueError(
                f"patches of {patch}x{patch} do not divide images of {height}x{width} pixels."
            )
        return patch
