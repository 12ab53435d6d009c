"""The words of the evaluation's command line: what they ask for, and what is said of mistakes."""

import json
import pathlib
import subprocess
import sys

import pytest

from mcl_jax import config as config_lib
from mcl_jax import evaluation
from mcl_jax.command import EvaluateArguments, evaluate_help, parse_evaluate
from mcl_jax.command.evaluate_arguments import FLAGS, PARTS
from mcl_jax.config import ConfigError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def workdir(tmp_path: pathlib.Path) -> pathlib.Path:
    config = config_lib.default()
    config.data.mean, config.data.std = (0.5,), (0.25,)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    return tmp_path


def parse(workdir: pathlib.Path, *words: str) -> EvaluateArguments:
    arguments = parse_evaluate([f"--workdir={workdir}", *words])
    assert arguments is not None
    return arguments


def test_without_further_words_everything_is_evaluated_but_fine_tuning(workdir):
    found = parse(workdir)
    assert found._replace(config=None) == EvaluateArguments(
        workdir, None, "newest", "", (), 0, None, True
    )
    assert found.config.data.mean == (0.5,)  # a list in the file


def test_every_word_is_understood(workdir):
    found = parse(
        workdir,
        "--step=best",
        "--source=digits",
        "--parts=linear, knn",
        "--rows=100",
        "--finetune",
        "--finetune_epochs=3",
        "--finetune_rows=50",
        "--finetune_rate=1e-3",
        "--noreport",
        "--config.evaluation.batch_size=7",
    )
    assert found._replace(config=None) == EvaluateArguments(
        workdir, None, "best", "digits", ("linear", "knn"), 100, (3, 50, 1e-3), False
    )
    assert found.config.evaluation.batch_size == 7
    assert parse(workdir, "--step=40").step == 40


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--step=last", "--step must be newest, best or a whole number, got 'last'."),
        ("--parts=knn,liner", f"--parts must be some of {', '.join(PARTS)}, got 'liner'."),
        ("--rows=-1", "--rows must be at least 0, got -1."),
        ("--rows=many", "--rows must be a whole number, got 'many'."),
        ("--finetune_rows=5", "--finetune_rows is for --finetune, which is not given."),
        ("--finetune --finetune_epochs=0", "--finetune_epochs must be at least 1, got 0."),
        ("--finetune --finetune_rows=-1", "--finetune_rows must be at least 0, got -1."),
        ("--finetune --finetune_rate=x", "--finetune_rate must be a number above 0, got 'x'."),
        ("--finetune --finetune_rate=0", "--finetune_rate must be a number above 0, got '0'."),
        ("--config=x.py", "--config is the run's own here, which --workdir names."),
        ("--sorce=digits", "there is no flag --sorce; did you mean --source?"),
        ("--config.seed=x", "seed must be a whole number, got 'x'."),
        ("--workdir=/", "--workdir must be given once, got it 2 times."),
    ],
)
def test_a_mistake_gets_one_sentence(workdir, words, sentence):
    with pytest.raises(ConfigError) as caught:
        parse(workdir, *words.split())
    assert str(caught.value) == sentence


def test_a_folder_that_is_no_workdir_is_named(tmp_path):
    for words, sentence in (
        ([], "--workdir is missing; it names the folder of a run, or try --help."),
        ([f"--workdir={tmp_path}/x"], f"folder of a run, but there is no {tmp_path}/x."),
        ([f"--workdir={tmp_path}"], f"folder of a run, but {tmp_path} holds no config.json."),
    ):
        with pytest.raises(ConfigError) as caught:
            parse_evaluate(words)
        assert str(caught.value).endswith(sentence)
    for text, sentence in (
        ('{"seed"', "config.json is damaged and cannot be read."),
        ("[1]", "config.json is no configuration."),
        ('{"seed": 0}', "the configuration lacks"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ConfigError, match=sentence.replace(".", r"\.")):
            parse_evaluate([f"--workdir={tmp_path}"])


def test_help_tells_of_every_flag_and_fits_a_terminal():
    assert parse_evaluate(["--help"]) is None
    text = evaluate_help()
    assert all(flag.shown in text and flag.meaning[:20] in text for flag in FLAGS)
    assert max(map(len, text.splitlines())) <= 100


def test_the_parts_are_those_of_evaluation():
    assert (*evaluation.PARTS, "views") == PARTS


def test_a_command_line_is_understood_without_jax():
    code = (
        "import sys; from mcl_jax.command import parse_evaluate; parse_evaluate(['-h']);"
        "sys.exit('jax' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
