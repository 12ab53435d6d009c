"""Two small ResNets that learn crops of photographs without labels, by MCL's MoCo, on a CPU.

    python -m mcl_jax.main --config=configs/quickstart_moco.py

7,000 training crops of 14 photographs, 840 for validation and 1,680 for test, 40 epochs of batch
128; nearest neighbours answer. The settings were chosen for one network alone on its validation
figure, one at a time: learning rate 0.12 (0.03, 0.06), tau 0.2 (0.07), MoCo v2's views (v1's),
queues of 1,024 keys (4,096). It rose from 65 % untrained to 80 %, at one seed. The label of a crop
is the photograph it is from, which colours tell: compare with the colour histogram. Groups of 32
rows for batch statistics let keys be normalised among other rows than their queries. The rest is
MCL's MoCo (arXiv 2104.12565), but for a momentum of 0.99 that suits 2,160 steps, and the cosine.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("moco")
    config.name = "quickstart_moco"
    config.method.temperature = 0.2
    config.method.queue_size = 1024
    config.method.momentum = 0.99
    config.model.norm = "grouped"
    config.model.norm_groups = 4
    config.data.source = "photographs"
    config.data.validation_size = 840
    config.data.batch_size = 128
    config.views.recipe = "moco_v2"
    config.optimizer.learning_rate = 0.12
    config.training.epochs = 40
    return config_lib.smoke(config, arg)
