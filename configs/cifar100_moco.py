"""Two ResNet-18 on CIFAR-100 without labels: MCL's MoCo (arXiv 2104.12565), scaled down.

    python -m mcl_jax.main --config=configs/cifar100_moco.py

MCL has self-supervision on ImageNet alone. Its method is here trained with the settings that the
authors of conditional negatives (arXiv 2010.02037) train MoCo on CIFAR with: ResNet-18, queues of
4,096 keys, momentum 0.999, tau 0.07, 200 epochs of batch 256, SGD at 0.03 divided by ten at epochs
136 and 166, weight decay 1e-4. Ours are the stem for small images, views of 32 pixels by MoCo v1's
recipe, groups of 32 rows for batch statistics and 5,000 rows held back, so that there is no figure
to compare with. MoCoRing's queue is longer: ``--config.method.region=ring
--config.method.queue_size=65536``. The data set is prepared once, see the README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("moco")
    config.name = "cifar100_moco"
    config.method.queue_size = 4096
    config.model.name = "resnet18"
    config.model.stem = "small"
    config.model.norm = "grouped"
    config.model.norm_groups = 8
    config.data.source = "tfds:cifar100"
    config.data.validation_size = 5000
    config.data.batch_size = 256
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (136.0, 166.0)
    config.training.epochs = 200
    return config_lib.smoke(config, arg)
