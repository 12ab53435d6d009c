"""Arms as they are typed, other methods, and what pairs have in common."""

import re

import pytest

from mcl_jax import config as config_lib
from mcl_jax.config import ConfigError
from mcl_jax.studies import Arm, changed, parse_arms, with_method
from mcl_jax.studies.arms import check_arms, shared


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a; b", [("a", None, {}), ("b", None, {})]),
        ("a:;b :\n\n", [("a", None, {}), ("b", None, {})]),
        ("a: x.y=1, z=two  w=(1, 2)", [("a", None, {"x.y": "1", "z": "two", "w": "(1, 2)"})]),
        ("a: model.name=resnet20,resnet32, seed=1",
         [("a", None, {"model.name": "resnet20,resnet32", "seed": "1"})]),
        ("a: config.x=1", [("a", None, {"x": "1"})]),
        ("a: x=", [("a", None, {"x": ""})]),
        ("a@f.py", [("a", "f.py", {})]),
        ("a@ d/f.py:smoke", [("a", "d/f.py:smoke", {})]),
        ("a@d/f.py:smoke: x.y=1", [("a", "d/f.py:smoke", {"x.y": "1"})]),
        ("a@d/f.py: x.y=1 z=2", [("a", "d/f.py", {"x.y": "1", "z": "2"})]),
    ],
)  # fmt: skip
def test_arms_are_understood(text, expected):
    assert parse_arms(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b: x=1", "--arms must be NAME: FIELD=VALUE ...; NAME@FILE: FIELD=VALUE ..., got 'a b: "
         "x=1'."),
        ("a@file: x=1", "--arms must be NAME: FIELD=VALUE ...; NAME@FILE: FIELD=VALUE ..., got "
         "'a@file: x=1'."),
        ("a: method.networks", "--arms: a must change fields by FIELD=VALUE, got "
         "'method.networks'."),
        ("a: x=1 x=2", "--arms: a changes x twice."),
    ],
)  # fmt: skip
def test_what_is_no_arm_is_refused(text, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_arms(text)


def test_changes_make_a_copy():
    base = config_lib.default()
    config = changed(base, {"method.networks": 3, "optimizer.learning_rate": 1})
    assert (config.method.networks, config.optimizer.learning_rate) == (3, 1)
    assert config == changed(config, {})
    assert base == config_lib.default()
    with pytest.raises(ConfigError, match=r"no field method.network; did you mean"):
        changed(base, {"method.network": 3})


def test_another_method_keeps_what_was_changed_and_both_have():
    base = changed(
        config_lib.default("instance_discrimination"),
        {"method.networks": 1, "data.train_size": 500, "method.bank_momentum": 0.3,
         "method.form": "nce"},
    )  # fmt: skip
    other = with_method(base, "local_aggregation")
    config_lib.check(other)
    expected = config_lib.default("local_aggregation")
    expected.method.networks, expected.method.bank_momentum = 1, 0.3
    expected.data.train_size = 500
    assert other == expected
    # What a method has by default does not follow to another one.
    moco = changed(config_lib.default(), {"method.name": "moco", "method.queue_size": 50})
    assert moco.data.sampler == "shuffled"
    assert moco.method.queue_size == 50


def arm(name, **changes):
    fields = {x.replace("__", "."): value for x, value in changes.items()}
    return Arm(name, changed(config_lib.default(), fields))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method__temperature": 0.2}, "same batches and views, same initialisation"),
        ({"method__networks": 1}, "same batches and views, same initialisation of the networks "
         "that both have"),
        ({"views__padding": 2}, "same batches, other views (views.padding), same initialisation"),
        ({"data__batch_size": 50, "model__name": "resnet20"}, "other batches (data.batch_size), "
         "initialisation may differ (model.name)"),
        ({"method__name": "simclr", "data__sampler": "per_class", "views__recipe": "cifar",
          "method__head": "mcl"}, "same batches and views, initialisation may differ "
             "(method.name)"),
    ],
)  # fmt: skip
def test_what_pairs_have_in_common_is_said(changes, expected):
    assert shared(arm("a", **changes), arm("b")) == expected


def test_predictors_of_other_width_start_apart():
    one, other = (
        Arm(name, changed(config_lib.default("global_local"), {"method.predictor_width": width}))
        for name, width in (("narrow", 8), ("wide", 16))
    )
    assert shared(one, other) == (
        "same batches and views, initialisation may differ (method.predictor_width)"
    )


def test_small_crops_that_are_not_there_part_nothing():
    one, other = (
        arm("a", method__name="global_local"),
        arm("b", method__name="moco", views__recipe="moco_v2"),
    )
    assert shared(one, other).startswith("same batches and views, ")
    small = arm("a", method__name="global_local", views__small_crops=2)
    assert "other views (views.small_crops, views.small_scale)" in shared(small, other)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "--arms must name two arms or more, got 1."),
        (["a", "a"], "--arms must have different names, got a twice."),
        (["a", "b/c"], "--arms must have names of letters, digits and . + - _, got 'b/c'."),
    ],
)
def test_names_are_checked(names, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check_arms([arm(name) for name in names])
