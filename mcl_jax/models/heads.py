"""Heads: from features to what is contrasted; and predictors, from one view to another."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from mcl_jax.losses import l2_normalize
from mcl_jax.models.blocks import Layers, linear
from mcl_jax.models.unknown_name import unknown_name


def _wide(x: Array) -> Array:
    """The same in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _linear(x: Array, width: int, layers: Layers, name: str, use_bias: bool = True) -> Array:
    """W x, or W x + b."""
    layer = linear(
        width,
        x.shape[-1],
        name=name,
        dtype=layers.dtype,
        param_dtype=layers.param_dtype,
        use_bias=use_bias,
    )
    return layer(x)


def _normalized(x: Array, width: int, layers: Layers, train: bool) -> Array:
    """ReLU(BN(W1 x)); the normalisation would take off a bias of W1 again."""
    x = _linear(x, width, layers, "linear1", use_bias=False)
    return nn.relu(layers.norm("bn1")(x, train))


class ProjectionHead(nn.Module):
    """L2(W2 ReLU(W1 features + b1) + b2): the head of MCL, one a network, dropped at test.

    Yang et al., arXiv 2104.12565; layers start as PyTorch's.

    Attributes:
        dim: width D of the hidden layer and of the embedding.
        dtype: of the computation.
        param_dtype: of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = ProjectionHead(dim=16), jnp.ones((2, 64))
        >>> head.apply(head.init(jax.random.key(0), features), features).shape
        (2, 16)
    """

    dim: int = 128
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Array, train: bool = False) -> Array:
        """Projects features onto the unit sphere.

        Args:
            features: ``[..., F]``.
            train: changes nothing; heads with batch normalisation are called alike.

        Returns:
            Unit vectors ``[..., D]``, float32 or wider.
        """
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = linear(self.dim, features.shape[-1], name="linear1", **types)(features)
        x = linear(self.dim, self.dim, name="linear2", **types)(nn.relu(x))
        return l2_normalize(_wide(x))


class LinearHead(nn.Module):
    """L2(W features + b): the head of InstDisc and of MoCo v1.

    Wu et al., arXiv 1805.01978, and He et al., arXiv 1911.05722: D = 128. The layer starts as
    PyTorch's.

    Attributes:
        dim: width D of the embedding.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = LinearHead(dim=16), jnp.ones((2, 64))
        >>> jax.eval_shape(lambda: head.init_with_output(jax.random.key(0), features)[0]).shape
        (2, 16)
    """

    dim: int = 128
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, features: Array, train: bool = False) -> Array:
        """Projects features onto the unit sphere.

        Args:
            features: ``[..., F]``.
            train: changes nothing; heads with batch normalisation are called alike.

        Returns:
            Unit vectors ``[..., D]``, float32 or wider.
        """
        return l2_normalize(_wide(_linear(features, self.dim, self.layers, "linear1")))


class MoCoV2Head(nn.Module):
    """L2(W2 ReLU(W1 features + b1) + b2), the hidden layer as wide as the features.

    Chen et al., arXiv 2003.04297: 2048 wide behind a ResNet-50, D = 128. The ``mlp`` head of
    InfoMin (arXiv 2005.10243) is the same. Layers start as PyTorch's.

    Attributes:
        dim: width D of the embedding.
        width: of the hidden layer; None for that of the features.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = MoCoV2Head(dim=16), jnp.ones((2, 64))
        >>> variables = jax.eval_shape(head.init, jax.random.key(0), features)
        >>> variables["params"]["linear1"]["kernel"].shape
        (64, 64)
    """

    dim: int = 128
    width: int | None = None
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, features: Array, train: bool = False) -> Array:
        """Projects features onto the unit sphere.

        Args:
            features: ``[..., F]``.
            train: changes nothing; heads with batch normalisation are called alike.

        Returns:
            Unit vectors ``[..., D]``, float32 or wider.
        """
        x = nn.relu(_linear(features, self.width or features.shape[-1], self.layers, "linear1"))
        return l2_normalize(_wide(_linear(x, self.dim, self.layers, "linear2")))


class SimCLRHead(nn.Module):
    """L2(BN'(W2 ReLU(BN(W1 features)))), BN' without a bias: SimCLR's two layers.

    Chen et al., arXiv 2002.05709: the hidden layer is as wide as the features (2048), D = 128. The
    paper writes W2 ReLU(W1 features); batch normalisation after both layers, the last with a scale
    and no bias, is how the authors' code has it, and so it is here. (Their SimCLR v2 has three
    layers.) Layers start as PyTorch's; the authors draw from N(0, 0.01^2).

    Attributes:
        dim: width D of the embedding.
        width: of the hidden layer; None for that of the features.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = SimCLRHead(dim=16), jnp.ones((2, 64))
        >>> jax.eval_shape(lambda: head.init_with_output(jax.random.key(0), features)[0]).shape
        (2, 16)
    """

    dim: int = 128
    width: int | None = None
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, features: Array, train: bool = False) -> Array:
        """Projects features onto the unit sphere.

        Args:
            features: ``[..., F]``.
            train: whether batch statistics are used and recorded.

        Returns:
            Unit vectors ``[..., D]``, float32 or wider.
        """
        layers = self.layers
        x = _normalized(features, self.width or features.shape[-1], layers, train)
        x = _linear(x, self.dim, layers, "linear2", use_bias=False)
        return l2_normalize(_wide(layers.norm("bn2", use_bias=False)(x, train)))


class BYOLHead(nn.Module):
    """L2(W2 ReLU(BN(W1 features))): BYOL's projector.

    Grill et al., arXiv 2006.07733: hidden width 4096, D = 256, no normalisation of the batch at the
    end. No layer has a bias: the authors' first has one, which its batch normalisation takes off
    again. Layers start as PyTorch's.

    Attributes:
        dim: width D of the embedding.
        width: of the hidden layer.
        unit: whether embeddings are divided by their lengths. BYOL's predictor is shown them
            before that.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = BYOLHead(dim=16, width=32), jnp.ones((2, 64))
        >>> jax.eval_shape(lambda: head.init_with_output(jax.random.key(0), features)[0]).shape
        (2, 16)
    """

    dim: int = 256
    width: int = 4096
    unit: bool = True
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, features: Array, train: bool = False) -> Array:
        """Projects features.

        Args:
            features: ``[..., F]``.
            train: whether batch statistics are used and recorded.

        Returns:
            Vectors ``[..., D]``, float32 or wider, of length one if ``unit``.
        """
        x = _normalized(features, self.width, self.layers, train)
        x = _wide(_linear(x, self.dim, self.layers, "linear2", use_bias=False))
        return l2_normalize(x) if self.unit else x


class SimSiamHead(nn.Module):
    """L2(BN(W3 ReLU(BN(W2 ReLU(BN(W1 features)))))): SimSiam's three layers, and Fast-MoCo's.

    SimSiam (Chen and He, arXiv 2011.10566): all layers 2048 wide, the last normalisation without
    scale and bias. Fast-MoCo (arXiv 2207.08220), NNCLR (arXiv 2104.14548) and Multi-network
    Contrastive Learning Based on Global and Local Representations (arXiv 2306.15930) have both
    there. No layer has a bias, which its normalisation would take off again. Layers start as
    PyTorch's.

    Attributes:
        dim: width D of the embedding.
        width: of the hidden layers.
        affine: whether the last normalisation has a scale and a bias.
        unit: whether embeddings are divided by their lengths. Predictors are shown them before
            that.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = SimSiamHead(dim=16, width=32), jnp.ones((2, 64))
        >>> jax.eval_shape(lambda: head.init_with_output(jax.random.key(0), features)[0]).shape
        (2, 16)
    """

    dim: int = 2048
    width: int = 2048
    affine: bool = False
    unit: bool = True
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, features: Array, train: bool = False) -> Array:
        """Projects features.

        Args:
            features: ``[..., F]``.
            train: whether batch statistics are used and recorded.

        Returns:
            Vectors ``[..., D]``, float32 or wider, of length one if ``unit``.
        """
        layers = self.layers
        x = _normalized(features, self.width, layers, train)
        x = _linear(x, self.width, layers, "linear2", use_bias=False)
        x = nn.relu(layers.norm("bn2")(x, train))
        x = _linear(x, self.dim, layers, "linear3", use_bias=False)
        last = layers.norm("bn3", use_bias=self.affine, scale="one" if self.affine else "none")
        x = _wide(last(x, train))
        return l2_normalize(x) if self.unit else x


class Predictor(nn.Module):
    """W2 ReLU(BN(W1 z)) (+ b2): from one view's projection to the other's, as long as it comes.

    BYOL (Grill et al., arXiv 2006.07733): 256 to 4096 to 256, without b2, the defaults. SimSiam
    (Chen and He, arXiv 2011.10566) makes it a bottleneck, 2048 to 512 to 2048, with b2:
    ``Predictor(dim=2048, width=512, use_bias=True)``. Both papers divide by the length in the loss.
    Layers start as PyTorch's.

    Attributes:
        dim: width D of the prediction, that of the projection.
        width: of the hidden layer.
        use_bias: whether there is b2.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> predictor, z = Predictor(dim=16, width=4), jnp.ones((2, 16))
        >>> jax.eval_shape(lambda: predictor.init_with_output(jax.random.key(0), z)[0]).shape
        (2, 16)
    """

    dim: int = 256
    width: int = 4096
    use_bias: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, projections: Array, train: bool = False) -> Array:
        """Predicts projections.

        Args:
            projections: ``[..., D]``.
            train: whether batch statistics are used and recorded.

        Returns:
            Predictions ``[..., D]``, float32 or wider.
        """
        x = _normalized(projections, self.width, self.layers, train)
        return _wide(_linear(x, self.dim, self.layers, "linear2", self.use_bias))


class JigsawHead(nn.Module):
    """L2(W [g(f_o(1)), ..., g(f_o(9))] + b): nine patches of an image as one embedding.

    The head of InfoMin's jigsaw branch (arXiv 2005.10243), after PIRL (arXiv 1912.01991): each
    patch is projected by ``g(f) = V f + c``, or with a hidden layer ``V2 ReLU(V1 f + c1) + c2``,
    the patches are put in an order o, side by side, and projected again. Layers start as PyTorch's.
    The authors draw the order inside the head; here it is an argument.

    Attributes:
        dim: width D of the embedding, and of a patch before they are joined.
        hidden: whether patches pass a hidden layer, as wide as the features.
        layers: how layers are built.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> head, features = JigsawHead(dim=16), jnp.ones((2, 9, 64))
        >>> order = jnp.tile(jnp.arange(9), (2, 1))
        >>> draw = lambda: head.init_with_output(jax.random.key(0), features, order)[0]
        >>> jax.eval_shape(draw).shape
        (2, 16)
    """

    dim: int = 128
    hidden: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, features: Array, order: Array) -> Array:
        """Projects patches onto the unit sphere, an image together.

        Args:
            features: ``[B, P, F]``, of P patches.
            order: int ``[B, P]``, a permutation for each image: place p gets patch ``order[p]``.

        Returns:
            Unit vectors ``[B, D]``, float32 or wider.
        """
        x = features
        if self.hidden:
            x = nn.relu(_linear(x, features.shape[-1], self.layers, "linear1"))
        x = _linear(x, self.dim, self.layers, "linear2" if self.hidden else "linear1")
        x = jnp.take_along_axis(x, order[:, :, None], axis=1)
        x = _linear(x.reshape(len(x), -1), self.dim, self.layers, "joined")
        return l2_normalize(_wide(x))


_HEADS: dict[str, Callable[..., nn.Module]] = {
    "mcl": ProjectionHead,
    "linear": LinearHead,
    "mocov2": MoCoV2Head,
    "simclr": SimCLRHead,
    "byol": BYOLHead,
    "simsiam": SimSiamHead,
    "fast_moco": functools.partial(SimSiamHead, affine=True),
}

BEFORE_PREDICTORS = ("byol", "simsiam", "fast_moco")
"""Heads that `create_head` can make without unit length, and of any hidden width."""


def head_names() -> tuple[str, ...]:
    """The names that ``create_head`` knows.

    Returns:
        Names of heads.

    Example:
        >>> head_names()
        ('mcl', 'linear', 'mocov2', 'simclr', 'byol', 'simsiam', 'fast_moco')
    """
    return tuple(_HEADS)


def create_head(
    name: str,
    dim: int,
    *,
    width: int | None = None,
    unit: bool = True,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    norm: str = "batch",
    norm_axis_name: str | None = None,
    norm_groups: int = 1,
) -> nn.Module:
    """A head by name, with the hidden width of its paper.

    Its use: ``head.apply(variables, features [..., F], train=False)`` gives unit vectors
    ``[..., D]``. ``simclr``, ``byol``, ``simsiam`` and ``fast_moco`` normalise, and have
    ``batch_stats``.

    Args:
        name: one of ``head_names()``.
        dim: width D of the embedding.
        width: of the hidden layers of ``byol``, ``simsiam`` and ``fast_moco``; None is the paper's.
        unit: whether vectors have length one; the same three can leave it to whoever compares them.
        dtype: of the computation; embeddings are float32 at least.
        param_dtype: of the parameters.
        norm: ``"batch"`` or ``"group"``, as of an encoder.
        norm_axis_name: mapped axis over which batch statistics are synced; None keeps them on the
            device.
        norm_groups: batch statistics are taken over so many runs of consecutive rows apart.

    Returns:
        A Flax Linen module.

    Raises:
        ValueError: if the name is unknown, or a setting is out of range.

    Example:
        >>> create_head("mocov2", 128).dim
        128
    """
    if name not in _HEADS:
        raise unknown_name("head", name, _HEADS)
    if dim < 1:
        raise ValueError(f"dim must be at least 1; got {dim}.")
    layers = Layers(
        dtype=dtype,
        param_dtype=param_dtype,
        normalization=norm,
        norm_axis_name=norm_axis_name,
        norm_groups=norm_groups,
    )
    if name in BEFORE_PREDICTORS:
        own = {} if width is None else {"width": width}
        return _HEADS[name](dim=dim, unit=unit, layers=layers, **own)
    if width is not None or not unit:
        raise ValueError(
            f"width and unit are for {', '.join(BEFORE_PREDICTORS)}; got {width} and {unit} for "
            f"{name}."
        )
    if name == "mcl":
        return ProjectionHead(dim, dtype=dtype, param_dtype=param_dtype)
    return _HEADS[name](dim=dim, layers=layers)
