"""Global and local representations on Tiny ImageNet without labels (arXiv 2306.15930), and rivals.

    python -m mcl_jax.main --config=configs/tiny_imagenet_global_local.py
    python -m mcl_jax.main --config=configs/tiny_imagenet_global_local.py:native

As ``cifar10_global_local.py``, for 200 classes of images of 64 pixels, which lie as parquet in the
folder ``tiny-imagenet`` (``train-*.parquet`` and ``valid-*.parquet``, such as the data set
``zh-plus/tiny-imagenet`` of Hugging Face has them); another place is ``--config.data.source=
parquet:PATH``, or any other source of docs/data.md. ``native`` leaves views at 64 pixels, with
quarters of 32 and the stem for small images. 10,000 images are held back for validation.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    name, native, small = config_lib.split_predictive(arg)
    config = config_lib.predictive(name, native)
    config.name = f"tiny_imagenet_{name}{'_native' * native}"
    config.data.source = "parquet:tiny-imagenet"
    config.data.validation_size = 10_000
    return config_lib.smoke(config, small)
