"""PyContrast's methods as configurations."""

import contextlib
import importlib.util
import json
import pathlib
import re
import sys

import pytest
from ml_collections import ConfigDict

from mcl_jax import config as config_lib
from mcl_jax import main as command
from mcl_jax.config import PRESETS, ConfigError

sys.path.insert(0, str(pathlib.Path(__file__).parent / "training"))

import tiny

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
# Networks, width, method, jigsaw, recipe, least share of a crop, head, temperature.
TABLE = {
    "insdis": (1, 1.0, "instance_discrimination", 0.0, "a", 0.08, "linear", 0.07),
    "cmc": (2, 0.5, "instance_discrimination", 0.0, "c", 0.08, "linear", 0.07),
    "moco": (1, 1.0, "moco", 0.0, "a", 0.2, "linear", 0.07),
    "pirl": (1, 1.0, "instance_discrimination", 0.5, "a", 0.08, "linear", 0.07),
    "mocov2": (1, 1.0, "moco", 0.0, "b", 0.2, "mocov2", 0.2),
    "cmcv2": (2, 0.5, "moco", 0.0, "e", 0.2, "mocov2", 0.2),
    "infomin": (1, 1.0, "moco", 0.5, "d", 0.2, "mocov2", 0.15),
}


def get_config(name, arg):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(arg)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_those_of_the_authors(name):
    config = config_lib.preset(name)
    config_lib.check(config, 8)
    method, halves = config.method, TABLE[name][0] == 2
    assert TABLE[name] == (
        method.networks,
        config.model.width,
        method.name,
        method.jigsaw,
        config.views.recipe[-1],
        config.views.crop_scale[0],
        method.head,
        method.temperature,
    )
    assert method.weights.to_dict() == {
        "vcl": float(not halves),
        "soft_vcl": 0.0,
        "icl": float(halves),
        "soft_icl": 0.0,
    }
    assert config.views.channels == ("ydbdr" if halves else "")
    bank = method.name != "moco"
    assert (method.negatives if bank else method.queue_size) == 65_536
    assert (method.bank_momentum if bank else method.momentum) == (0.5 if bank else 0.999)
    assert (method.embedding_dim, config.model.name) == (128, "resnet50")
    optimizer = config.optimizer
    assert (config.data.batch_size, config.training.epochs) == (256, 200)
    assert (optimizer.learning_rate, optimizer.momentum, optimizer.nesterov) == (0.03, 0.9, False)
    assert (optimizer.weight_decay, optimizer.decay_exclude) == (1e-4, ())
    assert (optimizer.schedule, optimizer.milestones) == ("step", (120.0, 160.0))
    assert optimizer.warmup_epochs == 0


def test_batches_above_256_warm_up():
    found = []
    for changes in ({"batch_size": 512}, {"epochs": 800}, {"epochs": 800, "warm_up": True}):
        config = config_lib.preset("infomin", cosine=True, **changes)
        config_lib.check(config)
        assert (config.optimizer.schedule, config.optimizer.milestones) == ("pycontrast", ())
        found.append((config.optimizer.warmup_epochs, config.optimizer.warmup_from))
    assert found == [(5.0, 0.01), (0.0, 0.0), (10.0, 0.01)]


def test_runs_that_are_shorter_than_the_milestones_have_fewer():
    found = []
    for epochs in (150, 100):
        config = config_lib.preset("infomin", epochs=epochs)
        config_lib.check(config)
        found.append((config.optimizer.schedule, config.optimizer.milestones))
    assert found == [("step", (120.0,)), ("constant", ())]


def test_any_choices_go_together():
    for modal in ("rgb", "cmc"):
        for memory in ("bank", "queue"):
            for jigsaw in (False, True):
                choices = {"modal": modal, "memory": memory, "jigsaw": jigsaw}
                config_lib.check(config_lib.pycontrast(head="mlp", recipe="e", **choices))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: config_lib.preset("simclr"),
            f"preset must be one of {', '.join(PRESETS)}, got 'simclr'.",
        ),
        (lambda: config_lib.pycontrast(modal="lab"), "modal must be one of rgb, cmc, got 'lab'."),
        (
            lambda: config_lib.pycontrast(recipe="f"),
            "recipe must be one of a, b, c, d, e, got 'f'.",
        ),
        (
            lambda: config_lib.split_smoke("moco_"),
            f"the part of --config behind the colon must be smoke, or one of {', '.join(PRESETS)}, "
            "with _smoke or without, got 'moco_'.",
        ),
    ],
)
def test_what_is_refused(call, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        call()


@pytest.mark.parametrize("file", ["imagenet_infomin", "quickstart_infomin"])
def test_files_have_every_preset_large_and_small(file):
    names = set()
    for name in PRESETS:
        for arg in (name, f"{name}_smoke"):
            config: ConfigDict = get_config(file, arg)
            config_lib.check(config, 1)
            assert config.method.jigsaw == TABLE[name][3]
            assert config.name.endswith("-smoke") == arg.endswith("smoke")
            names.add(config.name)
    assert len(names) == 2 * len(PRESETS)
    assert get_config(file, "").name == get_config(file, "infomin").name == file


# InfoMin's, with its own encoder, is run with those of all files.
@pytest.mark.parametrize("name", [name for name in PRESETS if name != "infomin"])
def test_the_smoke_version_of_every_preset_runs(name, tmp_path, monkeypatch):
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.compilation.compiled_programs_kept", contextlib.nullcontext)
    file = f"--config={CONFIGS}/quickstart_infomin.py:{name}_smoke"
    words = [file, f"--workdir={tmp_path}", "--noreport", "--config.model.name=tiny"]
    assert command.main([*words, "--config.parallel.devices=1"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 4
    assert len(summary["test"]["accuracy"]) == TABLE[name][0]
