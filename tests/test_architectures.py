"""A cohort of every architecture is trained: of each family a small one, and by the command all."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).parent / "training"))
import tiny

from mcl_jax import models
from mcl_jax.models import registry

ROOT = pathlib.Path(__file__).parents[1]
# One of each family, as shallow and as narrow as it goes.
SHALLOW = {
    "CIFAR ResNet": functools.partial(models.CifarResNet, depth=1),
    "bottlenecks": functools.partial(models.CifarResNet, depth=1, bottleneck=True),
    "wide ResNet": functools.partial(models.WideResNet, depth=10, widen=1),
    "ImageNet ResNet": functools.partial(models.ImageNetResNet, depths=(1, 1, 1, 1), width=0.125),
    "HCGNet": functools.partial(models.HCGNet, growth=(4,), depth=1),
    "ShuffleNetV2": functools.partial(models.ShuffleNetV2, widths=(8,), depths=(1,)),
    "ViT": functools.partial(models.ViT, width=8, heads=2, depth=1),
}


@pytest.mark.parametrize("family", SHALLOW)
def test_a_cohort_of_every_family_is_trained(family, monkeypatch):
    monkeypatch.setitem(registry._ENCODERS, "shallow", SHALLOW[family])
    config = tiny.config(model__name="shallow", data__batch_size=4, parallel__devices=2)
    run, state, metrics = tiny.run_steps(config, tiny.dataset(), steps=2)
    assert np.isfinite(metrics[-1]["loss"])
    assert metrics[-1]["loss"] != metrics[0]["loss"]
    said = run.predict(state, run.dataset.test.images[:4])
    assert said.logits.shape == (2, 4, 4)


@pytest.mark.long
@pytest.mark.parametrize("name", models.names())
def test_the_smoke_run_of_every_architecture(name, tmp_path):
    """Some twenty minutes in all: compiling the deep ones takes minutes."""
    subprocess.run(
        [
            *(sys.executable, "-m", "mcl_jax.main", "--config=configs/cifar100.py:smoke"),
            *(f"--config.model.name={name}", f"--workdir={tmp_path}"),
        ],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=True,
        timeout=1800,
    )
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 4
    assert len(summary["test"]["accuracy"]) == 2
