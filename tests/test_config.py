"""What a configuration may hold, and which run a workdir belongs to."""

import importlib.util
import json
import math
import pathlib
import re
from typing import Any

import pytest
from ml_collections import ConfigDict

from mcl_jax import config as config_lib
from mcl_jax.config import ConfigError

CONFIGS = sorted(pathlib.Path(__file__).parents[1].glob("configs/*.py"))


def changed(**changes: Any) -> ConfigDict:
    config = config_lib.default()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return config


def names(config: ConfigDict, prefix: str = "") -> set[str]:
    found = set()
    for name, value in config.items():
        inner = isinstance(value, ConfigDict)
        found |= names(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}"}
    return found


def refused(config: ConfigDict, message: str, devices: int = 1) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        config_lib.check(config, devices)


def test_the_default_is_fine():
    config_lib.check(config_lib.default(), 1)


def test_defaults_are_not_shared():
    config = config_lib.default()
    config.method.weights.vcl = 7.0
    assert config_lib.default().method.weights.vcl == 0.1


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("method.numerator", ["mean_log", "log_sum"]),
        ("method.distillation_students", ["all", "last"]),
        ("model.dtype", ["float32", "bfloat16", "float64"]),
        ("model.convolution", ["per_network", "plain"]),
        ("model.norm", ["local", "sync", "grouped"]),
        ("data.sampler", ["per_class", "shuffled"]),
        ("optimizer.schedule", ["cosine", "step", "constant"]),
        ("parallel.mapper", ["shard_map", "pmap"]),
    ],
)
def test_choices(name, choices):
    for choice in choices:
        config_lib.check(changed(**{name: choice}), 1)
    refused(changed(**{name: "none"}), f"{name} must be one of {', '.join(choices)}, got 'none'.")


@pytest.mark.parametrize(
    ("least", "fields"),
    [
        (2, "data.batch_size"),
        (
            1,
            "method.networks method.embedding_dim model.norm_groups "
            "training.epochs training.steps_per_dispatch training.log_every "
            "training.checkpoint_every_epochs training.keep_checkpoints evaluation.batch_size "
            "evaluation.knn_neighbours evaluation.knn_rows",
        ),
        (
            0,
            "data.train_size data.validation_size data.image_size views.padding "
            "optimizer.learning_rate optimizer.momentum optimizer.weight_decay optimizer.clip_norm "
            "optimizer.warmup_epochs training.steps training.eval_every_epochs",
        ),
    ],
)
def test_least_values(least, fields):
    for name in fields.split():
        kind = type(config_lib.default().get_ref(name.split(".")[0]).get()[name.split(".")[1]])
        config_lib.check(changed(**{name: kind(least)}), 1)
        got = kind(least - 1)
        refused(changed(**{name: got}), f"{name} must be at least {least}, got {got}.")


@pytest.mark.parametrize(
    "name", ["optimizer.learning_rate", "optimizer.weight_decay", "optimizer.warmup_epochs"]
)
def test_a_least_value_is_a_number(name):
    refused(changed(**{name: math.nan}), f"{name} must be at least 0, got nan.")


@pytest.mark.parametrize("value", [0.0, -0.5, math.nan])
@pytest.mark.parametrize(
    "name", ["method.temperature", "method.soft_temperature", "optimizer.gamma"]
)
def test_values_above_zero(name, value):
    config_lib.check(changed(**{name: 1e-3}), 1)
    refused(changed(**{name: value}), f"{name} must be above 0, got {value}.")


@pytest.mark.parametrize(("batch", "devices"), [(100, 8), (6, 4)])
def test_devices_divide_the_batch(batch, devices):
    config_lib.check(changed(data__batch_size=batch), batch // 2)
    refused(
        changed(data__batch_size=batch),
        f"data.batch_size must be a multiple of the number of devices, {devices}, got {batch}.",
        devices,
    )


@pytest.mark.parametrize(("groups", "devices"), [(3, 2), (1, 2), (10, 2)])
def test_groups_of_statistics_divide(groups, devices):
    config = changed(data__batch_size=12, model__norm_groups=groups)
    config_lib.check(config, devices)  # of no meaning without "grouped"
    config.model.norm = "grouped"
    refused(
        config,
        f"model.norm_groups must be a multiple of the number of devices, {devices}, and divide "
        f"data.batch_size, 12, got {groups}.",
        devices,
    )


@pytest.mark.parametrize(("groups", "devices"), [(1, 1), (4, 2), (6, 3)])
def test_groups_of_statistics_that_divide(groups, devices):
    config = changed(data__batch_size=12, model__norm="grouped", model__norm_groups=groups)
    config_lib.check(config, devices)


@pytest.mark.parametrize(("mean", "std"), [((0.5,), ()), ((), (0.5,)), ((0.1, 0.2), (0.5,))])
def test_mean_and_std_have_as_many_channels(mean, std):
    config_lib.check(changed(data__mean=mean, data__std=mean), 1)
    refused(
        changed(data__mean=mean, data__std=std),
        f"data.mean and data.std must have one number a channel each, got {len(mean)} and "
        f"{len(std)}.",
    )


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("name", ["method.weights.icl", "method.weights.deep_mutual"])
def test_weights_are_finite(name, value):
    refused(changed(**{name: value}), f"{name} must be a finite number, got {value}.")


def test_patterns_are_regular_expressions():
    config_lib.check(changed(optimizer__decay_exclude=("bias$",)), 1)
    with pytest.raises(ConfigError, match=r"decay_exclude must hold regular .*, got '\('"):
        config_lib.check(changed(optimizer__decay_exclude=("(",)), 1)


@pytest.mark.parametrize("value", [0.0, -0.5, math.nan])
def test_std_is_above_zero(value):
    config = changed(data__mean=(0.5, 0.5), data__std=(0.5, value))
    refused(config, f"data.std must be above 0, got {(0.5, value)}.")


def test_an_error_of_a_configuration_is_a_value_error():
    assert issubclass(ConfigError, ValueError)


def test_smoke_changes_size_and_nothing_without_being_asked():
    config = config_lib.default()
    assert config_lib.smoke(config, "") is config
    assert config == config_lib.default()
    assert config_lib.smoke(config, "smoke") is config
    assert config.name == "default-smoke"
    assert config.data.name == "digits"
    assert config.training.steps <= 10
    assert config.method == config_lib.default().method


@pytest.mark.parametrize("arg", ["smok", "tiny", "Smoke"])
def test_smoke_takes_no_other_word(arg):
    message = f"the part of --config behind the colon must be smoke, got {arg!r}."
    with pytest.raises(ConfigError, match=re.escape(message)):
        config_lib.smoke(config_lib.default(), arg)


@pytest.mark.parametrize("arg", ["", "smoke"])
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_file_gives_a_configuration_that_may_run(path, arg):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(arg)
    config_lib.check(config, 1)
    assert config.name == path.stem + ("-smoke" if arg else "")
    assert names(config) == names(config_lib.default())
    assert config.data.name == "digits" or not arg
    json.dumps(config.to_dict())
    with pytest.raises(ConfigError, match="must be smoke"):
        module.get_config("nonsense")


def test_there_are_configurations():
    assert {"quickstart", "cifar100", "imagenet"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("kind", [pathlib.Path, str])
@pytest.mark.parametrize("folder", [".", "new", "new/and/deep"])
def test_a_fresh_workdir_gets_the_configuration(tmp_path, kind, folder):
    workdir = tmp_path / folder
    assert config_lib.claim(kind(workdir), changed(data__mean=(0.25,), seed=5), steps=10) == workdir
    written = json.loads((workdir / "config.json").read_text())
    assert written["seed"] == 5
    assert written["data"]["mean"] == [0.25]
    assert names(ConfigDict(written)) == names(config_lib.default())


def test_the_same_configuration_claims_a_workdir_again(tmp_path):
    path = tmp_path / "config.json"
    config = changed(data__mean=(0.25, 0.5), data__std=(1.0, 1.0), optimizer__milestones=(3.0,))
    config_lib.claim(tmp_path, config, steps=10)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    text = path.read_text()
    config_lib.claim(tmp_path, config, steps=10)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed (0 there, 1 now)"),
        ({"method.weights.icl": 0.5}, "method.weights.icl (0.1 there, 0.5 now)"),
        ({"data.mean": (0.5,)}, "data.mean ([] there, [0.5] now)"),
        ({"parallel.devices": 4}, "parallel.devices (0 there, 4 now)"),
        ({"training.eval_every_epochs": 1}, "training.eval_every_epochs (10 there, 1 now)"),
        ({"training.steps_per_dispatch": 2}, "training.steps_per_dispatch (1 there, 2 now)"),
        (
            {"optimizer.momentum": 0.5, "data.name": "digits"},
            "data.name (fashion_mnist there, digits now), optimizer.momentum (0.9 there, 0.5 now)",
        ),
    ],
)
def test_a_workdir_of_another_configuration_is_refused(tmp_path, changes, message):
    path = tmp_path / "config.json"
    config_lib.claim(tmp_path, config_lib.default(), steps=10)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    text = path.read_text()
    message = re.escape(f"workdir {tmp_path} holds a run with another {message}.")
    with pytest.raises(ConfigError, match=f"^{message}$"):
        config_lib.claim(tmp_path, changed(**changes), steps=10)
    assert path.read_text() == text


@pytest.mark.parametrize("there", [True, False])
def test_a_field_that_one_of_them_lacks_differs(tmp_path, there):
    more = config_lib.default()
    more.method.memory = 8
    old, new = (more, config_lib.default()) if there else (config_lib.default(), more)
    config_lib.claim(tmp_path, old, steps=10)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    values = "8 there, None now" if there else "None there, 8 now"
    with pytest.raises(ConfigError, match=re.escape(f"method.memory ({values})")):
        config_lib.claim(tmp_path, new, steps=10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "another"),
        ("training.steps", 7),
        ("training.epochs", 7),
        ("training.log_every", 7),
        ("training.keep_checkpoints", 7),
        ("evaluation.batch_size", 7),
        ("evaluation.knn_neighbours", 7),
        ("evaluation.knn_rows", 7),
    ],
)
def test_length_logging_and_evaluation_may_differ(tmp_path, name, value):
    path = tmp_path / "config.json"
    config_lib.claim(tmp_path, config_lib.default(), steps=10)
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    config_lib.claim(tmp_path, changed(**{name: value}), steps=10)
    written = json.loads(path.read_text())
    for part in name.split("."):
        written = written[part]
    assert written == value  # the file tells of the run as it goes on


@pytest.mark.parametrize(
    ("workdir", "reason"),
    [("file", "File exists"), ("file/run", "Not a directory"), ("taken", "Is a directory")],
)
def test_a_workdir_that_cannot_be_written_is_refused(tmp_path, workdir, reason):
    (tmp_path / "file").write_text("text")
    (tmp_path / "taken" / "config.json").mkdir(parents=True)
    message = re.escape(f"workdir {tmp_path / workdir} cannot be written: {reason}.")
    with pytest.raises(ConfigError, match=f"^{message}$"):
        config_lib.claim(tmp_path / workdir, config_lib.default(), steps=10)
    assert (tmp_path / "file").read_text() == "text"


def test_before_there_is_a_checkpoint_another_configuration_takes_the_workdir(tmp_path):
    config_lib.claim(tmp_path, config_lib.default(), steps=10)
    config_lib.claim(tmp_path, changed(seed=1), steps=10)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 1


def test_a_workdir_with_more_steps_is_refused(tmp_path):
    config_lib.claim(tmp_path, config_lib.default(), steps=10)
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"steps must be at least the 10 that .* got 9"):
        config_lib.claim(tmp_path, config_lib.default(), steps=9)


def test_a_config_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"holds a config\.json that is no JSON"):
        config_lib.claim(tmp_path, config_lib.default(), steps=10)


def test_statistics_of_a_single_row_are_refused():
    with pytest.raises(ConfigError, match="two rows or more, got 4 in 4 parts"):
        config_lib.check(changed(**{"data.batch_size": 4}), 4)
