"""A method of twenty lines, in one file, is trained by the trainer as it is."""

import pathlib
import sys

import jax
import jax.numpy as jnp

sys.path.append(str(pathlib.Path(__file__).parents[1] / "training"))
import tiny

from mcl_jax import losses
from mcl_jax.axes import gather
from mcl_jax.config import table
from mcl_jax.methods import register, registry
from mcl_jax.methods.one_view import one_view, one_view_method
from mcl_jax.training import train_and_evaluate


# ---- the whole method -------------------------------------------------------------------------
def own_image(config, setting):
    """Across networks, one's own image is the positive and the rest of the batch negatives."""
    view, axis = one_view(config, setting), setting.axes.data

    def objective(outputs, extras, batch, key):
        keys = gather(outputs.embeddings, axis, axis=1)
        own = ~losses.not_self(batch.position, jnp.arange(keys.shape[1]))
        logits = losses.cross_network_logits(outputs.embeddings, keys, config.method.temperature)
        loss = losses.icl(logits, own, axis_name=axis)
        return loss, (extras, {"loss": loss})

    return one_view_method(config, setting, view, objective)


# -----------------------------------------------------------------------------------------------


def test_a_new_method_is_trained_and_evaluated(tmp_path, monkeypatch):
    tiny.know_tiny_network(monkeypatch)
    monkeypatch.setattr("mcl_jax.data.load", lambda *args, **options: tiny.dataset())
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    monkeypatch.setattr(table, "_FIELDS_OF_METHODS", dict(table._FIELDS_OF_METHODS))
    register("own_image")(own_image)
    config = tiny.config("own_image", training__steps=20, optimizer__learning_rate=0.02)
    config.parallel.devices = 2
    summary = train_and_evaluate(config, tmp_path)
    assert summary["steps"] == 20
    assert len(summary["test"]["knn_accuracy"]) == 2
    losses_seen = [float(x) for x in _column(tmp_path / "metrics.jsonl", "loss")]
    assert len(losses_seen) == 20
    assert sum(losses_seen[-5:]) < sum(losses_seen[:5])
    assert jax.device_count() >= 2


def _column(path, name):
    import json

    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [record[name] for record in records if name in record]
