"""Two ResNet-18 on ImageNet as the authors train them (arXiv 2104.12565), with memory banks.

    python -m mcl_jax.main --config=configs/imagenet.py

90 epochs of batch 256, SGD with Nesterov's momentum at 0.1 divided by ten at epochs 30 and 60,
weight decay 1e-4, tau 0.07. Each anchor is contrasted with its own row in the other network's bank,
with another image of its class, and with 8,192 of other classes, drawn for it alone; 4,096
(``--config.method.negatives=4096``) do about as well, the authors say. They report 70.32 % for two
networks, 69.76 % for one.

    --config.method.shared_negatives=true

draws the 8,192 once for the batch, of which each anchor leaves out those of its class: far cheaper,
see ``benchmarks/README.md``, and untried by the authors.

Images are decoded and randomly cropped on the host while the device trains. The data set is
prepared once, see the README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("supervised_bank")
    config.name = "imagenet"
    config.model.name = "resnet18"
    config.model.dtype = "bfloat16"
    config.data.source = "tfds:imagenet2012"
    config.data.validation_size = 10_000
    config.data.batch_size = 256
    config.data.image_size = 224
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.views.recipe = "imagenet"
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (30.0, 60.0)
    config.training.epochs = 90
    config.training.log_every = 100
    config.training.eval_every_epochs = 1
    config.training.checkpoint_every_epochs = 1
    return config_lib.smoke(config, arg)
