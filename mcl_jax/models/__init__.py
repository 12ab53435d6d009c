"""Encoders by family, heads, and a registry. Images are ``[B, H, W, c]``."""

from mcl_jax.models.cifar_resnet import CifarResNet
from mcl_jax.models.convolution import CONVOLUTIONS, per_network_convolution, select_convolution
from mcl_jax.models.hcgnet import HCGNet
from mcl_jax.models.heads import (
    BEFORE_PREDICTORS,
    BYOLHead,
    JigsawHead,
    LinearHead,
    MoCoV2Head,
    Predictor,
    ProjectionHead,
    SimCLRHead,
    SimSiamHead,
    create_head,
    head_names,
)
from mcl_jax.models.imagenet_resnet import ImageNetResNet
from mcl_jax.models.normalization import BatchNorm, GroupNorm
from mcl_jax.models.plain_head import PlainHead
from mcl_jax.models.registry import WITH_WIDTH_AND_STEM, create, names
from mcl_jax.models.shufflenet import ShuffleNetV2
from mcl_jax.models.small_resnet import SmallResNet
from mcl_jax.models.vit import ViT
from mcl_jax.models.wide_resnet import WideResNet

__all__ = [
    "BEFORE_PREDICTORS",
    "CONVOLUTIONS",
    "WITH_WIDTH_AND_STEM",
    "BYOLHead",
    "BatchNorm",
    "CifarResNet",
    "GroupNorm",
    "HCGNet",
    "ImageNetResNet",
    "JigsawHead",
    "LinearHead",
    "MoCoV2Head",
    "PlainHead",
    "Predictor",
    "ProjectionHead",
    "ShuffleNetV2",
    "SimCLRHead",
    "SimSiamHead",
    "SmallResNet",
    "ViT",
    "WideResNet",
    "create",
    "create_head",
    "head_names",
    "names",
    "per_network_convolution",
    "select_convolution",
]
