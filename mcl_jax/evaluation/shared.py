"""What the two views that a run contrasts share, as a part of its evaluation."""

from typing import Any

import jax
import numpy as np

from mcl_jax import meter
from mcl_jax.data import DataError, Split
from mcl_jax.evaluation.predict import LoadRows, load_resident, some
from mcl_jax.meter import Pair, Settings

_TRAINING, _HELD_OUT = 8192, 2048  # rows at most


def shared_information(
    pair: Pair,
    train: Split,
    test: Split,
    *,
    seed: int,
    load: LoadRows = load_resident,
    settings: Settings = Settings(),  # noqa: B008  it cannot change
) -> dict[str, Any]:
    """Reads how much two views share, and how much of it colours alone tell.

    Critics are fitted on 8,192 training rows at most and read on 2,048 test rows at most, always
    the same ones. Of fewer rows than a batch, or than candidates, these are as many as the rows.

    Args:
        pair: keys and uint8 images to two views, as `mcl_jax.meter` has it.
        train: rows that critics are fitted on.
        test: rows that they are read on.
        seed: of critics, rows and views.
        load: (split, rows) to uint8 images.
        settings: of the meter.

    Returns:
        What JSON holds: ``views`` and ``colours``, each a reading (`mcl_jax.meter.Reading`) with
        its ``words``, and ``shortcut``, a sentence where colours tell most of it, or None.

    Raises:
        DataError: there is a single training or test row.
    """
    train, test = some(train, _TRAINING), some(test, _HELD_OUT)
    for split, name in ((train, "training"), (test, "test")):
        if len(split) < 2:
            raise DataError(f"what views share wants 2 {name} rows or more, got {len(split)}.")
    images = [load(split, np.arange(len(split))) for split in (train, test)]
    settings = settings._replace(
        batch_size=min(settings.batch_size, len(train)),
        candidates=min(settings.candidates, len(test)),
    )
    views, colours = (
        meter.measure(one, *images, key=jax.random.key(seed), settings=settings)
        for one in (pair, meter.histograms(pair, images[0], key=jax.random.key(seed)))
    )
    return {
        "views": views.as_dict() | {"words": views.words()},
        "colours": colours.as_dict() | {"words": colours.words()},
        "shortcut": meter.shortcut(views, colours),
    }
