"""The bar that tells how far a run is."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

_SHORT = {
    "loss": "loss",
    "cross_entropy": "ce",
    "vcl": "vcl",
    "soft_vcl": "svcl",
    "icl": "icl",
    "soft_icl": "sicl",
    "accuracy": "acc",
}


class Progress:
    """Step, images/s, loss terms and time left, on standard error."""

    def __init__(self, steps: int, start: int) -> None:
        """Starts at ``start`` of ``steps``."""
        self._bar = tqdm(
            total=steps, initial=start, unit="step", dynamic_ncols=True, file=sys.stderr
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, step: int, images_per_second: float | None, metrics: Mapping[str, Any]) -> None:
        """Moves the bar to ``step`` and shows the metrics that have a short name."""
        terms = [
            f"{short} {np.mean(metrics[name]):.3f}"
            for name, short in _SHORT.items()
            if name in metrics
        ]
        speed = "" if images_per_second is None else f"{images_per_second:.0f} images/s, "
        self._bar.set_postfix_str(speed + " ".join(terms), refresh=False)
        self._bar.update(step - self._bar.n)
