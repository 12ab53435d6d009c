"""Contrastive multiview coding on STL-10 (CMC, arXiv 1906.05849): one network sees L, the other ab.

    python -m mcl_jax.main --config=configs/stl10_cmc.py

Two ResNet-18, each with a bank: the lightness of an image picks its row in the bank of colours, and
the colours theirs in the bank of lightness. In this library's words it is ICL alone, between two
networks that see their own channels of one crop. The authors' figures: tau 0.1 on STL-10, banks of
momentum 0.5 with 128 numbers, 16,384 negatives, batch 128, SGD at 0.03 divided by ten at epochs
120, 160 and 200 of 240, weight decay 1e-4, crops of 20 to 100 % of the area, mirrored. Rows are the
4,500 labelled training images and the 100,000 without labels, all held on the device, 3 GiB. The
contrast is a softmax; theirs was noise contrast at first (``--config.method.form=nce``).
``--config.method.region=ring`` is CMC-Ring, ``--config.method.weights.vcl=1`` adds the contrast
within each network, and ``--config.views.channels=ydbdr`` is PyContrast's colour space. The data
set is prepared once, see the README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("instance_discrimination")
    config.name = "stl10_cmc"
    config.method.negatives = 16_384
    config.method.temperature = 0.1
    config.method.weights.update({"vcl": 0.0, "soft_vcl": 0.0, "icl": 1.0, "soft_icl": 0.0})
    config.model.name = "resnet18"
    config.data.source = "tfds:stl10"
    config.data.unlabelled = True
    config.data.memory_limit = 4096
    config.data.mean = (0.43, 0.42, 0.39)
    config.data.std = (0.27, 0.26, 0.27)
    config.data.validation_size = 500
    config.data.batch_size = 128
    config.views.channels = "lab"
    config.views.recipe = "imagenet"
    config.views.crop_scale = (0.2, 1.0)
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (120.0, 160.0, 200.0)
    config.training.epochs = 240
    return config_lib.smoke(config, arg)
