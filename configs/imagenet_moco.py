"""MCL's MoCo on ImageNet without labels (arXiv 2104.12565): two ResNet-18 with momentum networks.

    python -m mcl_jax.main --config=configs/imagenet_moco.py

The authors' figures: 200 epochs of batch 256, SGD at 0.03 divided by ten at epochs 120 and 160,
weight decay 1e-4, queues of 65,536 keys of 128 numbers, momentum 0.999, tau 0.07, T 3, the plain
sum of the four terms, MoCo v1's views and its head, one linear layer. They report 48.04 % for a
linear classifier on a network of two, 47.45 % for MoCo alone. Statistics of batch normalisation are
of 8 groups of 32 rows, as on MoCo's 8 GPUs, and keys are normalised in other groups than queries,
so that 1, 2, 4 or 8 devices train alike. Ours are bfloat16 and the validation rows. Keys are met
8,192 at a time. Images are decoded once and cropped twice on the host while the device trains; the
data set is prepared once, see the README. ``--config.method.region=ring`` is MoCoRing (arXiv
2010.02037), ``--config.method.networks=1`` is MoCo.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("moco")
    config.name = "imagenet_moco"
    config.method.chunk_size = 8192
    config.model.name = "resnet18"
    config.model.dtype = "bfloat16"
    config.model.norm = "grouped"
    config.model.norm_groups = 8
    config.data.source = "tfds:imagenet2012"
    config.data.validation_size = 10_000
    config.data.batch_size = 256
    config.data.image_size = 224
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (120.0, 160.0)
    config.training.epochs = 200
    config.training.log_every = 100
    config.training.eval_every_epochs = 5
    config.training.checkpoint_every_epochs = 1
    return config_lib.smoke(config, arg)
