"""Methods by name, with fields of their own."""

import pytest

from mcl_jax import config as config_lib
from mcl_jax.methods import names, register, registry


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch):
    monkeypatch.setattr(registry, "_BUILDERS", dict(registry._BUILDERS))
    monkeypatch.setattr("mcl_jax.config.table._FIELDS_OF_METHODS", {})


def test_a_method_brings_its_fields():
    field = config_lib.Field(8, "keys in the queue", least=1)
    register("queued", {"method.queue": field})(lambda config, setting: None)
    assert "queued" in names()
    assert config_lib.fields("queued")["method.queue"] is field
    assert "method.queue" not in config_lib.fields("supervised_mcl")


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match=r"method 'supervised_mcl' is registered already\."):
        register("supervised_mcl")(lambda config, setting: None)
