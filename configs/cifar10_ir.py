"""Instance discrimination on CIFAR-10 (arXiv 1805.01978): one ResNet-18, the softmax over all rows.

    python -m mcl_jax.main --config=configs/cifar10_ir.py

The authors' figures for CIFAR-10: the full softmax over the bank, tau 0.1, a bank of momentum 0.5,
SGD at 0.03 divided by ten at epochs 120 and 160, weight decay 5e-4, batch 128, 200 epochs; crops of
20 to 100 % of the area, jitter and gray, nothing mirrored; a ResNet-18 with a 3 x 3 stem and 128
numbers of one linear layer. All 50,000 training rows are trained on; to choose settings, hold some
back with ``--config.data.validation_size=5000``. Their original objective, noise contrast with
4,096 rows, is ``--config.method.form=nce --config.method.negatives=4096``; a cohort is
``--config.method.networks=2``. The data set is prepared once, see the README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("instance_discrimination")
    config.name = "cifar10_ir"
    config.method.networks = 1
    config.method.negatives = 0
    config.method.temperature = 0.1
    config.model.name = "resnet18"
    config.model.stem = "small"
    config.data.source = "tfds:cifar10"
    config.data.validation_size = 0
    config.data.batch_size = 128
    config.optimizer.weight_decay = 5e-4
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (120.0, 160.0)
    config.training.epochs = 200
    return config_lib.smoke(config, arg)
