"""InfoMin and PyContrast's other six methods on crops of photographs, on a CPU.

    python -m mcl_jax.main --config=configs/quickstart_infomin.py
    python -m mcl_jax.main --config=configs/quickstart_infomin.py:pirl

Behind the colon stands insdis, cmc, moco, pirl, mocov2, cmcv2 or infomin, which is the default;
``moco_smoke`` is a small MoCo. The presets of `mcl_jax.config.pycontrast` (arXiv 2005.10243) with
what suits 7,000 crops of 32 pixels and 40 epochs, as in ``quickstart_moco.py``: a small ResNet,
batch 128, 1,024 negatives, momentum 0.99, learning rate 0.12 with PyContrast's cosine. The recipes
are as strong as at 224 pixels, but for blurs, which small views do without: on small images that
may be too strong (``--config.views.strength=0.5``). Patches of the jigsaw are 8 pixels a side, of
cells of 10. Other choices are overrides: the branch for MoCo v2 is
``:mocov2 --config.method.jigsaw=0.5``.
"""

from ml_collections import ConfigDict

from mcl_jax import config as config_lib


def get_config(arg: str = "") -> ConfigDict:
    preset, small = config_lib.split_smoke(arg)
    config = config_lib.preset(preset, epochs=40, batch_size=128, learning_rate=0.12, cosine=True)
    config.name = "quickstart_infomin" if preset == "infomin" else f"quickstart_pycontrast_{preset}"
    if "queue_size" in config.method:
        config.method.update({"queue_size": 1024, "momentum": 0.99})
    else:
        config.method.negatives = 1024
    config.model.update({"name": "small_resnet", "width": 1.0, "norm_groups": 4})
    config.data.source = "photographs"
    config.data.validation_size = 840
    return config_lib.smoke(config, small)
