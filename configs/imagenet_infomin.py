"""InfoMin and PyContrast's other six methods on ImageNet (arXiv 2005.10243).

    python -m mcl_jax.main --config=configs/imagenet_infomin.py
    python -m mcl_jax.main --config=configs/imagenet_infomin.py:pirl

Behind the colon stands insdis, cmc, moco, pirl, mocov2, cmcv2 or infomin, which is the default;
``moco_smoke`` is a small MoCo. PyContrast's figures (`mcl_jax.config.pycontrast`): 200 epochs of
batch 256, SGD at 0.03 divided by ten after epochs 120 and 160, weight decay 1e-4, 65,536 negatives
of 128 numbers. For a linear classifier its authors report 67.4, 70.1 and 73.0 % after 100, 200 and
800 epochs of InfoMin, 59.5 % for InsDis, 58.6 % for CMC, 60.8 % for MoCo, 61.7 % for PIRL and
67.5 % for MoCo v2; nothing here reproduces these. Their cosine is
``--config.optimizer.schedule=pycontrast --config.optimizer.milestones=()``.

Any other choice is an override, as PyContrast's Customize has it: PIRL's branch for MoCo v2 is
``:mocov2 --config.method.jigsaw=0.5``, a stronger recipe ``--config.views.recipe=pycontrast_d``,
another head ``--config.method.head=mocov2``, a cohort of two InfoMin networks that learn from each
other ``--config.method.networks=2 --config.method.weights.icl=1``. Ours are bfloat16, the
validation rows, and keys that are met 8,192 at a time. Images are decoded once and cropped three
times on the host while the device trains; the data set is prepared once, see the README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    preset, small = config_lib.split_smoke(arg)
    config = config_lib.preset(preset)
    config.name = "imagenet_infomin" if preset == "infomin" else f"imagenet_pycontrast_{preset}"
    if "chunk_size" in config.method:
        config.method.chunk_size = 8192
    config.model.dtype = "bfloat16"
    config.data.source = "tfds:imagenet2012"
    config.data.validation_size = 10_000
    config.data.image_size = 224
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.training.log_every = 100
    config.training.eval_every_epochs = 5
    config.training.checkpoint_every_epochs = 1
    return config_lib.smoke(config, small)
