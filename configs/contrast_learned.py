"""Contrast between the parts of an image that two networks see: of raw or of learned views.

    python -m mcl_jax.main --config=configs/contrast_learned.py \
        --config.views.learned=runs/learned_views

The second stage of "What Makes for Good Views" (arXiv 2005.10243) on photographs: generators of a
run of ``configs/learned_views.py`` are frozen, two new ResNets see the first channel of one crop
and the other two of another, and each finds the other's embedding of its image among those of the
batch. No label is seen. Without ``views.learned`` views are raw channels, which is the baseline. A
folder ``runs/views-{seed}`` takes the generators of the run with the same seed. The studies of
``docs/learned_views.md`` have all arms.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("simclr")
    config.name = "contrast_learned"
    config.method.weights.update({"vcl": 0.0, "soft_vcl": 0.0, "icl": 1.0, "soft_icl": 0.0})
    config.method.head = "linear"
    config.method.temperature = 0.2
    config.data.source = "photographs"
    config.data.train_size = 2800
    config.data.validation_size = 840
    config.data.batch_size = 128
    config.views.channels = "rgb"
    config.views.recipe = "imagenet"
    config.views.crop_scale = (0.2, 1.0)
    config.optimizer.learning_rate = 0.06
    config.training.epochs = 20
    return config_lib.smoke(config, arg)
