"""The page of a world: pictures of its pairs, the table of errors and plots of it."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jinja2
import numpy as np

import mcl_jax
from mcl_jax.report.page.pictures import data_uri
from mcl_jax.report.page.svg import INK, LINES, Picture, drawing, to_svg
from mcl_jax.worlds.experiment import (
    CANDIDATES,
    FITTED,
    HELD_OUT,
    SUBSETS,
    World,
    shared_factors,
)
from mcl_jax.worlds.moving_digits import FACTORS, FRAMES, Factors, Pairs
from mcl_jax.worlds.results import MEASURES, Run, cell, encoders, means
from mcl_jax.worlds.table import title
from mcl_jax.worlds.training import Settings, draw_batch

_EXAMPLES = 2  # pairs of each subset
_PLOTTED = FACTORS  # measures that have a plot


def page(world: World, settings: Settings, runs: Sequence[Run], command: str) -> str:
    """The self-contained page.

    Args:
        world: what sequences are made of.
        settings: of the runs.
        runs: those that are shown.
        command: that has made them.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("mcl_jax.worlds"), jinja2.PackageLoader("mcl_jax.report.page")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("worlds.html").render(
        version=mcl_jax.__version__,
        command=command,
        settings=settings,
        seeds=sorted({run.seed for run in runs}),
        measures=list(MEASURES.values()),
        rows=_rows(runs),
        pictures=[_picture(runs, name) for name in _PLOTTED],
        pairs=_pairs(world),
        frames=FRAMES,
        candidates=CANDIDATES,
        most=math.log(CANDIDATES),
        fitted=FITTED,
        held_out=HELD_OUT,
        sizes={
            "digits": (len(world.train.digits), len(world.held_out.digits)),
            "backgrounds": (len(world.train.backgrounds), len(world.held_out.backgrounds)),
        },
        names=world.backgrounds,
    )


def _rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Rows of the table."""
    rows = []
    for encoder in encoders(runs):
        found = means(runs, encoder)
        rows.append(
            {
                "title": title(encoder),
                "subset": encoder in SUBSETS,
                "cells": [
                    {
                        "text": cell(found.get(name), name),
                        "shared": name in encoder.split("+"),
                    }
                    for name in MEASURES
                ],
            }
        )
    return rows


def _picture(runs: Sequence[Run], name: str) -> Picture:
    """Mean and interval of each encoder in one measure; filled where the factor was shared."""
    measure, found = MEASURES[name], encoders(runs)
    with drawing(4.4, 0.8 + 0.24 * len(found)) as figure:
        axes = figure.subplots()
        for place, encoder in enumerate(found):
            interval = means(runs, encoder)[name]
            colour = LINES[0] if encoder in SUBSETS else LINES[1]
            filled = name in encoder.split("+") or encoder not in SUBSETS
            if interval.low is not None and interval.high is not None:
                ends = [measure.factor * interval.low, measure.factor * interval.high]
                axes.plot(ends, [place, place], color=colour)
            axes.plot(
                measure.factor * interval.mean,
                place,
                marker="o",
                color=colour,
                fillstyle="full" if filled else "none",
            )
        axes.set_yticks(range(len(found)), [title(encoder) for encoder in found])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(measure.unit, color=INK)
        told = "; ".join(f"{title(x)}: {cell(means(runs, x)[name], name)}" for x in found)
        alt = f"{measure.title}, {measure.unit}: {told}."
        svg = to_svg(figure, f"worlds-{name}", alt)
    caption = (
        f"Mean over seeds with its 95 % interval (Student's). Filled: the views share the {name}, "
        f"or the encoder is none of a pair's."
    )
    return Picture(f"{measure.title.capitalize()}: {measure.unit}", svg, alt, caption)


def _pairs(world: World) -> list[dict[str, Any]]:
    """For each subset a few pairs: the same draws, of which other things are shared."""
    shown = []
    draw = jax.jit(lambda key, flags: draw_batch(key, world.held_out, flags, _EXAMPLES))
    for subset in SUBSETS:
        flags = Factors(*map(jnp.asarray, shared_factors(subset)))
        pairs = jax.device_get(draw(jax.random.key(0), flags))
        examples = [_example(world, pairs, row) for row in range(_EXAMPLES)]
        shown.append({"title": title(subset), "examples": examples})
    return shown


def _example(world: World, pairs: Pairs, row: int) -> dict[str, Any]:
    """The frames and the later image of a pair, as a page shows them."""
    digit = world.digits[int(pairs.labels.digit[row])]
    background = world.backgrounds[int(pairs.labels.background[row])]
    down, right = (float(x) for x in pairs.labels.position[row])
    frames = np.split(np.asarray(pairs.first[row]), FRAMES, axis=-1)
    return {
        "told": f"{digit} over {background}, last at ({down:.1f}, {right:.1f})",
        "frames": [_uri(frame) for frame in frames],
        "later": _uri(np.asarray(pairs.second[row])),
    }


def _uri(image: np.ndarray) -> str:
    return data_uri(np.round(255 * image).astype(np.uint8))
