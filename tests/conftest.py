"""Every test has eight simulated CPU devices; what one test compiles, the others load."""

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
# The programs are the same, but XLA need not make fast what runs once.
jax.config.update("jax_disable_most_optimizations", True)


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs where pytest keeps what it knows from run to run."""
    cache = getattr(config, "cache", None)  # pytest can do without
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache.mkdir("compiled")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
