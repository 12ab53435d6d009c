"""Views of photographs that are learned with few labels, for networks to contrast, on a CPU.

    python -m mcl_jax.main --config=configs/learned_views.py

Learned views of "What Makes for Good Views" (arXiv 2005.10243), the first of two stages: a
generator of four couplings changes the pixels of 32 x 32 crops of photographs so that their first
channel and their other two share little, but still tell the 14 photographs. A step takes 64 rows
of all, of which two small ResNets read the bound, and 32 rows out of 140 whose labels count. Rates,
betas and the drops of the learning rate are in the authors' proportions, in a twelfth of their
epochs. The second stage is in ``docs/learned_views.md``: it takes ``views.learned`` from this run's
folder.

``--config.method.class_weight=0`` learns without labels, ``--config.method.information_weight=0``
by labels alone, ``--config.views.channels=ydbdr`` in another colour space, and
``--config.method.generators=own`` gives each network a generator of its own.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    config = config_lib.default("learned_views")
    config.name = "learned_views"
    config.data.source = "photographs"
    config.data.train_size = 2800
    config.data.validation_size = 840
    config.data.batch_size = 96
    config.data.labelled = 140
    config.data.labelled_batch = 32
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (4.8, 6.4)
    config.optimizer.gamma = 0.2
    config.training.epochs = 8
    return config_lib.smoke(config, arg)
