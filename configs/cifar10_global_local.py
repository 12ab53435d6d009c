"""Global and local representations on CIFAR-10 without labels (arXiv 2306.15930), and its rivals.

    python -m mcl_jax.main --config=configs/cifar10_global_local.py
    python -m mcl_jax.main --config=configs/cifar10_global_local.py:native
    python -m mcl_jax.main --config=configs/cifar10_global_local.py:byol_native

One ResNet-18 as the paper trains it: views of 224 pixels of images of 32, quarters of 112, 200
epochs of batch 256. ``native`` leaves views at 32 pixels, with quarters of 16 and the stem for
small images: far less to compute, and not the paper's. Before it may stand no_local or
no_neighbour, the ablations, or fast_moco, nnclr, byol, simsiam with heads, targets and losses of
their own papers (`mcl_jax.config.PREDICTIVE`); ``_smoke`` behind all makes it small. The paper has
no validation rows; here 5000 are held back. ``--config.method.networks=2`` trains a cohort.
The data set is prepared once, see the README.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    name, native, small = config_lib.split_predictive(arg)
    config = config_lib.predictive(name, native)
    config.name = f"cifar10_{name}{'_native' * native}"
    config.data.source = "tfds:cifar10"
    config.data.validation_size = 5000
    return config_lib.smoke(config, small)
