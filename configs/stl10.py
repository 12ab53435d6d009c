"""Two ResNet-18 on STL-10's 5,000 labelled images of 96 x 96 pixels, by the CIFAR-100 recipe.

    python -m mcl_jax.main --config=configs/stl10.py

None of the papers has this setting, so there is no figure to compare with: it is a start for one's
own. Batches of 100 hold ten images of each class; views are crops of 8 to 100 % of the area, scaled
back to 96 pixels. The data set is prepared once, see the README; its 100,000 images without labels
are left alone.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default()
    config.name = "stl10"
    config.model.name = "resnet18"
    config.data.source = "tfds:stl10"
    config.data.validation_size = 500
    config.data.batch_size = 100
    config.data.images_per_class = 10
    config.views.recipe = "imagenet"
    config.optimizer.warmup_epochs = 5.0
    config.training.epochs = 200
    return config_lib.smoke(config, arg)
