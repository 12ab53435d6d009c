"""A cohort of two small ResNets on 1,000 labelled Fashion-MNIST images, in minutes on a CPU.

    python -m mcl_jax.main --config=configs/quickstart.py

1,000 training images, 2,000 for validation and 2,000 for test, 60 epochs of ten batches of 100.
The learning rate was chosen for one network alone on its validation accuracy, among 0.05, 0.1, 0.2,
0.3 and 0.4. Five epochs of warm-up make it rarer that a cohort's embeddings collapse at that rate.
The rest is the authors' CIFAR-100 recipe. The README gives what the cohort gains over 8 seeds.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default()
    config.name = "quickstart"
    config.data.train_size = 1000
    config.data.images_per_class = 10
    config.views.padding = 2
    config.optimizer.learning_rate = 0.2
    config.optimizer.warmup_epochs = 5.0
    return config_lib.smoke(config, arg)
