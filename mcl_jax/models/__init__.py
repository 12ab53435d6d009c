"""Encoders by family, heads, and a registry. Images are ``[B, H, W, c]``."""

from mcl_jax.models.cifar_resnet import CifarResNet
from mcl_jax.models.convolution import CONVOLUTIONS, per_network_convolution, select_convolution
from mcl_jax.models.heads import ProjectionHead
from mcl_jax.models.imagenet_resnet import ImageNetResNet
from mcl_jax.models.normalization import BatchNorm
from mcl_jax.models.registry import create, names
from mcl_jax.models.small_resnet import SmallResNet
from mcl_jax.models.wide_resnet import WideResNet

__all__ = [
    "CONVOLUTIONS",
    "BatchNorm",
    "CifarResNet",
    "ImageNetResNet",
    "ProjectionHead",
    "SmallResNet",
    "WideResNet",
    "create",
    "names",
    "per_network_convolution",
    "select_convolution",
]
