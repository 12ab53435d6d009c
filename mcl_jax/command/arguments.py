"""From the words of a command line to a configuration that may run."""

import difflib
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from mcl_jax.command.config_file import load_config
from mcl_jax.config import ConfigError, Field, check, fields, flatten, unknown_field, wanted

_OVERRIDE = re.compile(r"--?(no)?config\.([^=]+)(?:=.*)?", re.DOTALL)


class Processes(NamedTuple):
    """Which process of a run this is; where all is None, the cluster knows.

    Attributes:
        coordinator: ``HOST:PORT`` of process 0.
        processes: how many there are.
        process: which one this is, from 0.
    """

    coordinator: str | None
    processes: int | None
    process: int | None


class Arguments(NamedTuple):
    """What a command line asks for.

    Attributes:
        config: the checked configuration.
        workdir: folder of the results.
        dry_run: whether only to say what the run would take.
        report: whether to write the page of the run.
        profile: steps to trace.
        processes: those that this is one of, or None where it is alone.
    """

    config: ConfigDict
    workdir: pathlib.Path
    dry_run: bool
    report: bool
    profile: int
    processes: Processes | None


class Flag(NamedTuple):
    """A flag of a command.

    Attributes:
        name: without dashes.
        default: of its own type.
        shown: how it stands in the help.
        meaning: a sentence.
    """

    name: str
    default: bool | int | str | None
    shown: str
    meaning: str


FLAGS = (
    Flag("workdir", None, "--workdir=DIR", "Folder of the results; runs/<name> if not given."),
    Flag("dry_run", False, "--dry_run", "Compile, say what the run would take, and stop."),
    Flag("report", True, "--[no]report", "Write report.html when the run is done."),
    Flag("profile", 0, "--profile=STEPS", "Trace so many steps, for TensorBoard's profiler."),
    Flag("distributed", False, "--distributed", "One of the processes that a cluster has started."),
    Flag("coordinator", "", "--coordinator=HOST:PORT", "Without a cluster: where process 0 is."),
    Flag("processes", 0, "--processes=N", "Without a cluster: how many processes there are."),
    Flag("process", 0, "--process=I", "Without a cluster: which of them this is, from 0."),
    Flag("help", False, "--help", "Show this page."),
)


def _define(table: Sequence[Flag]) -> flags.FlagValues:
    """The flags, not yet parsed."""
    values = flags.FlagValues()
    flags.DEFINE_multi_string("config", [], "", flag_values=values)
    for name, default, _, meaning in table:
        if isinstance(default, bool):
            short = "h" if name == "help" else None
            flags.DEFINE_bool(name, default, meaning, flag_values=values, short_name=short)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, meaning, flag_values=values)
        else:
            flags.DEFINE_string(name, default, meaning, flag_values=values)
    return values


def parse(argv: list[str]) -> Arguments | None:
    """Understands the words behind the name of the command.

    Args:
        argv: the words.

    Returns:
        What they ask for, or None where they ask for help.

    Raises:
        ConfigError: a flag, the file of the configuration or a field is not as it must be.
    """
    values, overrides = read_flags(argv, FLAGS)
    if values.help:
        return None
    if values.profile < 0:
        raise ConfigError(f"--profile must be at least 0, got {values.profile}.")
    check_given(values, FLAGS)
    config = load_config(only_file(values.config, argv))
    config = overridden(config, overrides, list(values))
    check(config)
    workdir = pathlib.Path(f"runs/{config.name}" if values.workdir is None else values.workdir)
    processes = _processes(values)
    return Arguments(config, workdir, values.dry_run, values.report, values.profile, processes)


def read_flags(argv: list[str], table: Sequence[Flag]) -> tuple[flags.FlagValues, list[str]]:
    """Parses the flags of a command, and ``--config`` (of several values).

    Args:
        argv: the words behind the name of the command.
        table: its flags, ``help`` among them.

    Returns:
        The flags, and the words that are left: overrides of a configuration, and mistakes.

    Raises:
        ConfigError: a value is of another type than its flag.
    """
    values = _define(table)
    values.set_gnu_getopt()  # flags and overrides stand in any order
    return values, _parsed(values, ["mcl_jax", *argv], table, {}, known_only=True)[1:]


def check_given(values: flags.FlagValues, table: Sequence[Flag]) -> None:
    """Raises ConfigError for a flag that is given twice, or a workdir of no name."""
    for flag in table:
        if values[flag.name].present > 1:
            raise ConfigError(
                f"--{flag.name} must be given once, got it {values[flag.name].present} times."
            )
    if values.workdir == "":
        raise ConfigError("--workdir must be a folder, got nothing.")


def _processes(values: flags.FlagValues) -> Processes | None:
    """Which process of which run the flags make this."""
    names = ("coordinator", "processes", "process")
    missing = [f"--{name}" for name in names if not values[name].present]
    if len(missing) == len(names):
        return Processes(None, None, None) if values.distributed else None
    if missing:
        raise ConfigError(
            f"--coordinator, --processes and --process go together; {missing[0]} is missing."
        )
    if values.distributed:
        raise ConfigError(
            "--distributed asks the cluster, and goes without --coordinator, --processes and "
            "--process."
        )
    address = re.fullmatch(r"(?:[^:\s]+|\[[^\]\s]+\]):(\d{1,5})", values.coordinator)
    if not address or not 0 < int(address[1]) < 65536:
        raise ConfigError(
            f"--coordinator must be HOST:PORT of process 0, got {values.coordinator!r}."
        )
    if values.processes < 1:
        raise ConfigError(f"--processes must be at least 1, got {values.processes}.")
    if not 0 <= values.process < values.processes:
        raise ConfigError(
            f"--process must be from 0 to {values.processes - 1}, one below --processes, got "
            f"{values.process}."
        )
    return Processes(values.coordinator, values.processes, values.process)


def only_file(files: list[str], argv: list[str]) -> str:
    """The one value of ``--config``; raises ConfigError where there is none, or a second."""
    if not files:
        alone = [word for word in argv if re.search(r"^[^-].*\.py(:|$)", word)]
        example = alone[0] if alone else "configs/quickstart.py"
        raise ConfigError(f"--config is missing; try --config={example}, or --help.")
    if len(files) > 1:
        raise ConfigError(f"--config must be given once, got {' and '.join(files)}.")
    return files[0]


def overridden(config: ConfigDict, words: list[str], known_flags: list[str]) -> ConfigDict:
    """The configuration with the fields changed that ``--config.key=value`` name.

    Args:
        config: the whole configuration.
        words: the overrides.
        known_flags: names that a flag may have been meant to have.

    Raises:
        ConfigError: a word names no field, a value is of another type, or a word is no override.
    """
    flat = flatten(config)
    known = fields(str(flat.get("method.name", "")))
    _check_overrides(flat, words, known_flags, known)
    values, line = flags.FlagValues(), ["mcl_jax", *words]
    try:
        # Values are parsed when the flag is defined already.
        holder = config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=line
        )
    except (flags.Error, ValueError, TypeError) as error:
        raise _bad_value(error, (), known) from error
    left = _parsed(values, line, (), known)[1:]
    if left:
        raise ConfigError(f"{left[0]!r} belongs to no flag; flags look like --config=FILE.")
    return holder.value


def _check_overrides(
    config: dict[str, Any], words: list[str], known_flags: list[str], known: dict[str, Field]
) -> None:
    """Raises ConfigError for words that look like flags and are none, or name no field."""
    for word in words:
        override = _OVERRIDE.fullmatch(word)
        if override:
            negated, name = override.groups()
            _check_is_field(name, config)
            if negated and not isinstance(config[name], bool):
                raise _bad_field(name, "false", known)
        elif re.match(r"-[^\d.]", word):  # and no negative number
            raise _unknown_flag(word, known_flags, list(config))


def _parsed(
    values: flags.FlagValues,
    line: list[str],
    table: Sequence[Flag],
    known: dict[str, Field],
    *,
    known_only: bool = False,
) -> list[str]:
    """Parses, and returns the words that are no flags."""
    try:
        return values(line, known_only=known_only)
    except (flags.Error, ValueError, TypeError) as error:
        raise _bad_value(error, table, known) from error


def _check_is_field(name: str, config: dict[str, Any]) -> None:
    """Raises ConfigError for a name that is no field."""
    inner = [each for each in config if each.startswith(f"{name}.")]
    if inner:
        raise ConfigError(f"{name} holds several fields, such as {inner[0]}; change one of them.")
    if name not in config:
        raise unknown_field(name, config)


def _bad_value(error: Exception, table: Sequence[Flag], known: dict[str, Field]) -> ConfigError:
    """What is said of a value that is of another type than its flag."""
    text = " ".join(str(error).split())
    missing = re.fullmatch(r"Missing value for flag (\S+)", text)
    if missing:
        return ConfigError(f"{missing[1].removeprefix('--config.')} wants a value, got none.")
    flag = re.match(r"flag --(config\.)?([\w.]+)=(.*?): ", text)
    if flag is None:
        return ConfigError(f"the command line cannot be understood: {text}.")
    config, name, value = flag.groups()
    if config:
        return _bad_field(name, value, known)
    default = next(each.default for each in table if each.name == name)
    return ConfigError(f"--{name} must be {wanted(Field(default, ''))}, got {value!r}.")


def _bad_field(name: str, value: str, known: dict[str, Field]) -> ConfigError:
    """What is said of a field's value that is of another type."""
    field = known.get(name)  # a configuration that is to be refused has others
    kind = wanted(field) if field else "of another type"
    return ConfigError(f"{name} must be {kind}, got {value!r}.")


def _unknown_flag(word: str, known_flags: list[str], names: list[str]) -> ConfigError:
    """What is said of a flag that there is not."""
    name = word.lstrip("-").partition("=")[0]
    # Many forget that fields are behind "config.".
    field = [each for each in names if name in (each, each.rpartition(".")[2])]
    near = [f"config.{each}" for each in field[:1]]
    near = near or difflib.get_close_matches(name, known_flags, n=1)
    hint = f"did you mean --{near[0]}?" if near else "--help lists all."
    return ConfigError(f"there is no flag --{name}; {hint}")
