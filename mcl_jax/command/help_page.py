"""The page that ``--help`` shows."""

import textwrap

from mcl_jax.command.arguments import FLAGS
from mcl_jax.config import Field, fields, known_methods, own_fields

_WIDTH = 100

_INTRODUCTION = """\
Trains a cohort of networks that learn from each other's embeddings, judges every member and the
ensemble, and leaves the results in a folder, the workdir.

  python -m mcl_jax.main --config=configs/quickstart.py
  python -m mcl_jax.main --config=configs/cifar100.py --workdir=runs/first --config.seed=1
  python -m mcl_jax.main --config=configs/imagenet.py:smoke --config.method.networks=3

A run that is started again with the same workdir goes on from its newest checkpoint."""

_WORKDIR = (
    ("config.json", "the configuration, whole"),
    ("metrics.jsonl", "one object a logged step: loss, its terms, accuracies, speed"),
    ("log.jsonl", "what happened: starts with their versions and devices, stops, warnings"),
    ("checkpoints/", "the newest states, and the best on validation"),
    ("summary.json", "the figures at the end, baselines beside them; fractions from 0 to 1"),
    ("outputs.npz", "what the networks said of test images"),
    ("report.html", "a page with plots of all that, unless --noreport"),
    ("tensorboard/", "events for TensorBoard, unless logging.tensorboard is false"),
    ("profile/", "with --profile, for TensorBoard's profiler"),
)

_EXIT_CODES = (
    ("0", "done, also when the run was done already"),
    ("1", "bad input, a full disk or too little memory; one sentence says what"),
    ("2", "a figure is not finite"),
    ("130", "stopped by Ctrl-C"),
    ("143", "stopped by SIGTERM, after a checkpoint"),
)

_OF_FIELDS = (
    "Fields of every configuration, with their defaults; a file in configs/ changes some, "
    "--config.FIELD=VALUE one:"
)


def help_page() -> str:
    """What the command does, its flags, every field, what it leaves and its exit codes."""
    parts = [
        _INTRODUCTION,
        "Flags:\n" + table(_flags()),
        textwrap.fill(_OF_FIELDS, _WIDTH) + "\n" + table(_rows(_common())),
        *(f"Of method.name {name}:\n" + table(_rows(own_fields(name))) for name in known_methods()),
        "In the workdir:\n" + table(_WORKDIR),
        "Exit codes:\n" + table(_EXIT_CODES),
    ]
    return "\n\n".join(parts)


def _flags() -> list[tuple[str, str]]:
    """The flags with their meanings."""
    config = "Python file that makes the configuration; FILE:smoke is a small version of it."
    return [("--config=FILE", config), *((flag.shown, flag.meaning) for flag in FLAGS)]


def _common() -> dict[str, Field]:
    """The fields that methods have in common."""
    everywhere = fields("")
    return {name: field for name, field in fields().items() if name in everywhere}


def _rows(some: dict[str, Field]) -> list[tuple[str, str]]:
    """Fields with their defaults and meanings."""
    return [(f"{name}={_value(field)}", _meaning(field)) for name, field in some.items()]


def _value(field: Field) -> str:
    """A default as it is typed."""
    value = field.default
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"


def _meaning(field: Field) -> str:
    """A field's meaning, and its choices unless the meaning tells them."""
    other = [choice for choice in field.choices if choice and choice != field.default]
    return field.meaning + (f" (or {', '.join(other)})" if other else "")


def table(rows: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    """Two columns, the second one wrapped.

    Args:
        rows: of the table, their two cells.
    """
    left = max(len(name) for name, _ in rows) + 4
    lines = []
    for name, meaning in rows:
        lines += textwrap.wrap(
            meaning,
            _WIDTH,
            initial_indent=f"  {name}".ljust(left),
            subsequent_indent=" " * left,
        )
    return "\n".join(lines)
