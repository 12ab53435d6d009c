"""Every test has eight simulated CPU devices; what one test compiles, the others load."""

import gc
import os
import subprocess
import sys

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# The programs are the same, but XLA need not make fast what runs once, here or in a subprocess.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# Tracing makes a great many objects that stay: looking through them again and again takes a sixth
# of the suite's time.
gc.set_threshold(1_000_000, 100, 100)
# XLA's older emitters compile in half the time, and a program that is not split for several threads
# in less than all of them together; what was built without these flags stops at the word.
QUICK_COMPILER = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def choose_compiler() -> None:
    """Sets the flags where they are known, for this process and all that it starts."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_use_fusion_emitters" in flags:
        return
    wished = os.environ | {"XLA_FLAGS": f"{flags} {QUICK_COMPILER}", "JAX_PLATFORMS": "cpu"}
    probe = [sys.executable, "-c", "import jax; jax.devices()"]
    if not subprocess.run(probe, env=wished, capture_output=True).returncode:
        os.environ["XLA_FLAGS"] = wished["XLA_FLAGS"]


choose_compiler()


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs where pytest keeps what it knows from run to run."""
    cache = getattr(config, "cache", None)  # pytest can do without
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("compiled")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
