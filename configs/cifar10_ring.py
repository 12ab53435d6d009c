"""Ring negatives on CIFAR-10 (Conditional Negative Sampling, arXiv 2010.02037): one ResNet-18.

    python -m mcl_jax.main --config=configs/cifar10_ring.py

The figures of the authors' code: of all rows by their similarity to the anchor, the nearest tenth
without its own nearest tenth, ranks 1 to 10 per cent, and of these 4,095 drawn beside the anchor's
own row; tau 0.07, a bank whose rows are replaced (momentum 0), SGD at 0.03 divided by ten at epochs
136 and 166 of 200, weight decay 1e-4, batch 256, 128 numbers of two layers with 512 between. Views
are MoCo v2's at 32 pixels, one of the sets that their code has. They anneal nothing as shipped;
``--config.method.annealing=linear`` starts from all rows and reaches the tenth in 100 epochs.
``--config.method.region=all`` is their baseline (simplified instance discrimination), ``ball`` and
``cave`` the other regions; a cohort is ``--config.method.networks=2``. To choose settings, hold
rows back with ``--config.data.validation_size=5000``. The data set is prepared once, see the
README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("instance_discrimination")
    config.name = "cifar10_ring"
    config.method.networks = 1
    config.method.region = "ring"
    config.method.negatives = 4095
    config.method.bank_momentum = 0.0
    config.method.head = "mocov2"
    config.model.name = "resnet18"
    config.model.stem = "small"
    config.data.source = "tfds:cifar10"
    config.data.validation_size = 0
    config.data.batch_size = 256
    config.views.recipe = "moco_v2"
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (136.0, 166.0)
    config.training.epochs = 200
    return config_lib.smoke(config, arg)
