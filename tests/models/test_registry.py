"""Encoders by name, and what is said of a wrong one."""

import doctest
import importlib
import pkgutil

import pytest

from mcl_jax import models


def test_every_name_is_created():
    for name in models.names():
        net = models.create(name, num_classes=3, convolution="plain", norm_groups=2)
        assert net.num_classes == 3
        assert net.layers.convolution == "plain"
        assert net.layers.norm("bn1").groups == 2


def test_unknown_name():
    message = r"unknown encoder 'resnet_32'; did you mean 'resnet32'\? Known: resnet20, resnet32,"
    with pytest.raises(ValueError, match=message):
        models.create("resnet_32", num_classes=10)


def test_number_of_classes():
    with pytest.raises(ValueError, match="num_classes must be at least 1; got 0"):
        models.create("resnet32", num_classes=0)


def test_number_of_groups():
    with pytest.raises(ValueError, match="norm_groups must be at least 1; got 0"):
        models.create("resnet32", num_classes=10, norm_groups=0)


def test_unknown_convolution():
    with pytest.raises(ValueError, match="one of per_network, plain; got 'fast'"):
        models.create("resnet32", num_classes=10, convolution="fast")


MODULES = [module.name for module in pkgutil.iter_modules(models.__path__)]


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    result = doctest.testmod(importlib.import_module(f"mcl_jax.models.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
