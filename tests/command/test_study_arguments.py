"""What the study's command line asks for, and what is said of one that cannot be understood."""

import pathlib
import re
import subprocess
import sys

import pytest

from mcl_jax.command import parse_study, study_help
from mcl_jax.command.study_arguments import FLAGS
from mcl_jax.config import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
FILE = "--config=configs/quickstart.py"
ARMS = "--arms=solo: method.networks=1; cohort"


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_arms_seeds_and_folder():
    found = parse_study([FILE, ARMS, "--seeds=3", "--config.seed=7", "--evaluate=never"])
    assert [(arm.name, arm.config.method.networks) for arm in found.arms] == [
        ("solo", 1),
        ("cohort", 2),
    ]
    assert (found.name, found.seeds) == ("quickstart-study", (7, 8, 9))
    assert found.folder == pathlib.Path("runs/quickstart-study")
    assert (found.evaluate, found.together) == ("never", 1)
    found = parse_study([FILE, ARMS, "--workdir", "there", "--together=2"])
    assert (found.folder, found.together) == (pathlib.Path("there"), 2)
    assert (found.evaluate, len(found.seeds)) == ("auto", 5)


def test_overrides_are_of_every_arm_and_values_are_of_the_fields_types():
    words = [
        FILE,
        "--config.training.epochs=9",
        "--arms=a: method.pair_weights=(1, 2, 3, 4) optimizer.learning_rate=1\n"
        "b@configs/stl10.py:smoke: model.name=resnet20,resnet32, views.flip=false",
    ]
    a, b = (arm.config for arm in parse_study(words).arms)
    assert (a.training.epochs, b.training.epochs) == (9, 9)
    assert a.method.pair_weights == (1, 2, 3, 4)
    assert a.optimizer.learning_rate == 1.0
    assert (b.name, b.model.name, b.views.flip) == ("stl10-smoke", "resnet20,resnet32", False)


def test_an_arm_may_have_another_method():
    words = [FILE, "--arms=a; b: method.name=moco method.queue_size=100"]
    a, b = (arm.config for arm in parse_study(words).arms)
    assert (a.method.name, b.method.name) == ("supervised_mcl", "moco")
    assert b.method.queue_size == 100
    assert b.data.train_size == a.data.train_size == 1000


def test_the_last_arm_may_end_with_a_file():
    a, b = parse_study([FILE, "--arms=a; b@configs/quickstart_ring.py"]).arms
    assert (a.name, b.name) == ("a", "b")
    assert b.config.method.name == "instance_discrimination"


def test_arms_of_a_file(tmp_path):
    path = tmp_path / "arms.py"
    path.write_text(
        "from mcl_jax import config\n"
        "def get_arms():\n"
        "    return {'a': {'method.networks': 1}, 'b': config.default('simclr')}\n"
    )
    a, b = parse_study([FILE, f"--arms={path}"]).arms
    assert (a.name, a.config.method.networks, a.config.data.train_size) == ("a", 1, 1000)
    assert (b.name, b.config.method.name) == ("b", "simclr")


def test_help_tells_of_every_flag_without_loading_jax():
    assert parse_study(["--help"]) is None
    page = study_help()
    for flag in FLAGS:
        assert f"  {flag.shown} " in page
    assert max(map(len, page.splitlines())) <= 100
    code = "import sys, mcl_jax.study as s; s.main(['--help']); assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == page + "\n"


MISTAKES = [
    ([], "--config is missing; try --config=configs/quickstart.py, or --help."),
    ([FILE], "--arms is missing; try --arms='solo: method.networks=1; cohort', or --help."),
    ([FILE, "--arms=solo"], "--arms must name two arms or more, got 1."),
    ([FILE, "--arms=a; a"], "--arms must have different names, got a twice."),
    ([FILE, ARMS, "--seeds=0"], "--seeds must be at least 1, got 0."),
    ([FILE, ARMS, "--seeds=many"], "--seeds must be a whole number, got 'many'."),
    ([FILE, ARMS, "--together=0"], "--together must be at least 1, got 0."),
    ([FILE, ARMS, "--seeds=1", "--seeds=2"], "--seeds must be given once, got it 2 times."),
    (
        [FILE, ARMS, "--evaluate=yes"],
        "--evaluate must be one of auto, always, never, views, got 'yes'.",
    ),
    ([FILE, ARMS, "--sedes=2"], "there is no flag --sedes; did you mean --seeds?"),
    (
        [FILE, "--arms=a: method.network=1; b"],
        "arm a: the configuration has no field method.network; did you mean method.networks?",
    ),
    (
        [FILE, "--arms=a: method.networks=two; b"],
        "arm a: method.networks must be a whole number, got 'two'.",
    ),
    ([FILE, "--arms=a: method.networks=0; b"], "arm a: method.networks must be at least 1, got 0."),
    (
        [FILE, "--arms=a@elsewhere/x.py; b"],
        "arm a: --config must be a file that exists, got 'elsewhere/x.py'.",
    ),
    ([FILE, "--arms=nope.py"], "--arms must be a file that exists, got 'nope.py'."),
    ([FILE, FILE, ARMS], f"--config must be given once, got {FILE[9:]} and {FILE[9:]}."),
    ([FILE, ARMS, "--workdir="], "--workdir must be a folder, got nothing."),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda x: " ".join(x)[:40])
def test_mistakes_are_told_in_a_sentence(words, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        parse_study(words)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1", "{path} must define get_arms(), which makes the arms."),
        ("def get_arms(): return 3", "get_arms of {path} must return a dict, got int."),
        ("def get_arms(): return {'a': 3, 'b': {}}", "arm a: get_arms must give each a ConfigDict "
         "or a dict of fields, got int."),
        ("def get_arms(): return 1 / 0", "{path} cannot be run: line 1: ZeroDivisionError: "
         "division by zero."),
        ("def get_arms(): return {'a': {'method.networks': 'x'}, 'b': {}}", "arm a: "
         "method.networks must be a whole number, got 'x'."),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_of_arms_are_told(tmp_path, body, message):
    path = tmp_path / "arms.py"
    path.write_text(body + "\n")
    with pytest.raises(ConfigError, match=f"^{re.escape(message.format(path=path))}$"):
        parse_study([FILE, f"--arms={path}"])
