"""Writes a page of what the networks get to see: ``python -m mcl_jax.views --config=FILE``."""

import argparse
import dataclasses
import difflib
import functools
import pathlib
import re
import shlex
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from ml_collections import ConfigDict

from mcl_jax import atomic
from mcl_jax.command import explain, parse
from mcl_jax.config import ConfigError, Field, fields, known_methods

if TYPE_CHECKING:
    from collections.abc import Callable

    import jax

    from mcl_jax.data import Dataset, Split
    from mcl_jax.views import Recipe
    from mcl_jax.views.page import Look, Patch

_DESCRIPTION = """\
Writes a page that shows training images beside views of them, with every number that was drawn for
a view, so that a wrong recipe is seen at a glance."""
_BATCHES = 5  # that figures are of, each as large as the views shown


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page that the words of a command line ask for and says where it is.

    Args:
        argv: the words behind the name of the command; those of this process if None.

    Returns:
        The exit code: 0 done, 1 bad input, 130 Ctrl-C.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        options, rest = _options(words)
        if options.help:
            sys.stdout.write(_help() + "\n")
            return 0
        arguments = parse(rest)
        assert arguments is not None
        _write(options.output, _page(arguments.config, options, words))
        said = _information(arguments.config) if options.information else ""
    except (Exception, KeyboardInterrupt) as error:
        told = explain(error, None)
        if told is None:
            raise
        sys.stderr.write(f"{told[1]}\n")
        return told[0]
    sys.stdout.write(f"{said}{options.output}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.error = _refuse  # type: ignore[method-assign]
    parser.add_argument("--images", default="8")
    parser.add_argument("--views", default="6")
    parser.add_argument("--output", default="views.html")
    parser.add_argument("--information", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    return parser


def _refuse(message: str) -> NoReturn:
    """What argparse says, as one of our sentences."""
    flag, _, reason = message.removeprefix("argument ").partition(": ")
    raise ConfigError(
        f"{flag} wants a value, got none." if "expected" in reason else f"{flag} takes no value."
    )


def _options(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command's own flags, and the words for the configuration."""
    options, rest = _parser().parse_known_args(words)
    for word in rest:
        name = word.lstrip("-").partition("=")[0]
        if re.match(r"-[^\d.]", word) and not re.match(r"(no)?config(\.|$)", name):
            near = [f"config.{each}" for each in _fields_of_views() if each == name]
            near = near or difflib.get_close_matches(name, ["config", *vars(options)], n=1)
            hint = f"did you mean --{near[0]}?" if near else "--help lists all."
            raise ConfigError(f"there is no flag --{name}; {hint}")
    for name in ("images", "views", "output"):
        times = sum(word.partition("=")[0] == f"--{name}" for word in words)
        if times > 1:
            raise ConfigError(f"--{name} must be given once, got it {times} times.")
    for name in ("images", "views"):
        number = getattr(options, name)
        if not re.fullmatch(r"\d+", number) or not int(number):
            raise ConfigError(f"--{name} must be a whole number, at least 1, got {number!r}.")
        setattr(options, name, int(number))
    if not options.output:
        raise ConfigError("--output must be a file, got nothing.")
    return options, rest


def _fields_of_views() -> dict[str, Field]:
    """The fields that decide what is seen, those that some methods lack last."""
    every = fields()
    for method in known_methods():
        every |= {name: x for name, x in fields(method).items() if name not in every}
    return {name: field for name, field in every.items() if name.startswith("views.")}


def _help() -> str:
    flags = {
        "--config=FILE": "Python file that makes the configuration; FILE:smoke is a small version.",
        "--config.FIELD=VALUE": "Changes a field of it, as in training.",
        "--images=8": "So many training images are shown,",
        "--views=6": "each with so many views.",
        "--output=views.html": "The page; everything on it is in this one file.",
        "--information": "Prints how much two views share, in nats; takes a minute or so.",
    }
    flags |= {
        f"--config.{name}={field.default!r}": field.meaning
        for name, field in _fields_of_views().items()
    }
    lines = [
        textwrap.fill(meaning, 100, initial_indent=f"  {name:36}", subsequent_indent=38 * " ")
        for name, meaning in flags.items()
    ]
    return "\n".join([textwrap.fill(_DESCRIPTION, 100), "", *lines])


def _information(config: ConfigDict) -> str:
    """What the two views that the method contrasts share, as lines."""
    from mcl_jax.compilation import compiled_programs_kept
    from mcl_jax.evaluation.shared import shared_information
    from mcl_jax.training.feed import load_rows
    from mcl_jax.training.loop import ready
    from mcl_jax.training.source import image_shape

    run = ready(config)
    if run.method.pair is None:
        raise ConfigError(
            f"--information wants a method that contrasts views of an image, such as moco or "
            f"simclr, got {config.method.name}."
        )
    load = functools.partial(load_rows, side=image_shape(config, run.dataset.train)[0], margin=1)
    splits = run.dataset.pool, run.dataset.test
    with compiled_programs_kept():
        found = shared_information(run.method.pair, *splits, seed=config.seed, load=load)
    lines = [f"Views share: {found['views']['words']}", f"Colours: {found['colours']['words']}"]
    if found["shortcut"]:
        lines.append(f"Warning: {found['shortcut']}")
    return "".join(f"{line}\n" for line in lines)


def _page(config: ConfigDict, options: argparse.Namespace, words: list[str]) -> str:
    """The whole page; libraries are loaded when the command line is understood."""
    import jax
    import jinja2

    import mcl_jax
    from mcl_jax.compilation import compiled_programs_kept
    from mcl_jax.training.fit import check_dataset
    from mcl_jax.training.source import load_dataset
    from mcl_jax.views import page, recipes

    dataset = load_dataset(config)
    check_dataset(config, dataset)
    train, count = dataset.train, options.images
    if count > len(train):
        raise ConfigError(f"--images must be at most the {len(train)} training rows, got {count}.")
    rng = np.random.default_rng(config.seed)
    rows = _of_all_classes(train.labels, rng)[:count]
    sampled = np.resize(rng.permutation(len(train)), _BATCHES * count * options.views)
    parts, notes = [], _notes_of_method(config)
    for number, field in enumerate(_fields_of_recipes(config)):
        recipe, patch = _recipe(config, dataset.pool, field), _patch(config, number)
        sees, division = _division(config, dataset, recipe)
        images = _images(config, recipe, train, rows)
        others = _images(config, recipe, train, sampled)
        # Both patches of an image are drawn from one key.
        key = jax.random.fold_in(jax.random.key(config.seed), 0 if patch else number)
        with compiled_programs_kept():
            look = page.look(
                recipe, key, images, others, options.views, division=division, patch=patch
            )
        told = page.notes(recipe, images.shape[-1]) + _notes(train, recipe, images)
        notes += [note for note in told if note not in notes]
        parts.append(
            {
                "field": field,
                "sentence": _sentence(config, images, look, field),
                "description": recipes.describe(config.views[field]),
                "words": page.words(recipe, patch),
                "figures": look.figures,
                "difference": look.difference,
                "rows": _rows(dataset, rows, images, look, sees),
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("mcl_jax.views"), jinja2.PackageLoader("mcl_jax.report.page")]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("views.html").render(
        version=mcl_jax.__version__,
        name=config.name,
        command=shlex.join(["python", "-m", "mcl_jax.views", *words]),
        notes=notes,
        parts=parts,
        sampled=min(len(sampled), len(train)),
        made=len(sampled),
        columns=options.views + 1,
        facts=_facts(config, dataset),
    )


def _fields_of_recipes(config: ConfigDict) -> list[str]:
    """The fields that name a recipe, the second only where the second view is made otherwise."""
    second = config.views.get("second_recipe", "")
    if second not in ("", config.views.recipe):
        return ["recipe", "second_recipe"]
    return ["recipe"] * (2 if config.views.get("patch_size") else 1)


def _notes_of_method(config: ConfigDict) -> list[str]:
    """How a method uses views, where it does so in a way of its own."""
    notes = []
    if "second_recipe" in config.views:
        several = "second_recipe" in _fields_of_recipes(config)
        of_each = "one of each recipe" if several else "of this recipe"
        notes.append(f"Method {config.method.name} takes two views of an image, {of_each}.")
    space = config.views.get("channels")
    if config.views.get("learned"):
        notes.append(
            "Networks see learned channels of a view: they are below each view, which is shown as "
            "it was before."
        )
    elif space and _is_divided(config):
        notes.append(
            f"Half of the networks see the first channel of {space} alone, the others the other "
            f"two: both are below each view, which is shown before it is converted."
        )
    if config.views.get("frequency"):
        notes.append(
            f"Half of the networks see a view blurred by {config.views.frequency:g} pixels, the "
            f"others what the blur took away: both are below each view."
        )
    if config.views.get("patch_size"):
        notes.append(
            f"The two views of an image are patches of {config.views.patch_size} pixels, the "
            f"second {config.views.patch_distance} below and to the right of the first: view for "
            f"view they stand in the same places of the two tables. They take the place of the "
            f"recipe's crop. Evaluation shows whole images."
        )
    return notes


def _is_divided(config: ConfigDict) -> bool:
    """Whether networks see different parts of a view; generators that learn are not known yet."""
    from mcl_jax.methods import dividing

    return len(set(dividing.parts(config))) > 1 and "generators" not in config.method


def _patch(config: ConfigDict, number: int) -> "Patch | None":
    """What of an image a view is made of, or None for all of it."""
    from mcl_jax.views.page import Patch

    size = config.views.get("patch_size", 0)
    return Patch(number, size, config.views.patch_distance) if size else None


def _division(
    config: ConfigDict, dataset: "Dataset", recipe: "Recipe"
) -> "tuple[list[str], Callable[[jax.Array], tuple[jax.Array, ...]] | None]":
    """Who sees what of a view, where networks see different things: in words, and as a function."""
    import optax

    from mcl_jax.axes import Axes
    from mcl_jax.methods import Setting, dividing, networks
    from mcl_jax.training.source import channel_statistics, image_shape

    if not _is_divided(config):
        return [], None
    train = dataset.pool
    statistics, shape = channel_statistics(config, train), image_shape(config, train)
    setting = Setting(
        dataset.num_classes, *statistics, Axes(), 1, optax.identity(), image_shape=shape
    )
    cohort = networks.build(config, setting)
    division: Callable[[jax.Array], tuple[jax.Array, ...]]
    division = dividing.division(config, cohort, recipe)
    if isinstance(division, dividing.Frequencies):
        division = _of_pixels(division, recipe)
    words, first = [], 0
    for group in cohort.groups:
        last = first + group.size - 1
        words.append(f"network {first}" if group.size == 1 else f"networks {first} to {last}")
        first = last + 1
    return words, division


def _of_pixels(
    division: "Callable[[jax.Array], tuple[jax.Array, ...]]", recipe: "Recipe"
) -> "Callable[[jax.Array], tuple[jax.Array, ...]]":
    """A division of views before they are normalised, whose colours are those of the view."""
    mean, std = np.array(recipe.mean, np.float32), np.array(recipe.std, np.float32)
    return lambda views: division(views * std + mean)


def _recipe(config: ConfigDict, train: "Split", field: str) -> "Recipe":
    """A recipe of training; of streamed images, the crop too, which the host makes there."""
    from mcl_jax.methods.seeing import recipe_of_view
    from mcl_jax.training.source import channel_statistics, image_shape

    statistics, shape = channel_statistics(config, train), image_shape(config, train)
    recipe = recipe_of_view(config, *statistics, shape, cropped=train.streams, field=field)
    if config.views.get("patch_size"):
        return recipe
    return dataclasses.replace(recipe, cropped=False)


def _of_all_classes(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All rows in random order, but one of each class first, then a second one of each."""
    order = rng.permutation(len(labels))
    by_class = np.argsort(labels[order], kind="stable")
    ordered = labels[order][by_class]
    place = np.empty(len(labels), np.int64)
    place[by_class] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return order[np.argsort(place, kind="stable")]


def _images(config: ConfigDict, recipe: "Recipe", train: "Split", rows: np.ndarray) -> np.ndarray:
    """Images uint8 [n, H, W, c] of rows; of streamed ones the middle, of one size.

    What the recipe crops is given twice as large as its views.
    """
    from mcl_jax import data

    if train.images is not None:
        return train.images[rows]
    side = config.data.image_size * (2 if recipe.crop and not recipe.cropped else 1)
    return np.stack([data.centre_crop(train.image(int(row)), side, side) for row in rows])


def _sentence(config: ConfigDict, images: np.ndarray, look: "Look", field: str) -> str:
    height, width, channels = images.shape[1:]
    seen = look.views[0][0].pixels
    colours = {1: "gray", 3: "colour"}.get(channels, f"{channels}-channel")
    return (
        f"Recipe {config.views[field]}, {config.views.mode} mode, of {config.data.source}: "
        f"{colours} images of {height} x {width} pixels become views of {seen.shape[0]} x "
        f"{seen.shape[1]}."
    )


def _notes(train: "Split", recipe: "Recipe", images: np.ndarray) -> list[str]:
    if train.images is not None or recipe.crop is None or recipe.cropped:
        return []
    return [
        "These images are streamed. In training the host crops each one while it decodes; here "
        "crops are drawn in the same way from the middle of the image, scaled to "
        f"{images.shape[1]} x {images.shape[2]}."
    ]


def _rows(
    dataset: "Dataset", rows: np.ndarray, images: np.ndarray, look: "Look", sees: list[str]
) -> list[dict[str, Any]]:
    """Each image with its views, as the template wants them."""
    from mcl_jax.report.page.pictures import data_uri

    shown = []
    for row, image, views in zip(rows.tolist(), images, look.views, strict=True):
        name = dataset.class_names[dataset.train.labels[row]]
        shown.append(
            {
                "uri": data_uri(image),
                "alt": f"training image {row}: {name}",
                "name": name,
                "number": row,
                "size": f"{image.shape[0]} x {image.shape[1]}",
                "views": [
                    {
                        "uri": data_uri(x.pixels),
                        "told": x.told,
                        "parts": [
                            {"who": who, "uris": [data_uri(picture) for picture in part]}
                            for who, part in zip(sees, x.parts, strict=True)
                        ],
                    }
                    for x in views
                ],
            }
        )
    return shown


def _facts(config: ConfigDict, dataset: "Dataset") -> list[tuple[str, str]]:
    options = {f"views.{name}": value for name, value in config.views.items()}
    return [
        ("Images", f"{config.data.source}, {len(dataset.train):,} training rows. {dataset.notice}"),
        ("Seed", str(config.seed)),
        ("Fields", ", ".join(f"{name}={value}" for name, value in options.items())),
    ]


def _write(output: str, page: str) -> None:
    """Writes the page whole or not at all."""
    try:
        with atomic.open_to_replace(pathlib.Path(output)) as file:
            file.write(page)
    except OSError as error:  # names a file that the user never heard of
        raise ConfigError(f"--output {output} cannot be written: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
