"""Local Aggregation on CIFAR-10 (arXiv 1903.12355): one ResNet-18, neighbours by k-means.

    python -m mcl_jax.main --config=configs/cifar10_la.py

The authors' figures, which are for ImageNet: a background of 4,096 rows, a bank of momentum 0.5,
tau 0.07, ten epochs of instance discrimination first, SGD at 0.03 divided by ten at epochs 160 and
190 of 200, weight decay 1e-4 (here on every parameter), batch 128. Their 30,000 clusters hold 43
rows each, and so do the 1,163 of CIFAR-10's 50,000 rows. They join 10 clusterings for a ResNet-18
and 3 for an AlexNet; here it is 3, for k-means runs on one core of the host, where a clustering of
50,000 rows takes half a minute. Views are those of instance discrimination on CIFAR-10. To choose
settings, hold rows back with ``--config.data.validation_size=5000``. The data set is prepared once,
see the README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("local_aggregation")
    config.name = "cifar10_la"
    config.method.networks = 1
    config.model.name = "resnet18"
    config.model.stem = "small"
    config.data.source = "tfds:cifar10"
    config.data.validation_size = 0
    config.data.batch_size = 128
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (160.0, 190.0)
    config.training.epochs = 200
    return config_lib.smoke(config, arg)
