"""Compiled programs that are kept between runs."""

import os
import pathlib

import jax


def keep_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX is told of another.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder, ``JAX_ENABLE_COMPILATION_CACHE=0`` keeps
    none.
    """
    if jax.config.values["jax_compilation_cache_dir"] is None:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "mcl_jax" / "compiled"))
