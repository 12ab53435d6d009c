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


def test_the_table_is_what_the_default_is_made_of():
    flat = config_lib.flatten(config_lib.default())
    assert flat == {name: field.default for name, field in config_lib.fields().items()}


# What a value needs of other fields to be fine.
WITH = {
    ("optimizer.schedule", "step"): {"optimizer.milestones": (30, 40)},
    ("optimizer.momentum", 0.0): {"optimizer.nesterov": False},
    ("evaluation.knn_rows", 1): {"evaluation.knn_neighbours": 1},
}
LIMITED = config_lib.fields()


@pytest.mark.parametrize("name", [name for name, field in LIMITED.items() if field.choices])
def test_choices(name):
    choices = LIMITED[name].choices
    for choice in choices:
        config_lib.check(changed(**{name: choice}, **WITH.get((name, choice), {})))
    shown = ", ".join(choice or "'' (any)" for choice in choices)
    refused(changed(**{name: "?"}), f"{name} must be one of {shown}, got '?'.")


def test_a_choice_that_is_nearly_right_is_pointed_to():
    refused(
        changed(model__dtype="bfloat"),
        "model.dtype must be one of float32, bfloat16, float64, got 'bfloat'; did you mean "
        "bfloat16?",
    )


@pytest.mark.parametrize(
    "name",
    [n for n, f in LIMITED.items() if f.least is not None and not isinstance(f.default, tuple)],
)
def test_least_values(name):
    least = type(LIMITED[name].default)(LIMITED[name].least)
    config_lib.check(changed(**{name: least}, **WITH.get((name, least), {})))
    refused(changed(**{name: least - 1}), f"{name} must be at least {least:g}, got {least - 1}.")


@pytest.mark.parametrize("value", [0.0, -0.5])
@pytest.mark.parametrize("name", [name for name, field in LIMITED.items() if field.above == 0])
def test_values_above_zero(name, value):
    config_lib.check(changed(**{name: 1e-3}))
    refused(changed(**{name: value}), f"{name} must be above 0, got {value}.")


@pytest.mark.parametrize("name", [name for name, field in LIMITED.items() if field.below])
def test_values_below_a_bound(name):
    field = LIMITED[name]
    got = type(field.default)(field.below)
    refused(changed(**{name: got}), f"{name} must be below {field.below}, got {got}.")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    "name", [n for n, field in LIMITED.items() if isinstance(field.default, float)]
)
def test_numbers_are_finite(name, value):
    refused(changed(**{name: value}), f"{name} must be finite, got {value}.")


def test_a_whole_number_is_a_number():
    config = config_lib.default()
    config.optimizer = ConfigDict(config.optimizer.to_dict() | {"learning_rate": 1})
    config_lib.check(config)


def by_hand(name: str, value: Any) -> ConfigDict:
    """A configuration that is built in a notebook, where nothing watches over types."""
    values = config_lib.default().to_dict()
    *sections, last = name.split(".")
    inner = values
    for section in sections:
        inner = inner[section]
    inner[last] = value
    return ConfigDict(values)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("training.epochs", "3", "training.epochs must be a whole number, got '3'."),
        ("training.epochs", 3.0, "training.epochs must be a whole number, got 3.0."),
        ("training.epochs", True, "training.epochs must be a whole number, got True."),
        ("training.epochs", None, "training.epochs must be a whole number, got None."),
        ("optimizer.learning_rate", "1", "optimizer.learning_rate must be a number, got '1'."),
        ("optimizer.learning_rate", True, "optimizer.learning_rate must be a number, got True."),
        ("views.flip", 1, "views.flip must be true or false, got 1."),
        ("model.name", 3, "model.name must be a text, got 3."),
        ("method.name", 3, "method.name must be a text, got 3."),
        (
            "data.mean",
            0.5,
            "data.mean must be a tuple of numbers such as (1, 2), got 0.5.",
        ),
        (
            "data.std",
            ("a",),
            "data.std must be a tuple of numbers such as (1, 2), got ('a',).",
        ),
        (
            "optimizer.decay_exclude",
            "bias",
            "optimizer.decay_exclude must be a tuple of texts such as ('a', 'b'), got 'bias'.",
        ),
        (
            "method.frozen",
            (0.5,),
            "method.frozen must be a tuple of whole numbers such as (1, 2), got (0.5,).",
        ),
        (
            "training.epoch",
            3,
            "the configuration has no field training.epoch; did you mean training.epochs?",
        ),
        ("zzz", 3, "the configuration has no field zzz; --help lists all fields."),
        ("views", 3, "views must hold fields such as views.recipe, got 3."),
    ],
)
def test_names_and_types_of_a_configuration_by_hand(name, value, sentence):
    refused(by_hand(name, value), sentence)


def test_missing_fields_are_named():
    values = config_lib.default().to_dict()
    del values["views"]
    refused(
        ConfigDict(values),
        "the configuration lacks views.recipe, views.size, views.strength; "
        "mcl_jax.config.default(METHOD) has every field of a method.",
    )


CONTRADICTIONS = [
    ({"model.norm_groups": 4}, "model.norm_groups is for model.norm grouped, got 4 with local."),
    (
        {"optimizer.momentum": 0.0},
        "optimizer.nesterov wants optimizer.momentum above 0, got 0; without momentum it must be "
        "false.",
    ),
    (
        {"optimizer.schedule": "step"},
        "optimizer.milestones must be given for optimizer.schedule step and for no other, got () "
        "with step.",
    ),
    (
        {"optimizer.milestones": (3,)},
        "optimizer.milestones must be given for optimizer.schedule step and for no other, got (3,) "
        "with cosine.",
    ),
    (
        {"optimizer.schedule": "step", "optimizer.milestones": (4, 3)},
        "optimizer.milestones must rise, from above 0, got (4, 3).",
    ),
    (
        {"optimizer.schedule": "step", "optimizer.milestones": (0, 3)},
        "optimizer.milestones must rise, from above 0, got (0, 3).",
    ),
    (
        {"optimizer.schedule": "step", "optimizer.milestones": (30, 60)},
        "optimizer.milestones must be below training.epochs, 60, got (30, 60); to try a run's "
        "beginning, give training.steps.",
    ),
    (
        {"optimizer.warmup_epochs": 5.0, "training.epochs": 5},
        "optimizer.warmup_epochs must be below training.epochs, 5, got 5.0; to try a run's "
        "beginning, give training.steps.",
    ),
    (
        {"evaluation.knn_rows": 19},
        "evaluation.knn_neighbours must be at most evaluation.knn_rows, 19, got 20.",
    ),
    (
        {"data.mean": (120.0,), "data.std": (60.0,)},
        "data.mean must be from 0 to 1, where 1 is the brightest pixel, got (120.0,).",
    ),
    ({"data.mean": (math.nan,), "data.std": (1.0,)}, "data.mean must be finite, got nan."),
    (
        {"model.name": "resnet32,resnet110", "method.networks": 3},
        "model.name must name one encoder, or one for each of the 3 networks of method.networks, "
        "got 2.",
    ),
    (
        {"model.weights": ("a.npz",)},
        "model.weights must name a file, or nothing, for each of the 2 networks, got 1.",
    ),
    ({"method.frozen": (-1,)}, "method.frozen must be at least 0, got (-1,)."),
    (
        {"method.frozen": (2,)},
        "method.frozen must hold different numbers from 0 to 1, got (2,).",
    ),
    (
        {"method.frozen": (0, 0)},
        "method.frozen must hold different numbers from 0 to 1, got (0, 0).",
    ),
    ({"method.frozen": (0, 1)}, "method.frozen must leave a network that learns, got all."),
    (
        {"method.frozen_heads": False},
        "method.frozen_heads false is for method.frozen, which is empty.",
    ),
    (
        {"model.shared_stages": 1, "method.frozen": (1,)},
        "model.shared_stages wants one model.name, no model.weights and no method.frozen.",
    ),
    (
        {"parallel.cohort_devices": 2, "model.shared_stages": 1},
        "parallel.cohort_devices above 1 wants one model.name, no method.frozen and no "
        "model.shared_stages: only like networks are split over devices.",
    ),
    (
        {"parallel.cohort_devices": 2, "method.networks": 3},
        "parallel.cohort_devices must divide method.networks, 3, got 2.",
    ),
    (
        {"method.pair_weights": (1, -2, 0, 1)},
        "method.pair_weights must be at least 0, got (1, -2, 0, 1).",
    ),
    (
        {"method.frozen": (1,), "method.distillation_students": "last"}
        | {"method.weights.logit_distillation": 1.0},
        "method.distillation_students last wants a last network that learns, but method.frozen "
        "holds 1.",
    ),
    (
        {"method.pair_weights": (1, 0, 0)},
        "method.pair_weights must hold 2 x 2 numbers, got 3.",
    ),
    (
        {"method.pair_weights": (1, 1, 0, 1), "method.topology": "ring"},
        "method.pair_weights stand instead of a method.topology, got both: ring.",
    ),
    (
        {"optimizer.warmup_from": 0.01},
        "optimizer.warmup_from is for optimizer.warmup_epochs above 0, got 0.01.",
    ),
    (
        {"method.teacher": 1},
        "method.teacher must be from 0 to 1, and 0 unless method.topology is teacher, got 1.",
    ),
    (
        {"method.teacher": 2, "method.topology": "teacher"},
        "method.teacher must be from 0 to 1, and 0 unless method.topology is teacher, got 2.",
    ),
    (
        {"training.micro_batches": 3},
        "training.micro_batches must divide the 100 rows of a device, got 3.",
    ),
    (
        {"training.micro_batches": 4, "model.norm": "grouped", "model.norm_groups": 2},
        "model.norm_groups must be a multiple of the number of devices times micro-batches, 4, and "
        "divide data.batch_size, 100, got 2.",
    ),
    (
        {"training.micro_batches": 100},
        "data.batch_size must give batch statistics two rows or more, got 100 in 100 parts.",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), CONTRADICTIONS)
def test_values_that_contradict_each_other(changes, sentence):
    refused(changed(**changes), sentence)


@pytest.mark.parametrize(
    "changes",
    [
        {"method.networks": 1},  # the solo baseline, terms of two networks being 0
        {"data.sampler": "shuffled", "data.images_per_class": 10},
        {"training.steps": 4, "optimizer.warmup_epochs": 5.0, "training.epochs": 5},
        {"optimizer.learning_rate": 0.0},
        {"optimizer.momentum": 0.0, "optimizer.nesterov": False},
        {"data.validation_size": 0, "training.eval_every_epochs": 1},
        {"model.name": "resnet32,resnet110", "method.frozen": (1,), "method.frozen_heads": False},
        {"method.networks": 4, "model.shared_stages": 1, "method.topology": "ring"},
        {"method.topology": "teacher", "method.teacher": 1},
        {"method.pair_weights": (1, 0.5, 0, 1)},
        {"training.micro_batches": 100, "model.norm": "group"},
    ],
)
def test_what_a_researcher_may_want_is_fine(changes):
    config_lib.check(changed(**changes))


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\\b", "a\nb", " a"])
def test_a_name_names_a_folder(name):
    refused(
        changed(name=name),
        f"name must be able to name a folder, since results go to runs/<name>, got {name!r}.",
    )


def test_a_method_may_have_fields_of_its_own(monkeypatch):
    monkeypatch.setattr("mcl_jax.config.table._FIELDS_OF_METHODS", {"supervised_mcl": {}})
    config_lib.extend("queued", {"method.queue": config_lib.Field(8, "keys", least=1)})
    config = changed(method__name="queued")
    refused(
        config,
        "the configuration lacks method.queue; mcl_jax.config.default(METHOD) has every field of a "
        "method.",
    )
    config.method.queue = 0
    refused(config, "method.queue must be at least 1, got 0.")
    config.method.queue = 4
    config_lib.check(config)
    config.method.name = "supervised_mcl"
    refused(config, "the configuration has no field method.queue; --help lists all fields.")
    with pytest.raises(ValueError, match=r"every configuration has seed already\."):
        config_lib.extend("other", {"seed": config_lib.Field(8, "keys")})


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


def test_patterns_are_regular_expressions():
    config_lib.check(changed(optimizer__decay_exclude=("bias$",)), 1)
    with pytest.raises(ConfigError, match=r"decay_exclude must hold regular .*, got '\('"):
        config_lib.check(changed(optimizer__decay_exclude=("(",)), 1)


@pytest.mark.parametrize("value", [0.0, -0.5])
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
    assert config.data.source == "digits"
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
    assert names(config) == names(config_lib.default(config.method.name))
    colours = config.views.get("channels")  # digits have none
    assert config.data.source == ("photographs" if colours else "digits") or not arg
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
            {"optimizer.momentum": 0.5, "data.source": "digits"},
            "data.source (fashion_mnist there, digits now), optimizer.momentum (0.9 there, 0.5 "
            "now)",
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
        ("logging.tensorboard", False),
        ("logging.wandb", "project"),
        ("parallel.platform", "cpu"),
        ("parallel.cohort_devices", 2),
        ("data.workers", 2),
        ("data.corrupt", "skip"),
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
    with pytest.raises(ConfigError, match=r"its config\.json is missing or damaged"):
        config_lib.claim(tmp_path, config_lib.default(), steps=10)


def test_statistics_of_a_single_row_are_refused():
    with pytest.raises(ConfigError, match="two rows or more, got 4 in 4 parts"):
        config_lib.check(changed(**{"data.batch_size": 4}), 4)
