"""Two ResNet-18 on ImageNet by the authors' schedule (arXiv 2104.12565).

    python -m mcl_jax.main --config=configs/imagenet.py

90 epochs of batch 256, SGD at 0.1 divided by ten at epochs 30 and 60, weight decay 1e-4, tau 0.07.
Contrast is in the batch, 128 classes with two images each; the authors draw 8,192 negatives an
anchor from a memory bank. They report 70.32 % for two networks, 69.76 % for one. Images are decoded
and randomly cropped on the host while the device trains. The data set is prepared once, see the
README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default()
    config.name = "imagenet"
    config.method.temperature = 0.07
    config.model.name = "resnet18"
    config.model.dtype = "bfloat16"
    config.data.source = "tfds:imagenet2012"
    config.data.validation_size = 10_000
    config.data.batch_size = 256
    config.data.image_size = 224
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.views.recipe = "imagenet"
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 1e-4
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (30.0, 60.0)
    config.training.epochs = 90
    config.training.log_every = 100
    config.training.eval_every_epochs = 1
    config.training.checkpoint_every_epochs = 1
    return config_lib.smoke(config, arg)
