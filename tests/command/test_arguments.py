"""What a command line asks for, and what is said of one that cannot be understood."""

import pathlib

import pytest

from mcl_jax.command import parse
from mcl_jax.config import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
FILE = "--config=configs/quickstart.py"


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_values_and_flags_stand_in_any_order():
    words = [
        *("--config.seed", "3", "--workdir=somewhere", "--config=configs/quickstart.py:smoke"),
        *("--config.optimizer.learning_rate=1", "--noreport", "--noconfig.views.flip"),
        *("--config.data.mean=0.5", "--config.data.std=(1,)", "--profile=5"),
        *("--config.optimizer.decay_exclude=bias$", "--config.data.seed=1", "--config.data.seed=2"),
    ]
    arguments = parse(words)
    config = arguments.config
    assert arguments[1:] == (pathlib.Path("somewhere"), False, False, 5, None)
    assert (config.name, config.seed, config.data.seed) == ("quickstart-smoke", 3, 2)
    assert config.optimizer.learning_rate == 1.0
    assert config.views.flip is False
    assert (config.data.mean, config.data.std) == ((0.5,), (1,))
    assert config.optimizer.decay_exclude == ("bias$",)


def test_without_further_flags():
    arguments = parse([FILE])
    assert arguments[1:] == (pathlib.Path("runs/quickstart"), False, True, 0, None)
    assert parse([FILE, "--dry_run"]).dry_run


def test_one_of_several_processes():
    assert parse([FILE, "--distributed"]).processes == (None, None, None)
    words = [FILE, "--processes=2", "--process=0", "--coordinator"]
    for address in ("localhost:1234", "10.0.0.1:1", "[::1]:65535"):
        assert parse([*words, address]).processes == (address, 2, 0)


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-help"], [FILE, "--help", "--nope"]])
def test_help_is_asked_for(words):
    assert parse(words) is None


TOGETHER = ("--processes=2", "--process=0")
MISTAKES = [
    # the file
    ([], "--config is missing; try --config=configs/quickstart.py, or --help."),
    (["--config.seed=3"], "--config is missing; try --config=configs/quickstart.py, or --help."),
    (
        ["configs/cifar100.py"],
        "--config is missing; try --config=configs/cifar100.py, or --help.",
    ),
    (["--config"], "--config wants a value, got none."),
    (["--config="], "--config must be a Python file, got nothing."),
    (["--config=configs"], "--config must be a Python file, got configs."),
    (["--config=README.md"], "--config must be a Python file, got README.md."),
    (["--config=nowhere/x.py"], "--config must be a file that exists, got 'nowhere/x.py'."),
    (
        ["--config=configs/quickstrat.py"],
        "--config must be a file that exists, got 'configs/quickstrat.py'; did you mean "
        "configs/quickstart.py?",
    ),
    (
        [FILE, "--config=configs/cifar100.py"],
        "--config must be given once, got configs/quickstart.py and configs/cifar100.py.",
    ),
    ([f"{FILE}:tiny"], "the part of --config behind the colon must be smoke, got 'tiny'."),
    # other flags
    ([FILE, "--workdri=x"], "there is no flag --workdri; did you mean --workdir?"),
    ([FILE, "--dry-run"], "there is no flag --dry-run; did you mean --dry_run?"),
    ([FILE, "--nope", "x"], "there is no flag --nope; --help lists all."),
    ([FILE, "--epochs=3"], "there is no flag --epochs; did you mean --config.training.epochs?"),
    (
        [FILE, "--data.seed=3"],
        "there is no flag --data.seed; did you mean --config.data.seed?",
    ),
    ([FILE, "--config."], "there is no flag --config.; did you mean --config?"),
    ([FILE, "--workdir"], "--workdir wants a value, got none."),
    ([FILE, "--dry_run=x"], "--dry_run must be true or false, got 'x'."),
    ([FILE, "--profile=x"], "--profile must be a whole number, got 'x'."),
    ([FILE, "--profile=-1"], "--profile must be at least 0, got -1."),
    ([FILE, "smoke"], "'smoke' belongs to no flag; flags look like --config=FILE."),
    # fields
    (
        ["--config=configs/quickstart_moco.py", "--config.method.queue_size=many"],
        "method.queue_size must be a whole number, got 'many'.",
    ),
    (
        [FILE, "--config.trainig.epochs=3"],
        "the configuration has no field trainig.epochs; did you mean training.epochs?",
    ),
    (
        [FILE, "--config.networks=3"],
        "the configuration has no field networks; did you mean method.networks?",
    ),
    (
        [FILE, "--config.model.temperature=3"],
        "the configuration has no field model.temperature; did you mean method.temperature?",
    ),
    (
        [FILE, "--config.seed.x=3"],
        "the configuration has no field seed.x; did you mean seed?",
    ),
    (
        [FILE, "--config.xyzzy=1"],
        "the configuration has no field xyzzy; --help lists all fields.",
    ),
    ([FILE, "--config.method.networks=two"], "method.networks must be a whole number, got 'two'."),
    ([FILE, "--config.seed=1.5"], "seed must be a whole number, got '1.5'."),
    ([FILE, "--config.seed"], "seed wants a value, got none."),
    ([FILE, "--noconfig.seed"], "seed must be a whole number, got 'false'."),
    ([FILE, "--config.views.flip=maybe"], "views.flip must be true or false, got 'maybe'."),
    (
        [FILE, "--config.optimizer.learning_rate=0,1"],
        "optimizer.learning_rate must be a number, got '0,1'.",
    ),
    (
        [FILE, "--config.data.mean=(0.5,"],
        "data.mean must be a tuple of numbers such as (1, 2), got '(0.5,'.",
    ),
    (
        [FILE, "--config.data.mean=x"],
        "data.mean must be a tuple of numbers such as (1, 2), got ('x',).",
    ),
    (
        [FILE, "--config.training=3"],
        "training holds several fields, such as training.checkpoint_every_epochs; change one of "
        "them.",
    ),
    (
        [FILE, "--config.training={'epochs': 3}"],
        "training holds several fields, such as training.checkpoint_every_epochs; change one of "
        "them.",
    ),
    ([FILE, "--config.views.padding", "-1"], "views.padding must be at least 0, got -1."),
    (
        [FILE, "--config.parallel.platform=gpus"],
        "parallel.platform must be one of '' (any), cpu, gpu, tpu, got 'gpus'; did you mean gpu?",
    ),
    # processes
    *(
        (
            [FILE, *given],
            f"--coordinator, --processes and --process go together; {missing} is missing.",
        )
        for given, missing in (
            (["--coordinator=a:1"], "--processes"),
            (["--coordinator=a:1", "--processes=2"], "--process"),
            (["--processes=2", "--process=0", "--distributed"], "--coordinator"),
        )
    ),
    (
        [FILE, *TOGETHER, "--coordinator=a:1", "--distributed"],
        "--distributed asks the cluster, and goes without --coordinator, --processes and "
        "--process.",
    ),
    *(
        (
            [FILE, *TOGETHER, f"--coordinator={address}"],
            f"--coordinator must be HOST:PORT of process 0, got {address!r}.",
        )
        for address in ("", "a", "a:", ":1", "a:0", "a:65536", "a:b", "a b:1", "::1:2")
    ),
    (
        [FILE, "--coordinator=a:1", "--processes=0", "--process=0"],
        "--processes must be at least 1, got 0.",
    ),
    *(
        (
            [FILE, "--coordinator=a:1", "--processes=2", f"--process={index}"],
            f"--process must be from 0 to 1, one below --processes, got {index}.",
        )
        for index in (-1, 2)
    ),
    (
        [FILE, "--coordinator=a:1", "--processes=x", "--process=0"],
        "--processes must be a whole number, got 'x'.",
    ),
]


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=lambda x: str(x)[:50])
def test_a_mistake_is_answered_in_one_sentence(words, sentence):
    with pytest.raises(ConfigError) as raised:
        parse(words)
    assert str(raised.value) == sentence


def test_a_folder_that_is_nothing_is_not_the_current_one():
    with pytest.raises(ConfigError, match=r"^--workdir must be a folder, got nothing\.$"):
        parse([FILE, "--workdir="])


def test_a_flag_is_given_once():
    with pytest.raises(ConfigError, match=r"^--workdir must be given once, got it 2 times\.$"):
        parse([FILE, "--workdir=a", "--workdir=b"])
