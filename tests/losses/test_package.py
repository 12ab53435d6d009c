import subprocess
import sys

from mcl_jax import losses

IMPORT = """
import sys
import jax, jax.nn, jax.numpy
before = {name.split(".")[0] for name in sys.modules}
import mcl_jax.losses
after = {name.split(".")[0] for name in sys.modules}
print(*(after - before - set(sys.stdlib_module_names)))
"""


def test_losses_import_jax_alone() -> None:
    process = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
    )
    assert process.stdout.split() == ["mcl_jax"]


def test_every_name_is_public() -> None:
    assert all(getattr(losses, name).__doc__ for name in losses.__all__)


def test_every_function_has_an_example() -> None:
    functions = [name for name in losses.__all__ if name != "MCLTerms"]
    assert [name for name in functions if ">>>" not in getattr(losses, name).__doc__] == []
