"""A trace of some steps, for TensorBoard's profiler and for Perfetto."""

import pathlib
from typing import Any

import jax


class Profile:
    """Traces ``steps`` steps, the first of this process left out, for it compiles.

    The trace lies in ``profile/`` of the workdir: ``perfetto_trace.json.gz`` opens in
    https://ui.perfetto.dev, the folder in TensorBoard with its profile plugin.
    """

    def __init__(self, workdir: pathlib.Path, steps: int) -> None:
        """Traces nothing where ``steps`` is 0."""
        self._folder, self._left = workdir / "profile", steps
        self._tracing = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *error: object) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()

    def stepped(self, steps: int, results: Any) -> None:
        """Counts a dispatch of ``steps`` steps, whose ``results`` may still be on their way."""
        if self._tracing:
            self._left -= steps
            if self._left <= 0:
                jax.block_until_ready(results)
                self.__exit__()
        elif self._left > 0:
            jax.block_until_ready(results)
            self._folder.mkdir(exist_ok=True)
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._tracing = True
