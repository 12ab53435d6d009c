"""Sweeps of views (What Makes for Good Views, arXiv 2005.10243): SimCLR on photographs, on a CPU.

    python -m mcl_jax.main --config=configs/sweep_views.py
    python -m mcl_jax.main --config=configs/sweep_views.py:halves
    python -m mcl_jax.main --config=configs/sweep_views.py:patches

One network learns from two crops of an image, whose size and jitter are swept: recipe simclr has
the jitter of the paper's sweep, (0.8 s, 0.8 s, 0.8 s, 0.2 s) with s ``views.strength``. ``halves``
has two networks, each with its own half of the channels or of the frequencies, which learn from
each other alone (ICL of SimCLR, as contrastive multiview coding does, but with two crops).
``patches`` has one network whose two views are patches of 16 pixels of 64 x 64 images, at a
distance. ``_smoke`` behind them makes them small. docs/studies.md has the sweeps.

The paper has MoCo for 100 epochs on ImageNet, CMC on STL-10 and patches of 64 pixels of large
images. Here everything but the views is one setting for all of a sweep: the small ResNet, 128 rows,
10 epochs, temperature 0.2 and learning rate 0.12 as in configs/quickstart_moco.py.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib

_ICL_ALONE = {"vcl": 0.0, "soft_vcl": 0.0, "icl": 1.0, "soft_icl": 0.0}


def get_config(arg: str = "") -> ConfigDict:
    kind, _, size = ("", "", arg) if arg in ("", "smoke") else arg.partition("_")
    if kind not in ("", "halves", "patches") or size not in ("", "smoke"):
        raise config_lib.ConfigError(
            f"the part of --config behind the colon must be smoke, halves, halves_smoke, patches "
            f"or patches_smoke, got {arg!r}."
        )
    config = config_lib.default("simclr")
    config.name = "_".join(filter(None, ("sweep_views", kind)))
    config.method.networks = 1
    config.method.temperature = 0.2
    config.data.source = "photographs"
    config.data.validation_size = 840
    config.data.batch_size = 128
    config.views.recipe = "simclr"
    config.views.strength = 0.5
    config.optimizer.learning_rate = 0.12
    config.training.epochs = 10
    if kind == "halves":
        config.method.networks = 2
        config.method.weights.update(_ICL_ALONE)
        config.views.channels = "lab"
        config.views.crop_scale = (0.2, 1.0)
    if kind == "patches":
        config.data.source = "photographs:64"
        config.views.update({"patch_size": 16, "patch_distance": 16})
    return config_lib.smoke(config, size)
