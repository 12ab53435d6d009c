"""The page of ``--help``."""

import subprocess
import sys

from mcl_jax import data, models
from mcl_jax.command import help_page
from mcl_jax.command.arguments import FLAGS
from mcl_jax.config import fields, known_methods, own_fields


def assert_there_once(part, known):
    words = part.split()
    for name, field in known.items():
        assert sum(word.startswith(f"{name}=") for word in words) == 1
        assert field.meaning.split()[0] in words
        assert all(choice in part for choice in field.choices)


def test_every_field_stands_there_once_with_default_meaning_and_choices():
    page = help_page()
    common, *of_methods = page.partition("In the workdir")[0].split("Of method.name ")
    everywhere = fields("").keys()
    assert_there_once(common, {name: fields()[name] for name in everywhere})
    for part, method in zip(of_methods, known_methods(), strict=True):
        heading, _, rows = part.partition(":\n")
        assert heading == method
        assert_there_once(rows, own_fields(method))
        assert fields(method).keys() - everywhere <= own_fields(method).keys()
    assert "method.temperature=0.07 " in of_methods[known_methods().index("moco")]
    assert "method.networks=2 " in page
    assert "views.flip=true " in page
    assert "data.data_dir='' " in page
    assert "data.mean=() " in page


def test_every_flag_and_exit_code_stands_there():
    page = help_page()
    for flag in FLAGS:
        assert f"  {flag.shown} " in page
        assert flag.meaning in page
    for code in (0, 1, 2, 130, 143):
        assert f"\n  {code} " in page


def test_it_fits_a_terminal():
    lines = help_page().splitlines()
    assert max(map(len, lines)) <= 100
    assert not any(line.endswith(" ") for line in lines)


def test_names_in_meanings_are_names():
    known = fields()
    assert all(name in known["data.source"].meaning for name in data.NAMES[1:])
    _, _, examples = known["model.name"].meaning.partition("such as ")
    assert set(examples.split(", ")) < set(models.names())


def test_commands_load_neither_jax_nor_numpy_to_understand_a_line():
    code = (
        "import sys, mcl_jax.main; mcl_jax.main.main(['--help']); "
        "print(sorted({'jax', 'numpy', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
