"""Global and local representations of crops of photographs, on a CPU, and their rivals.

    python -m mcl_jax.main --config=configs/quickstart_global_local.py
    python -m mcl_jax.main --config=configs/quickstart_global_local.py:byol

The small twin of ``cifar10_global_local.py`` (arXiv 2306.15930), with the same names behind the
colon: images and views of 32 pixels, quarters of 16, 7,000 training crops of 14 photographs, a
small ResNet, batch 128, 20 epochs. Embeddings have 128 numbers, hidden layers 256 and 64 (BYOL's
and NNCLR's predictor 256), neighbours are of 1,024 earlier targets. All else is the paper's.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    name, _, small = config_lib.split_predictive(arg)
    config = config_lib.predictive(name, native=True)
    config.name = f"quickstart_{name}"
    config.method.update({"embedding_dim": 128, "head_width": 256})
    config.method.predictor_width = 256 if config.method.predictor_width == 4096 else 64
    config.method.neighbours = min(config.method.neighbours, 1024)
    config.model.update({"name": "small_resnet", "stem": ""})
    config.data.source = "photographs"
    config.data.validation_size = 840
    config.data.batch_size = 128
    config.training.epochs = 20
    return config_lib.smoke(config, small)
