"""Encoders by name."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from mcl_jax.models.blocks import Layers
from mcl_jax.models.cifar_resnet import CifarResNet
from mcl_jax.models.hcgnet import HCGNet
from mcl_jax.models.imagenet_resnet import ImageNetResNet
from mcl_jax.models.shufflenet import ShuffleNetV2
from mcl_jax.models.small_resnet import SmallResNet
from mcl_jax.models.unknown_name import unknown_name
from mcl_jax.models.vit import ViT
from mcl_jax.models.wide_resnet import WideResNet

_IMAGENET_RESNETS: dict[str, Callable[..., nn.Module]] = {
    "resnet18": functools.partial(ImageNetResNet, depths=(2, 2, 2, 2)),
    "resnet34": functools.partial(ImageNetResNet, depths=(3, 4, 6, 3)),
    "resnet50": functools.partial(ImageNetResNet, depths=(3, 4, 6, 3), bottleneck=True),
    "resnet101": functools.partial(ImageNetResNet, depths=(3, 4, 23, 3), bottleneck=True),
}

# Encoders of residual blocks that end with a normalisation.
_RESIDUAL = (*_IMAGENET_RESNETS, "resnet20", "resnet32", "resnet56", "resnet110")
_RESIDUAL += ("small_resnet", "tiny_resnet")

# Encoders that `create` takes a width and a stem for.
WITH_WIDTH_AND_STEM = tuple(_IMAGENET_RESNETS)

_ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "resnet20": functools.partial(CifarResNet, depth=3),
    "resnet32": functools.partial(CifarResNet, depth=5),
    "resnet56": functools.partial(CifarResNet, depth=9),
    "resnet110": functools.partial(CifarResNet, depth=12, bottleneck=True),
    "wrn_16_2": functools.partial(WideResNet, depth=16, widen=2),
    "wrn_40_2": functools.partial(WideResNet, depth=40, widen=2),
    "wrn_28_4": functools.partial(WideResNet, depth=28, widen=4),
    "hcgnet_A1": functools.partial(HCGNet, growth=(12, 24, 36)),
    "hcgnet_A2": functools.partial(HCGNet, growth=(24, 36, 64)),
    "ShuffleNetV2_05x": functools.partial(ShuffleNetV2, widths=(48, 96, 192)),
    "ShuffleNetV2_1x": functools.partial(ShuffleNetV2, widths=(116, 232, 464)),
    **_IMAGENET_RESNETS,
    "vit_tiny": functools.partial(ViT, width=192, heads=3),
    "vit_small": functools.partial(ViT, width=384, heads=6),
    "small_resnet": SmallResNet,
    "tiny_resnet": functools.partial(SmallResNet, widths=(16,)),
}


def names() -> tuple[str, ...]:
    """The names that ``create`` knows.

    Returns:
        Names of encoders.

    Example:
        >>> "resnet32" in names()
        True
    """
    return tuple(_ENCODERS)


def create(
    name: str,
    *,
    num_classes: int,
    dtype: DTypeLike = jnp.float32,
    param_dtype: DTypeLike = jnp.float32,
    convolution: str = "per_network",
    norm: str = "batch",
    norm_axis_name: str | None = None,
    norm_groups: int = 1,
    width: float = 1.0,
    stem: str = "",
    remat: bool = False,
    zero_residual: bool = False,
) -> nn.Module:
    """An encoder by name.

    Its use: ``module.apply(variables, images [B, H, W, c], train=False)`` gives
    ``(logits [B, C], features [B, F])``. It says how its top-level submodules lie in stages:
    ``module.stages`` is their number S, ``module.stage_of(name)`` is 0 for the stem, 1 to S, and
    S + 1 for what follows.

    Args:
        name: one of ``names()``.
        num_classes: number of classes C.
        dtype: of the computation; logits and features are float32 at least.
        param_dtype: of the parameters.
        convolution: ``"per_network"``, fast under vmap, or ``"plain"``, which has second
            derivatives.
        norm: ``"batch"``, or ``"group"`` in its place: the variables then have no
            ``batch_stats``. (Transformers have neither, whatever these three settings say.)
        norm_axis_name: mapped axis over which batch statistics are synced; None keeps them on the
            device.
        norm_groups: batch statistics are taken over so many runs of consecutive rows apart.
        width: factor on the widths of an ImageNet ResNet (resnet18 to resnet101); 1 elsewhere.
        stem: "" for the encoder's own; ``"small"`` gives an ImageNet ResNet a 3x3 convolution of
            stride 1 without pooling.
        remat: whether blocks are computed again in the backward pass, which saves memory.
        zero_residual: whether residual blocks start as their shortcuts, the scale of their last
            normalisation at zero; for ResNets that are no wide ones.

    Returns:
        A Flax Linen module.

    Raises:
        ValueError: if the name is unknown, a setting is out of range, or the encoder has no such
            option.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> net, images = create("small_resnet", num_classes=10), jnp.ones((2, 28, 28, 1))
        >>> logits, features = net.apply(net.init(jax.random.key(0), images), images)
        >>> logits.shape, features.shape
        ((2, 10), (2, 64))
    """
    if name not in _ENCODERS:
        raise unknown_name("encoder", name, _ENCODERS)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1; got {num_classes}.")
    if zero_residual and name not in _RESIDUAL:
        raise ValueError(f"zero_residual is for {', '.join(_RESIDUAL)}; got {name}.")
    layers = Layers(
        dtype=dtype,
        param_dtype=param_dtype,
        convolution=convolution,
        normalization=norm,
        norm_axis_name=norm_axis_name,
        norm_groups=norm_groups,
        remat=remat,
        zero_residual=zero_residual,
    )
    if name in _IMAGENET_RESNETS:
        return _ENCODERS[name](num_classes=num_classes, width=width, stem=stem, layers=layers)
    for option, value, own in (("width", width, 1.0), ("stem", stem, "")):
        if value != own:
            raise ValueError(
                f"{option} must be {own!r} for {name}, an option of {', '.join(_IMAGENET_RESNETS)} "
                f"alone; got {value!r}."
            )
    return _ENCODERS[name](num_classes=num_classes, layers=layers)
