"""Files that make a configuration, and what is said of broken ones."""

import pytest

from mcl_jax.command.config_file import load_config
from mcl_jax.config import ConfigError, default

HEAD = "from mcl_jax import config as c\n"


def test_the_part_behind_the_colon_is_the_argument(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        f"{HEAD}def get_config(arg='none'):\n    x = c.default()\n    x.name = arg\n    return x\n"
    )
    assert load_config(str(file)).name == "none"
    assert load_config(f"{file}:some:more").name == "some:more"
    assert load_config(f"{file}:").name == ""
    assert load_config(str(file)).training == default().training


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def get_config(:\n", "FILE cannot be run: line 1: SyntaxError: invalid syntax."),
        ("import nowhere_at_all\n", "FILE cannot be run: line 1: ModuleNotFoundError: No module "
         "named 'nowhere_at_all'."),
        ("x = 1\n", "FILE must define get_config(), which makes the configuration."),
        ("get_config = 3\n", "FILE must define get_config(), which makes the configuration."),
        ("def get_config():\n    return None\n", "get_config of FILE must return a ConfigDict, got "
         "NoneType."),
        ("def get_config():\n    return {'seed': 1}\n", "get_config of FILE must return a "
         "ConfigDict, got dict."),
        ("def get_config():\n    return {}['x']\n", "FILE cannot be run: line 2: KeyError: 'x'."),
        (f"{HEAD}def get_config():\n    x = c.default()\n    x.training.epochs = '3'\n", "FILE "
         "cannot be run: line 4: TypeError: Could not override field 'epochs' "),
        (f"{HEAD}def get_config():\n    c.default().trainig.epochs = 3\n", "FILE cannot be run: "
         "line 3: AttributeError: "),
        ("raise ValueError('two\\nlines.')\n", "FILE cannot be run: line 1: ValueError: two "
         "lines."),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_of_with_its_line(text, sentence, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config(str(file))
    said = str(raised.value).replace(str(file), "FILE")
    assert "\n" not in said
    whole = sentence.endswith(".")
    assert said == sentence if whole else said.startswith(sentence)


def test_a_file_that_wants_no_argument_gets_none(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"{HEAD}def get_config():\n    return c.default()\n")
    assert load_config(str(file)) == default()
    with pytest.raises(ConfigError, match=r"cannot be run: TypeError: get_config\(\) takes 0"):
        load_config(f"{file}:smoke")


def test_an_error_of_configuration_is_told_as_it_is(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(f"{HEAD}def get_config():\n    raise c.ConfigError('seed must be odd.')\n")
    with pytest.raises(ConfigError, match=r"^seed must be odd\.$"):
        load_config(str(file))


def test_a_file_that_leaves_does_not_end_the_command(tmp_path):
    path = tmp_path / "leaves.py"
    path.write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(ConfigError, match=r"leaves.py cannot be run: line 2: SystemExit: 3\.$"):
        load_config(str(path))
